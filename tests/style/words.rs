//! Words that belong to one place, and words that belong nowhere.

use crate::code::Code;

/// A phrase, where code may use it, and where the rule looks.
const PLACES: [(&str, &[&str], &str); 14] = [
    ("unsafe", &["src/ring/"], ""),
    ("allow(unsafe_code)", &["src/ring/"], ""),
    ("Instant::now", &["src/base/time.rs"], "src/"),
    ("SystemTime::now", &["src/base/time.rs"], "src/"),
    ("toml::", &["src/config/file/"], "src/"),
    ("use toml", &["src/config/file/"], "src/"),
    ("static mut", &[], ""),
    // What makes an id of a place in a list, and the other way round. Ids are given by name.
    ("ListenerId::at", IDS, "src/"),
    ("GateId::at", IDS, "src/"),
    ("RouteId::at", IDS, "src/"),
    ("UpstreamId::at", IDS, "src/"),
    ("ServerId::at", IDS, "src/"),
    // Workers are as many as the start makes.
    ("WorkerId::at", &["src/base/id.rs", "src/topology/", "src/gateway/assemble.rs"], "src/"),
    (".place()", IDS, "src/"),
];

/// Where ids are given; a test of the worker gives its own.
const IDS: &[&str] = &["src/base/id.rs", "src/topology/", "src/worker/admission/tests.rs"];

/// Phrases that stand outside their place.
pub(crate) fn out_of_place(path: &str, code: &Code) -> Vec<String> {
    let mut findings = Vec::new();
    for (phrase, places, scope) in PLACES {
        if path.starts_with(scope) && !places.iter().any(|place| path.starts_with(place)) {
            let lines = code.lines_with(phrase).into_iter();
            findings.extend(lines.map(|line| format!("{line}: {phrase} belongs to {places:?}")));
        }
    }
    findings
}

/// Macros that say that code is not finished.
pub(crate) fn unfinished_code(code: &Code) -> Vec<String> {
    let mut findings = Vec::new();
    for phrase in ["todo!", "unimplemented!", "dbg!"] {
        let lines = code.lines_with(phrase).into_iter();
        findings.extend(lines.map(|line| format!("{line}: {phrase}")));
    }
    findings
}

/// Notes to oneself, in any text.
pub(crate) fn notes_to_self(text: &str) -> Vec<String> {
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let is_note = |line: &str| notes.iter().any(|note| line.contains(note));
    let numbered = text.lines().enumerate();
    numbered
        .filter(|(_, line)| is_note(line))
        .map(|(index, line)| format!("{}: {}", index + 1, line.trim()))
        .collect()
}

/// A file begins with one sentence of purpose.
pub(crate) fn missing_purpose(text: &str) -> Vec<String> {
    let purpose = text.lines().next().and_then(|line| line.strip_prefix("//! "));
    match purpose.filter(|purpose| purpose.split_whitespace().count() >= 3) {
        Some(_) => Vec::new(),
        None => vec!["1: the first line is no `//! ` with the file's purpose".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_out_of_place_is_found() {
        for (path, text) in [
            ("src/worker/mod.rs", "unsafe { f() }"),
            ("tests/x.rs", "unsafe { f() }"),
            ("bench/src/x.rs", "#![allow(unsafe_code)]"),
            ("src/conn/mod.rs", "let t = std::time::Instant::now();"),
            ("src/base/side.rs", "SystemTime::now()"),
            ("src/config/mod.rs", "toml::from_str(text)"),
            ("src/config/mod.rs", "use toml as t;"),
            ("src/ring/mod.rs", "static mut X: u8 = 0;"),
            ("src/control/state/reading.rs", "let id = ListenerId::at(index);"),
            ("src/gateway/mod.rs", "sockets[id.place()].clone()"),
        ] {
            assert_eq!(out_of_place(path, &Code::of(text)).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("src/ring/kernel.rs", "unsafe { f() }"),
            ("src/base/time.rs", "Instant::now()"),
            ("tests/x.rs", "Instant::now()"),
            ("src/config/file/mod.rs", "use toml::de::DeTable;"),
            ("src/conn/mod.rs", "// unsafe, Instant::now"),
        ] {
            assert_eq!(out_of_place(path, &Code::of(text)), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn what_is_unfinished_is_found() {
        let code = Code::of("todo!()\nunimplemented!(\"x\")\ndbg!(1)\n// todo!()\nmytodo!()");
        assert_eq!(unfinished_code(&code).len(), 3);
        assert_eq!(notes_to_self(concat!("a\n// TO", "DO b\n# FIX", "ME")).len(), 2);
        assert!(notes_to_self("autodoc").is_empty());
    }

    #[test]
    fn a_file_without_a_purpose_is_found() {
        assert!(missing_purpose("//! Says what it is.\n").is_empty());
        for text in ["", "use x;\n//! Late it comes.", "//!", "//! Word."] {
            assert_eq!(missing_purpose(text).len(), 1, "{text}");
        }
    }
}
