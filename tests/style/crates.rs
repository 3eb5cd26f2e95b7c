//! The crates that the workspace is built from: licences, doubles, sources, the oldest toolchain.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Licences that ask for no more than a notice. Of "A OR B" one is enough, of "A AND B" both are
/// needed.
const LICENCES: [&str; 6] = ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib"];

/// Crates that are there in more than one version, each with the reason.
const DOUBLES: [(&str, &str); 16] = [
    ("bit-vec", "yasna, under rcgen of tests only, has 0.9: in Cargo.lock, and not built"),
    ("bitflags", "tokio-uring 0.5 keeps io-uring 0.6 and with it bitflags 1"),
    ("foldhash", "each of the two hashbrowns has its own"),
    ("getrandom", "ring has 0.2: in Cargo.lock for DNSSEC in hickory-proto, which is not built"),
    ("hashbrown", "yaml-rust2, of tests only, has 0.15; the screen of top has 0.17"),
    ("io-uring", "tokio-uring 0.5 keeps 0.6; the data plane needs what 0.7 added"),
    ("itertools", "criterion, of bench only, has 0.13; ratatui has 0.14"),
    ("prefix-trie", "hickory-proto keeps 0.8, five times slower with 100,000 networks than 0.10"),
    ("signal-hook", "crossterm keeps 0.3; bench has 0.4"),
    ("socket2", "tokio-uring 0.5 keeps 0.4; passive sockets and tokio have 0.6"),
    ("syn", "procedural macros are on their way from 2 to 3; the program has neither"),
    ("synstructure", "asn1-rs, under x509-parser, keeps 0.13; procedural macros alone use it"),
    ("thiserror", "ppp, of tests only, has 1; the program has 2"),
    ("thiserror-impl", "as thiserror"),
    ("untrusted", "aws-lc-rs has 0.7: in Cargo.lock for its likeness of ring, which is not built"),
    ("windows-sys", "ring has 0.52, as above; none of them is built for Linux"),
];

/// A crate as `cargo metadata` describes it.
#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    licence: String,
    /// The oldest toolchain that it says it builds with; empty where it says none.
    rust_version: String,
}

/// What `cargo metadata` printed.
pub(crate) fn packages(metadata: &str) -> Vec<Package> {
    let metadata: Value = serde_json::from_str(metadata).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let package = |it: &Value| Package {
        name: text(&it["name"]),
        licence: text(&it["license"]),
        rust_version: text(&it["rust_version"]),
    };
    packages.iter().map(package).collect()
}

/// Crates whose licence is not among [`LICENCES`], or that name none.
pub(crate) fn other_licences(packages: &[Package]) -> Vec<String> {
    let refused = packages.iter().filter(|package| !may_be_used(&package.licence));
    refused.map(|Package { name, licence, .. }| format!("{name}: licence {licence:?}")).collect()
}

/// Whether an SPDX expression, or the older form with slashes, can be met by [`LICENCES`].
fn may_be_used(licence: &str) -> bool {
    let spaced = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>) -> bool {
    let mut met = all(words);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words);
    }
    met
}

fn all(words: &mut Words<'_>) -> bool {
    let mut met = one(words);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words);
    }
    met
}

/// A licence, its exceptions taken as nothing, or an expression in parentheses.
fn one(words: &mut Words<'_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        return any(words) & words.next_if_eq(&")").is_some();
    }
    let met = words.next().is_some_and(|licence| LICENCES.contains(&licence));
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    met
}

/// Crates of Cargo.lock in several versions without a reason, and reasons without such a crate.
pub(crate) fn unargued_doubles(lock: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = field(package, "name").expect("a package has a name");
        versions.entry(name).or_default().insert(field(package, "version").unwrap_or_default());
    }
    versions.retain(|_, versions| versions.len() > 1);
    let argued = |name: &str| DOUBLES.iter().any(|(double, _)| *double == name);
    let unargued = versions.iter().filter(|(name, _)| !argued(name));
    let mut findings: Vec<String> =
        unargued.map(|(name, versions)| format!("{name}: {versions:?} without a reason")).collect();
    let gone = DOUBLES.iter().filter(|(name, _)| !versions.contains_key(name));
    findings.extend(gone.map(|(name, _)| format!("{name} is there once: take its reason out")));
    findings
}

/// Crates of Cargo.lock that come from neither the registry nor this repository.
pub(crate) fn other_sources(lock: &str) -> Vec<String> {
    let foreign = |package: &&str| {
        field(package, "source").is_some_and(|source| !source.starts_with("registry+"))
    };
    let packages = lock.split("[[package]]").skip(1).filter(foreign);
    packages.map(|package| field(package, "name").unwrap_or_default().to_owned()).collect()
}

/// `value` of a line `key = "value"`.
pub(crate) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
    text.lines().find_map(value)
}

/// Crates that need a newer toolchain than the workspace says it builds with.
pub(crate) fn newer_toolchains(packages: &[Package], ours: &str) -> Vec<String> {
    let newer = packages.iter().filter(|package| version(&package.rust_version) > version(ours));
    newer.map(|it| format!("{} needs Rust {}, not {ours}", it.name, it.rust_version)).collect()
}

fn version(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    numbers.resize(3, 0);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(licence: &str, rust_version: &str) -> [Package; 1] {
        let (licence, rust_version) = (licence.to_owned(), rust_version.to_owned());
        [Package { name: "a".to_owned(), licence, rust_version }]
    }

    #[test]
    fn a_licence_is_met_by_one_alternative_with_all_its_parts() {
        for good in [
            "MIT",
            "LGPL-2.1-or-later OR MIT",
            "Unlicense/MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(other_licences(&package(good, "")).is_empty(), "{good}");
        }
        for bad in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR AGPL-3.0)", "(MIT", "MIT MIT"]
        {
            assert_eq!(other_licences(&package(bad, "")).len(), 1, "{bad}");
        }
    }

    #[test]
    fn doubles_sources_and_toolchains_that_nobody_argued_for_are_found() {
        let lock = |name: &str, version: &str, source: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n{source}\n")
        };
        let once = lock("a", "1.0.0", "source = \"registry+x\"");
        let without = unargued_doubles(&once).len();
        assert_eq!(without, DOUBLES.len(), "every reason is one too many");
        let twice = once.clone() + &lock("a", "2.0.0", "");
        assert_eq!(unargued_doubles(&twice).len(), without + 1);
        let argued = twice + &lock("syn", "2.0.0", "") + &lock("syn", "3.0.0", "");
        assert_eq!(unargued_doubles(&argued).len(), without);
        assert!(other_sources(&once).is_empty());
        assert_eq!(other_sources(&lock("b", "1.0.0", "source = \"git+x\"")), ["b"]);
        for (needed, count) in [("", 0), ("1.88", 0), ("1.88.0", 0), ("1.88.1", 1), ("2", 1)] {
            assert_eq!(newer_toolchains(&package("MIT", needed), "1.88").len(), count, "{needed}");
        }
    }
}
