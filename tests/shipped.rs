//! What is shipped beside the program agrees: examples with the unit, the README with the config.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use portcullis::config::{Config, SECTIONS};

/// What the gateway may take for its last words after the drain: the access log's lines, the exit.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// The seconds after each `TimeoutStopSec=`.
fn stop_waits(text: &str) -> Vec<Duration> {
    let waits = text.split("TimeoutStopSec=").skip(1).map(|after| {
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        assert!(after[digits.len()..].starts_with('s'), "seconds: {after}");
        Duration::from_secs(digits.parse().expect("a number of seconds"))
    });
    waits.collect()
}

/// systemd kills what is left after TimeoutStopSec, and with it a drain that is longer.
#[test]
fn an_examples_drain_fits_the_unit_or_says_what_the_unit_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |path: &Path| std::fs::read_to_string(path).expect("it is there");
    let unit = stop_waits(&text(&root.join("config/host/portcullis.service")));
    let [unit] = unit[..] else { panic!("the unit has one TimeoutStopSec=: {unit:?}") };
    let examples = std::fs::read_dir(root.join("config/examples")).expect("there are examples");
    let examples = examples.map(|file| file.expect("a readable folder").path());
    let mut beyond = 0;
    for path in examples.chain([root.join("config/portcullis.toml")]) {
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let needed = config.gateway.drain_grace + config.gateway.drain_timeout + AFTER_DRAIN;
        let said = stop_waits(&text(&path));
        let enough = said.iter().any(|wait| *wait >= needed);
        assert!(unit >= needed || enough, "{}: {needed:?}, {unit:?}, {said:?}", path.display());
        beyond += usize::from(unit < needed);
    }
    assert!(beyond > 0, "an example with a longer drain shows what else to set");
}

/// The gateway needs no capability; one may be added for a bind below port 1024.
#[test]
fn the_unit_has_no_capability() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/host/portcullis.service");
    let unit = std::fs::read_to_string(path).expect("it is there");
    let settings = unit.lines().filter(|line| line.contains("Capabilit") && !line.starts_with('#'));
    assert_eq!(settings.collect::<Vec<_>>(), ["CapabilityBoundingSet=CAP_NET_BIND_SERVICE"]);
    assert!(unit.lines().any(|line| line == "NoNewPrivileges=yes"));
}

/// Every key that is refused as not built yet belongs to something that the README names.
#[test]
fn the_readme_names_what_is_missing() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("it is there").to_lowercase();
    let (_, after) = readme.split_once("## what it does not do yet\n").expect("a section");
    let (missing, _) = after.split_once("\n## ").expect("a next one");
    for key in SECTIONS.iter().flat_map(|section| section.later) {
        let words = match *key {
            "initial" | "path" => "checks of servers by",
            key => panic!("{key}: what does the README call it?"),
        };
        assert!(missing.contains(words), "{key}: {words}: {missing}");
    }
}

/// Code spans of the last cell of each row of a table: this program's side of a translation.
fn own_side(document: &str) -> impl Iterator<Item = &str> {
    let rows = document.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.filter_map(|row| row.rsplit('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

/// What the page on other proxies calls a key or a command is one.
#[test]
fn translations_name_keys_and_commands_that_are_there() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/coming-from.md"));
    let page = page.expect("it is there");
    let keys: Vec<&str> =
        SECTIONS.iter().flat_map(|section| section.keys().map(|key| key.name)).collect();
    let (mut commands, mut named) = (0, 0);
    for span in own_side(&page) {
        if span.starts_with("portcullis ") {
            // Words in capitals stand for what one has.
            let words = span.split_whitespace().map(|word| match word {
                "ID" => "0-17-2",
                "ADDRESS" => "10.0.0.3:9000",
                word => word,
            });
            let parsed = portcullis::cli::Cli::try_parse_from(words);
            parsed.unwrap_or_else(|error| panic!("{span}: {error}"));
            commands += 1;
            continue;
        }
        let is_of_word = |c: char| c.is_ascii_lowercase() || c == '_';
        for word in span.split(|c| !is_of_word(c)).filter(|word| word.contains('_')) {
            assert!(keys.contains(&word), "{span}: {word} is no key");
            named += 1;
        }
    }
    assert!(commands > 15 && named > 50, "{commands} commands and {named} keys");
}
