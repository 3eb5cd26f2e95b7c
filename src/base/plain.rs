//! Text from elsewhere without what a terminal would obey.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with its lines and tabs, and every other control character as `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    escaped(text, |character| !matches!(character, '\n' | '\t') && is_obeyed(character))
}

/// A word within a line: no line ends in it, either.
pub fn plain_word(word: &str) -> Cow<'_, str> {
    escaped(word, is_obeyed)
}

/// Control characters, those that turn the direction of writing (Trojan Source, CVE-2021-42574),
/// and the two that end a line without being control characters.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_obeyed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_obeyed(character) {
            let _ = write!(plain, "{}", character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out_and_all_else_stays() {
        let foreign = "a\u{1b}[2Jb\u{9b}31m\rc\u{7f}\u{202e}d";
        assert_eq!(plain(foreign), r"a\u{1b}[2Jb\u{9b}31m\u{d}c\u{7f}\u{202e}d");
        assert_eq!(plain("größe –\n\tone"), "größe –\n\tone");
        assert_eq!(plain_word("one\ntwo\t"), r"one\u{a}two\u{9}");
    }
}
