//! Which of many entries a client means, by the name and the protocols that it asks for.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::hello::NAME_MAX;

/// Bytes of a label, at most (RFC 1035, 2.3.4).
const LABEL_MAX: usize = 63;

/// The clients that an entry is for, and what they come to.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Clients that ask for any of these names; empty: any client, also one that asks for none.
    pub names: Vec<Pattern>,
    /// Of them, those that offer any of these protocols (ALPN); empty: all.
    pub protocols: Vec<Vec<u8>>,
    /// What they come to.
    pub target: T,
}

/// Entries, to be looked up by name and protocols.
///
/// A name is found as it stands before it is found by a wildcard, and both before an entry without
/// names. Among equals the first entry counts whose protocols agree. Names are compared without
/// regard to case and to a dot at the end.
#[derive(Debug)]
pub struct Names<T> {
    /// Numbers of entries, in order, by a name, and by what follows the first label of one.
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    wildcards: HashMap<Box<[u8]>, Vec<usize>>,
    /// Those of entries without names.
    open: Vec<usize>,
    /// By number: protocols and target.
    entries: Vec<(Vec<Vec<u8>>, T)>,
}

impl<T> Names<T> {
    /// Entries in order.
    pub fn new(entries: impl IntoIterator<Item = Entry<T>>) -> Names<T> {
        let (exact, wildcards) = (HashMap::new(), HashMap::new());
        let mut names = Names { exact, wildcards, open: Vec::new(), entries: Vec::new() };
        for Entry { names: patterns, protocols, target } in entries {
            let number = names.entries.len();
            if patterns.is_empty() {
                names.open.push(number);
            }
            for pattern in patterns {
                let (by, name) = match pattern {
                    Pattern::Name(name) => (&mut names.exact, name),
                    Pattern::OneLabelBefore(name) => (&mut names.wildcards, name),
                };
                by.entry(name.into_bytes().into()).or_default().push(number);
            }
            names.entries.push((protocols, target));
        }
        names
    }

    /// What a client comes to that asks for this name and offers these protocols; `None`: no entry
    /// is for it. Only entries without names are for one of more than 253 characters. Nothing is
    /// allocated.
    pub fn find<'a>(
        &self,
        name: Option<&str>,
        offered: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<&T> {
        let mut folded = [0; NAME_MAX];
        let name = name.and_then(|name| fold(name, &mut folded));
        let exact = name.and_then(|name| self.exact.get(name));
        let wildcard = name.and_then(behind_label).and_then(|name| self.wildcards.get(name));
        let is_offered = |protocol: &Vec<u8>| offered.clone().any(|one| one == protocol);
        let numbers = [exact, wildcard, Some(&self.open)].into_iter().flatten().flatten();
        let mut entries = numbers.map(|number| &self.entries[*number]);
        let found =
            entries.find(|(protocols, _)| protocols.is_empty() || protocols.iter().any(is_offered));
        found.map(|(_, target)| target)
    }
}

/// A name in lower case, without a dot at its end; `None`: no entry can have one of this length.
fn fold<'a>(name: &str, folded: &'a mut [u8; NAME_MAX]) -> Option<&'a [u8]> {
    let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let folded = folded.get_mut(..name.len())?;
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    Some(folded)
}

/// What follows the first label and its dot.
fn behind_label(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().position(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    Some(&name[dot + 1..])
}

/// Names of servers, as an entry has them: one name, or all that have one label before a name
/// (`*.example.com`, as in a certificate: RFC 6125, 6.4.3).
///
/// It is read from text, and then in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This one.
    Name(String),
    /// Those with one label, whatever it is, and a dot before this.
    OneLabelBefore(String),
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// It has no characters, but for a dot.
    Empty,
    /// Two dots meet, or a dot is the first character.
    EmptyLabel,
    /// It has more than 253 characters, or a label of it has more than 63.
    TooLong,
    /// A `*` is not the whole of the first label, or nothing follows it.
    BadWildcard,
    /// It is not in ASCII.
    NotAscii,
    /// A character is none of letters, digits, `-`, `_` and `.`, as in an address with a port.
    BadCharacter,
}

impl fmt::Display for PatternFault {
    /// What is wrong, in words that follow the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternFault::Empty => "is empty",
            PatternFault::EmptyLabel => "has nothing before a dot",
            PatternFault::TooLong => {
                "is longer than a name can be: 253 characters, 63 between two dots"
            }
            PatternFault::BadWildcard => "has a * that is not all of the first label of a name",
            PatternFault::NotAscii => {
                "is not in ASCII: clients send the form that begins with xn--"
            }
            PatternFault::BadCharacter => "has a character that no name of a server has",
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Name(name) => f.write_str(name),
            Pattern::OneLabelBefore(name) => write!(f, "*.{name}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternFault;

    fn from_str(text: &str) -> Result<Pattern, PatternFault> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        if !text.is_ascii() {
            return Err(PatternFault::NotAscii);
        }
        if text.len() > NAME_MAX {
            return Err(PatternFault::TooLong);
        }
        let suffix = text.strip_prefix("*.");
        let name = suffix.unwrap_or(text);
        name.split('.').try_for_each(check_label)?;
        let name = name.to_ascii_lowercase();
        Ok(match suffix {
            Some(_) => Pattern::OneLabelBefore(name),
            None => Pattern::Name(name),
        })
    }
}

fn check_label(label: &str) -> Result<(), PatternFault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match label {
        "" => Err(PatternFault::EmptyLabel),
        label if label.contains('*') => Err(PatternFault::BadWildcard),
        label if !label.bytes().all(is_plain) => Err(PatternFault::BadCharacter),
        label if label.len() > LABEL_MAX => Err(PatternFault::TooLong),
        _ => Ok(()),
    }
}
