//! Rust text without its comments and literals, so that words and braces in them do not count.

/// The same lines as the file, with blanks for comments and for what stands in quotes.
pub(crate) struct Code {
    pub(crate) lines: Vec<String>,
}

impl Code {
    pub(crate) fn of(text: &str) -> Code {
        Code { lines: blanked(text).lines().map(str::to_owned).collect() }
    }

    /// Lines (counted from 1) that hold `phrase`, not as part of a longer word.
    pub(crate) fn lines_with(&self, phrase: &str) -> Vec<usize> {
        let numbered = self.lines.iter().enumerate();
        numbered.filter(|(_, line)| holds(line, phrase)).map(|(index, _)| index + 1).collect()
    }
}

/// Whether `line` has `phrase` with no letter, digit or underscore touching it from outside.
fn holds(line: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let inner_start = phrase.starts_with(is_word);
    let inner_end = phrase.ends_with(is_word);
    line.match_indices(phrase).any(|(at, _)| {
        let before = line[..at].ends_with(is_word) && inner_start;
        let after = line[at + phrase.len()..].starts_with(is_word) && inner_end;
        !before && !after
    })
}

/// `text` with blanks instead of comments and literals; line ends stay.
fn blanked(text: &str) -> String {
    let mut rest = text;
    let mut result = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let word_before = result.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skipped = match skipped_length(rest, word_before) {
            0 => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            length => length,
        };
        let (out, after) = rest.split_at(skipped);
        result.extend(out.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    result
}

/// Bytes of the comment or literal that `text` begins with; 0 when it begins with code.
fn skipped_length(text: &str, word_before: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    if text.starts_with('"') {
        return quoted_length(text);
    }
    if !word_before && let Some(length) = raw_string_length(text) {
        return length;
    }
    char_length(text)
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, and with a `b` or `c` in front.
fn raw_string_length(text: &str) -> Option<usize> {
    let after_prefix = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
    let body = after_prefix[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let body_length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + body_length)
}

/// `'x'` or `'\n'`; 0 for a lifetime.
fn char_length(text: &str) -> usize {
    let Some(inner) = text.strip_prefix('\'') else { return 0 };
    let mut chars = inner.char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            inner[after..].find('\'').map_or(0, |end| 1 + after + end + 1)
        }
        (Some(_), Some((at, '\''))) => 1 + at + 1,
        _ => 0,
    }
}

#[test]
fn comments_and_literals_vanish_and_code_stays() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x\\\"{\") {", "f(      ) {"),
        ("f(r#\"a\"b\"#) }", "f(        ) }"),
        ("'{' '\\'' '\\u{7b}' <'a, 'b>", "                  <'a, 'b>"),
        ("var\"s\"", "var   "),
    ] {
        assert_eq!(blanked(text), code, "{text}");
    }
}

#[test]
fn a_phrase_is_found_as_a_word_only() {
    let code =
        Code::of("unsafe fn f() {}\n#![deny(unsafe_code)]\n// unsafe\n\"unsafe\"\nx.unsafe;");
    assert_eq!(code.lines_with("unsafe"), [1, 5]);
    assert_eq!(Code::of("mytoml::x\ntoml::de").lines_with("toml::"), [2]);
}
