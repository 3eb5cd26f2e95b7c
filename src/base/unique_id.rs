//! The id of a connection that its server gets, and by which an operator finds it again.

use std::fmt;

/// The id in a PROXY header: no other connection has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId(pub [u8; 16]);

/// 32 hexadecimal digits.
impl fmt::Display for UniqueId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}
