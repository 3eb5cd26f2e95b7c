//! Which networks may come, and which may not: lists, and files of networks.

use std::path::Path;

use portcullis::config::{Config, NetworkList};

use crate::{assert_refused, parse};

/// A listener with these keys, each from line 4 on.
fn listener(keys: &str) -> String {
    let listener = "[listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"";
    format!("{listener}\n{keys}\n[upstream.app]\nbuiltin = \"echo\"\n")
}

fn config(keys: &str) -> Config {
    parse(&listener(keys)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn shown(list: &NetworkList) -> Vec<String> {
    list.networks().iter().map(ToString::to_string).collect()
}

/// A file of networks, and the key that names it.
fn with_file(text: &str, check: impl FnOnce(&Path, &str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("networks");
    std::fs::write(&path, text).expect("it is written");
    check(&path, &format!("allow = [\"file:{}\", \"192.0.2.7\"]", path.display()));
}

#[test]
fn networks_of_lists_and_files_are_there_once_and_in_order() {
    with_file("10.0.0.0/8 # ours\n\n192.0.2.7\n10.0.0.0/8\n", |_, allow| {
        let access = &config(&format!("{allow}\ndeny = [\"::1\"]")).listeners[0].access;
        assert_eq!(shown(&access.allow), ["10.0.0.0/8", "192.0.2.7/32"]);
        assert_eq!(shown(&access.deny), ["::1/128"]);
        assert!(!access.takes_others());
    });
    let nothing = &config("").listeners[0].access;
    assert!(nothing.takes_others() && nothing.allow.networks().is_empty());
}

#[test]
fn a_list_that_names_an_empty_file_takes_nobody() {
    with_file("# nobody yet\n", |path, _| {
        let keys = format!("allow = [\"file:{}\"]", path.display());
        assert!(!config(&keys).listeners[0].access.takes_others());
    });
}

#[test]
fn a_file_that_changes_is_a_difference() {
    with_file("10.0.0.0/8\n", |path, allow| {
        let before = config(allow);
        assert_eq!(parse(&before.written()), Ok(before.clone()), "{}", before.written());
        std::fs::write(path, "10.0.0.0/8\n10.0.0.0/8 # again\n").expect("it is written");
        assert_eq!(before.differences(&config(allow)), []);
        std::fs::write(path, "11.0.0.0/8\n").expect("it is written");
        let after = config(allow);
        assert_ne!(after, before);
        let differences = before.differences(&after);
        let [one] = &differences[..] else { panic!("{differences:?}") };
        assert_eq!(one.path(), "listener.edge.allow");
        let [before, after] = [&one.before, &one.after].map(|it| it.clone().expect("both"));
        assert!(before.contains("# 2 networks, ") && after.contains("# 2 networks, "), "{after}");
    });
}

#[test]
fn a_wrong_list_or_file_is_refused() {
    for (keys, fragment) in [
        ("allow = \"10.0.0.0/8\"", "p.toml:4: listener.edge.allow = \"10.0.0.0/8\": must be a li"),
        ("deny = [\"10.0.0.1/8\"]", "has bits beyond its prefix; write \"10.0.0.0/8\""),
        ("deny = [7]", "listener.edge.deny = 7: must be a list of networks, and of files"),
        ("allow = [\"file:networks\"]", "must be an absolute path; write it as in \"file:/etc/po"),
        (
            "allow = [\"file:/no/such/file\"]",
            "p.toml:4: listener.edge.allow = \"file:/no/such/file\": cannot be read: No such file",
        ),
        ("allow = [\"file:/\"]", "allow = \"file:/\": is no file"),
        (
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.0.0.0/8\"]",
            "p.toml:5: listener.edge.deny = [\"10.0.0.0/8\"]: has 10.0.0.0/8, and allow has it",
        ),
    ] {
        assert_refused(&listener(keys), fragment);
    }
    with_file("10.0.0.0/8\n10.1.2.3/16\n", |_, allow| {
        let fragment = "line 2 is \"10.1.2.3/16\", which has bits beyond its prefix; write 10.1.0";
        assert_refused(&listener(allow), fragment);
    });
}
