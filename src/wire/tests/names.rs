//! Which entry is found, and what no pattern may be.

use super::*;
use crate::wire::{Entry, Names, Pattern, PatternFault};

/// Entries of names and protocols, each with its place as the target.
fn names(entries: &[(&[&str], &[&str])]) -> Names<usize> {
    let pattern = |text: &&str| text.parse().unwrap_or_else(|fault| panic!("{text} {fault}"));
    Names::new(entries.iter().enumerate().map(|(target, (names, protocols))| Entry {
        names: names.iter().map(pattern).collect(),
        protocols: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(),
        target,
    }))
}

/// The entry for a client; an empty name is none.
fn found(names: &Names<usize>, name: &str, offered: &[&str]) -> Option<usize> {
    let name = Some(name).filter(|name| !name.is_empty());
    names.find(name, offered.iter().map(|protocol| protocol.as_bytes())).copied()
}

#[test]
fn a_name_as_it_stands_comes_before_a_wildcard_whatever_the_order() {
    let names = names(&[
        (&["*.eu.example.com", "*.example.com"], &[]),
        (&["db1.eu.example.com", "Example.COM."], &[]),
        (&["db1.eu.example.com"], &[]),
    ]);
    for (name, entry) in [
        ("db1.eu.example.com", Some(1)),
        ("DB1.eu.EXAMPLE.com", Some(1)),
        ("db1.eu.example.com.", Some(1)),
        ("example.com", Some(1)),
        ("db2.eu.example.com", Some(0)),
        ("DB2.EU.example.com.", Some(0)),
        ("eu.example.com", Some(0)),
        // A wildcard stands for one label, and no more.
        ("a.b.eu.example.com", None),
        (".eu.example.com", None),
        ("eu.example.com..", None),
        ("example.org", None),
        ("com", None),
        (".", None),
        ("..", None),
        ("db1.eu.example.co", None),
        ("", None),
    ] {
        assert_eq!(found(&names, name, &[]), entry, "{name}");
        assert_eq!(found(&names, name, &["h2"]), entry, "{name}");
    }
}

#[test]
fn a_name_that_no_entry_can_have_is_not_found() {
    let long = [["n"; 63].concat().as_str(); 4].join(".")[..253].to_owned();
    let names = names(&[(&[&long], &[])]);
    assert_eq!(found(&names, &long, &[]), Some(0));
    assert_eq!(found(&names, &format!("{long}."), &[]), Some(0));
    assert_eq!(found(&names, &format!("{long}n"), &[]), None);
    assert_eq!(found(&names, &"n.".repeat(1000), &[]), None);
}

#[test]
fn an_entry_with_protocols_is_for_clients_that_offer_one() {
    let names = names(&[
        (&["db.example.com"], &["postgresql"]),
        (&["db.example.com"], &["h2", "http/1.1"]),
        (&["*.example.com"], &["redis"]),
        (&["*.example.com"], &[]),
        (&[], &["acme-tls/1"]),
        (&[], &["h2"]),
    ]);
    for (name, offered, entry) in [
        ("db.example.com", &["postgresql"][..], Some(0)),
        ("db.example.com", &["http/1.1", "postgresql"], Some(0)),
        ("db.example.com", &["http/1.1"], Some(1)),
        ("db.example.com", &["redis"], Some(2)),
        // No entry of this very name is for it: the wildcard's is.
        ("db.example.com", &[], Some(3)),
        ("db.example.com", &["H2"], Some(3)),
        ("other.example.com", &["h2"], Some(3)),
        ("example.org", &["h2"], Some(5)),
        ("example.org", &["h2", "acme-tls/1"], Some(4)),
        ("", &["h2"], Some(5)),
        ("", &[], None),
        ("example.org", &["redis"], None),
    ] {
        assert_eq!(found(&names, name, offered), entry, "{name} {offered:?}");
    }
}

