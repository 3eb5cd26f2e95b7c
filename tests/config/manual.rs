//! The documented file and the manual page are what the keys' declarations say.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis::config::{Class, Config, SECTIONS, UpstreamKind, documented, man_page};

use crate::{parse, repository_file};

#[test]
fn the_documented_file_means_the_same_as_no_file() {
    let config = parse(&repository_file("config/portcullis.toml")).expect("it parses");
    assert_eq!(config, Config::embedded());
}

#[test]
fn what_the_documented_file_shows_as_an_alternative_parses() {
    let text = repository_file("config/portcullis.toml");
    let other =
        text.replace("\nbuiltin = ", "\n#builtin = ").replace("\n#servers =", "\nservers =");
    let config = parse(&other).expect("it parses");
    assert!(matches!(config.upstreams[0].kind, UpstreamKind::Servers { .. }), "{config:?}");
}

#[test]
fn the_documented_file_is_what_the_keys_say() {
    const PATH: &str = "config/portcullis.toml";
    if std::env::var_os("WRITE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
        std::fs::write(path, documented()).expect("the file is written");
    }
    assert!(
        repository_file(PATH) == documented(),
        "{PATH} is not what the keys' declarations say; write it again: \
         WRITE=1 cargo test --test config the_documented_file_is"
    );
}

#[test]
fn every_known_key_is_documented_and_nothing_else_is() {
    let documented = documented_keys(&documented());
    let known: BTreeSet<String> = SECTIONS
        .into_iter()
        .filter(|one| {
            ![
                "",
                "listener.NAME.route",
                "listener.NAME.tls.certificates",
                "upstream.NAME.servers",
                "upstream.NAME.servers_from",
            ]
            .contains(&one.section)
        })
        .flat_map(|one| one.known().map(move |key| format!("{}.{key}", one.section)))
        .chain([".include".to_owned()])
        .collect();
    assert_eq!(documented, known);
    let undocumented = documented_keys("[log]\n# Why.\n\nlevel = 1\n# How.\n#format = 2");
    assert_eq!(undocumented, BTreeSet::from(["log.format".to_owned()]));
}

/// Keys with their sections that are set, in force or after a `#`, right below a comment.
fn documented_keys(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    let mut after_comment = false;
    for line in text.lines() {
        let header = line.trim_start_matches('#').strip_prefix('[');
        if let Some((name, _)) = header.and_then(|line| line.split_once(']')) {
            section = name.replace("default", "NAME");
        }
        let setting = line.trim_start_matches('#').split_once(" = ");
        if let Some((key, _)) = setting.filter(|(key, _)| after_comment && !key.contains(' ')) {
            keys.insert(format!("{section}.{key}"));
        }
        after_comment = line.starts_with("# ");
    }
    keys
}

#[test]
fn every_key_says_what_a_change_takes_and_the_page_has_all_of_them() {
    let page = man_page();
    assert!(page.starts_with(".TH portcullis.toml 5\n"), "{page}");
    for key in SECTIONS[1..].iter().flat_map(|section| section.keys()) {
        assert!(page.contains(&format!("\\fB{}\\fR", key.name)), "{}", key.name);
    }
    for class in Class::ALL {
        let facts = format!(" Change: {}.\n", class.words());
        assert!(documented().contains(&facts) && page.contains(class.meaning()), "{facts}");
    }
    const REQUESTS: [&str; 5] = [".TH ", ".SH ", ".PP", ".TP", ".br"];
    let is_own = |line: &&str| REQUESTS.iter().any(|request| line.starts_with(request));
    let mut control = page.lines().filter(|line| line.starts_with(['.', '\'']));
    let control = control.find(|line| !is_own(line));
    assert_eq!(control, None, "roff would take it for a request");
}
