//! Words that the lexicon forbids, with the words to write instead: one table for documents, names
//! and comments.

/// A forbidden word or phrase in lower case, and what to write instead. A word is forbidden in each
/// of the forms that stand here, also as a part of a name: `knock` in `last_knock`.
type Forbidden = (&'static str, &'static str);

/// In documents, and in the names, comments and literals of `src/`.
const EVERYWHERE: [Forbidden; 12] = [
    ("anew", "again"),
    ("at most so long", "name the bound"),
    ("is told", "name who says what to it"),
    ("knock", "connect"),
    ("knocked", "connected"),
    ("knocking", "connecting"),
    ("knocks", "connects"),
    ("the look of", "name what is seen"),
    ("whoever", "name the one who does it"),
    ("whomever", "name the one it is done to"),
    ("wish", "request"),
    ("wishes", "requests"),
];

/// Forbidden words in a text of a document.
pub(crate) fn forbidden_in_prose(text: &str) -> Vec<String> {
    forbidden(text, EVERYWHERE.iter())
}

/// Forbidden words in the names, comments and literals of code.
pub(crate) fn forbidden_in_code(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let found = forbidden(line, EVERYWHERE.iter()).into_iter();
        findings.extend(found.map(|finding| format!("{}: {finding}", index + 1)));
    }
    findings
}

fn forbidden<'f>(text: &str, all: impl Iterator<Item = &'f Forbidden>) -> Vec<String> {
    let padded = format!(" {} ", words(text).join(" "));
    let found = all.filter(|(word, _)| padded.contains(&format!(" {word} ")));
    found.map(|(word, instead)| format!("{word:?}: {instead}")).collect()
}

/// The words of a text in lower case, those of names too: `ListenerBook`, `listener_book`.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        if !c.is_alphanumeric() || before.is_lowercase() && c.is_uppercase() {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("there is one").extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn a_forbidden_word_is_found_in_prose_and_in_names() {
    for text in [
        "// At most so long, and no more",
        "fn knock() {}",
        "let last_knock = 1;",
        "struct ClientKnock;",
        "\"it wishes\"",
        "const WISHES: u8;",
        "Opens it anew.",
        "Whoever asks waits.",
    ] {
        assert_eq!(forbidden_in_prose(text).len(), 1, "{text}");
        assert_eq!(forbidden_in_code(&format!("a\n{text}"))[0].split(':').next(), Some("2"));
    }
    for text in ["Renewal, whatsoever.", "fn unknocked() {}", "at most one"] {
        assert!(forbidden_in_prose(text).is_empty(), "{text}");
    }
}
