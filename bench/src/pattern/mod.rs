//! The bytes that both ends of a connection exchange, and what is wrong with those that arrive.

mod protocol;
mod run;
mod wrong;

pub(crate) use protocol::{Asked, HEADER_BYTES, HELLO_BYTES, Header, Receipt, Request, greeted};
pub(crate) use run::Pattern;
pub(crate) use wrong::{HELLO_SEED, Wrong, check, take};