#[test]
fn an_entry_with_neither_is_for_everyone_who_is_left() {
    let names = names(&[(&[], &[]), (&["db.example.com"], &[])]);
    assert_eq!(found(&names, "db.example.com", &[]), Some(1));
    assert_eq!(found(&names, "other", &["h2"]), Some(0));
    assert_eq!(found(&names, "", &[]), Some(0));
}

#[test]
fn a_pattern_that_no_name_meets_is_refused() {
    use PatternFault::{BadCharacter, BadWildcard, Empty, EmptyLabel, NotAscii, TooLong};
    let label = "n".repeat(64);
    let long = format!("*.{}", ["n"; 127].join("."));
    assert_eq!(long.len(), 255);
    for (text, fault) in [
        ("", Empty),
        (".", Empty),
        ("..", EmptyLabel),
        (".example.com", EmptyLabel),
        ("db..example.com", EmptyLabel),
        ("db.example.com..", EmptyLabel),
        ("*.", BadWildcard),
        ("*..example.com", EmptyLabel),
        ("*", BadWildcard),
        ("**", BadWildcard),
        ("**.example.com", BadWildcard),
        ("*.*.example.com", BadWildcard),
        ("db*.example.com", BadWildcard),
        ("*db.example.com", BadWildcard),
        ("db.*.com", BadWildcard),
        ("db.example.*", BadWildcard),
        ("d\u{fc}sseldorf.example", NotAscii),
        ("db.example.com:443", BadCharacter),
        ("https://example.com", BadCharacter),
        ("db example.com", BadCharacter),
        (" db.example.com", BadCharacter),
        ("[::1]", BadCharacter),
        (&label, TooLong),
        (&long, TooLong),
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(fault), "{text:?}");
        assert!(!fault.to_string().is_empty());
    }
    for text in ["db", "xn--dsseldorf-q9a.example", "_db.example.com", "*.com", "10.0.0.1", "a-.b"]
    {
        assert!(text.parse::<Pattern>().is_ok(), "{text}");
    }
    assert_eq!(&long[2..].parse::<Pattern>(), &Ok(Pattern::Name(long[2..].to_owned())));
}

fn strs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

proptest! {
    /// Few names, so that many of them meet.
    #[test]
    fn the_entry_is_the_one_that_a_search_from_top_to_bottom_finds(
        entries in prop::collection::vec(
            (
                prop::collection::vec("(\\*\\.)?[ab](\\.[ab])?", 0..3),
                prop::collection::vec("[xy]", 0..2),
            ),
            0..8,
        ),
        name in prop::option::of("[abAB]?(\\.[abAB]){0,3}\\.?"),
        offered in prop::collection::vec("[xyz]", 0..3),
    ) {
        let entries: Vec<(Vec<&str>, Vec<&str>)> =
            entries.iter().map(|(names, protocols)| (strs(names), strs(protocols))).collect();
        let slices: Vec<(&[&str], &[&str])> =
            entries.iter().map(|(names, protocols)| (&names[..], &protocols[..])).collect();
        let offered = strs(&offered);
        let bare = name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name));
        let asked = bare.map(str::to_lowercase);
        let is_met = |pattern: &str| match (&asked, pattern.strip_prefix("*.")) {
            (None, _) => false,
            (Some(asked), None) => asked == pattern,
            (Some(asked), Some(suffix)) => {
                let label = asked.strip_suffix(suffix).and_then(|label| label.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
            }
        };
        let is_offered = |protocols: &[&str]| {
            protocols.is_empty() || protocols.iter().any(|one| offered.contains(one))
        };
        let by = |rank: fn(&str) -> bool| {
            slices.iter().position(|(names, protocols)| {
                is_offered(protocols) && names.iter().any(|one| rank(one) && is_met(one))
            })
        };
        let open = || {
            slices.iter().position(|(names, protocols)| names.is_empty() && is_offered(protocols))
        };
        let expected = by(|one| !one.starts_with('*')).or_else(|| by(|one| one.starts_with('*')));
        let names = names(&slices);
        let offered = offered.iter().map(|protocol| protocol.as_bytes());
        prop_assert_eq!(names.find(name.as_deref(), offered).copied(), expected.or_else(open));
    }
}
