//! The first thing that keeps a text from being TOML: where it is, and what to do about it.

use std::ops::Range;

/// The columns of a line that an excerpt shows.
const SHOWN_COLUMNS: usize = 80;

/// An error of the parser, in the parser's order.
pub(super) struct Complaint {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

/// The error to report. A mistake makes the parser misread the rest, so only one is reported.
pub(super) struct First {
    pub(super) place: usize,
    pub(super) rule: String,
    pub(super) remedy: String,
    /// The key at `place` stands there for the second time.
    pub(super) again: bool,
}

/// The first of `complaints`, by place.
///
/// # Panics
/// When there are none.
pub(super) fn first(text: &str, complaints: &[Complaint]) -> First {
    let first = complaints.iter().min_by_key(|complaint| complaint.span.start);
    let Complaint { span, message } = first.expect("a text that is no TOML has a mistake");
    let unclosed = complaints.iter().any(|one| one.message.starts_with("unclosed"));
    if let Some((opened, bracket)) = open_bracket(text, span.start).filter(|_| unclosed) {
        let other = if bracket == '[' { ']' } else { '}' };
        return First {
            place: opened,
            rule: format!("the {bracket} has no {other}"),
            remedy: "close it".to_owned(),
            again: false,
        };
    }
    let said = |words: &str| message.starts_with(words);
    let remedy = if let Some(word) = bare_word(text, span.start) {
        format!("write \"{word}\", in quotes")
    } else if said("unexpected leading zero") {
        "remove the zero; permissions stand in quotes, as in \"0600\"".to_owned()
    } else if said("invalid basic string") || said("invalid literal string") {
        "close the quotes".to_owned()
    } else if said("key with no value") {
        "write it as in key = 1".to_owned()
    } else {
        "mend the line".to_owned()
    };
    let rule = message.replace('\n', ", ");
    First { place: span.start, rule, remedy, again: said("duplicate key") }
}

/// The word at `place`, where a value is to stand, if it is one that quotes can hold.
fn bare_word(text: &str, place: usize) -> Option<&str> {
    let (start, line) = line_at(text, place);
    let (before, after) = line.split_at(place - start);
    let word = after.split(|c: char| c.is_whitespace() || ",]}#".contains(c)).next()?;
    let is_value = before.trim_end().ends_with(['=', '[', ',']);
    let unquotable = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\');
    let is_word = word.contains(char::is_alphabetic) && !word.contains(unquotable);
    (is_value && is_word && !before.trim_start().is_empty()).then_some(word)
}

/// The innermost bracket before `end` that is still open there.
fn open_bracket(text: &str, end: usize) -> Option<(usize, char)> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut is_comment = false;
    let mut is_escaped = false;
    for (index, c) in text.char_indices().take_while(|(index, _)| *index < end) {
        match (quote, c) {
            (_, '\n') => (quote, is_comment, is_escaped) = (None, false, false),
            _ if is_comment => {}
            (Some('"'), '\\') => is_escaped = !is_escaped,
            (Some(mark), _) => {
                if c == mark && !is_escaped {
                    quote = None;
                }
                is_escaped = false;
            }
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => is_comment = true,
            (None, '[' | '{') => open.push((index, c)),
            (None, ']' | '}') => drop(open.pop()),
            _ => {}
        }
    }
    open.pop()
}

/// The line that `place` is on: where it begins, and its text.
pub(super) fn line_at(text: &str, place: usize) -> (usize, &str) {
    let start = text[..place].rfind('\n').map_or(0, |end| end + 1);
    let end = text[place..].find('\n').map_or(text.len(), |end| place + end);
    (start, &text[start..end])
}

/// The line, and below it a caret at `place`.
pub(super) fn excerpt(text: &str, place: usize) -> String {
    let (start, line) = line_at(text, place);
    let before = text[start..place].chars().count();
    let skipped = before.saturating_sub(SHOWN_COLUMNS / 2);
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(SHOWN_COLUMNS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("    {}\n    {}^", shown.trim_end(), " ".repeat(before - skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        for (text, place) in [
            ("a = [1", Some((4, '['))),
            ("[a]\nb = [1, {", Some((12, '{'))),
            ("a = [\"]\", ']', \"\\\"]\" # ]\n", Some((4, '['))),
            ("[a]\nb = [1]\n", None),
        ] {
            assert_eq!(open_bracket(text, text.len()), place, "{text}");
        }
    }

    #[test]
    fn the_caret_stands_below_the_place() {
        assert_eq!(excerpt("a\nbé = c\nd", 7), "    bé = c\n        ^");
        let long = format!("x = {}", "y".repeat(500));
        assert!(excerpt(&long, 400).lines().all(|line| line.chars().count() <= 90));
        assert_eq!(excerpt("", 0), "    \n    ^");
    }
}
