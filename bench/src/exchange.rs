//! What can go wrong with a message, in words.

use std::io::{Error, ErrorKind};

/// The error of a byte that is not the one that was sent.
pub(crate) fn wrong_byte(place: u64) -> Error {
    Error::new(ErrorKind::InvalidData, format!("wrong byte at {place}"))
}

/// An error's name, few enough to be counted by.
pub(crate) fn kind(step: &str, error: &Error) -> String {
    format!("{step}: {:?}", error.kind())
}
