//! One message to something that echoes, and its answer checked.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use crate::pattern::Pattern;

/// Sends `bytes` of the pattern of `seed` and compares what comes back.
pub(crate) fn exchange(mut stream: &TcpStream, seed: u64, bytes: usize) -> Result<()> {
    let mut message = vec![0; bytes];
    Pattern::new(seed).fill(&mut message);
    stream.write_all(&message)?;
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer)?;
    Pattern::new(seed).check(&answer).map_err(wrong_byte)
}

/// The error of a byte that is not the one that was sent.
pub(crate) fn wrong_byte(place: u64) -> Error {
    Error::new(ErrorKind::InvalidData, format!("wrong byte at {place}"))
}

/// An error's name, few enough to be counted by.
pub(crate) fn kind(step: &str, error: &Error) -> String {
    format!("{step}: {:?}", error.kind())
}
