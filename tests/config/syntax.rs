//! Text that is no TOML: one error, with its place.

use crate::{parse, with};

#[test]
fn the_first_mistake_in_the_toml_is_the_only_one_and_has_a_caret() {
    let good = with("[log]\nlevel = \"info\"\n");
    for (right, wrong, rule, remedy, place) in [
        ("0\"]", "0\"", "the [ has no ]", "close it", (2, 7)),
        ("[listener.edge]", "[listener.edge", "the [ has no ]", "close it", (1, 0)),
        ("[log]", "[log]\nformat = text", "invalid boolean", "write \"text\", in", (7, 9)),
        ("\"info\"", "info", "invalid", "write \"info\", in quotes", (7, 8)),
        ("[log]", "[log]\nx = 30s", "string values must", "write \"30s\", in quotes", (7, 4)),
        ("[log]", "[log]\nx = 0600", "unexpected leading zero", "remove the zero", (7, 4)),
        ("[log]", "[log]\nx = \"y", "invalid basic string", "close the quotes", (7, 6)),
        ("[log]", "[log]\nformat", "key with no value", "write it as in key", (7, 6)),
    ] {
        let message = parse(&good.replacen(right, wrong, 1)).expect_err(wrong);
        let lines: Vec<&str> = message.lines().collect();
        let [error, line, caret] = lines[..] else { panic!("{wrong}: {message}") };
        let head = format!("p.toml:{}: is not TOML: {rule}", place.0);
        assert!(error.starts_with(&head) && error.contains(&format!("; {remedy}")), "{message}");
        assert_eq!(caret.find('^').map(|at| at - 4), Some(place.1), "{message}");
        assert!(line.starts_with("    "), "{message}");
    }
}

#[test]
fn a_name_that_stands_twice_is_one_error_with_both_places() {
    for (lines, error) in [
        ("[upstream.app]\nbuiltin = \"hold\"\nconnect_timeout = \"1s\"", "6: upstream.app: * 4;"),
        ("[log]\nlevel = \"info\"\nlevel = \"warn\"", "8: log.level: * 7;"),
        ("[log]\n[upstream.\"app\"]", "7: upstream.app: * 4;"),
        ("[log]\n[gateway]\n[log]\nlevel = \"info\"", "8: log: * 6;"),
    ] {
        let message = parse(&with(lines)).expect_err(lines);
        let error = error.replace('*', "stands here for the second time, after line");
        assert!(message.starts_with(&format!("p.toml:{error}")), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_word_that_quotes_cannot_hold_is_not_offered_in_quotes() {
    for wrong in ["[\u{1c}log]", "[log]\nlevel = in\u{7}fo", "[log]\nlevel = in\u{9b}31mfo"] {
        let message = parse(&with(wrong)).expect_err(wrong);
        assert!(!message.contains("in quotes"), "{message:?}");
        assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
    }
}
