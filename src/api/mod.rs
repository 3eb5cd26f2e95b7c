//! Requests to the admin socket and its answers, as types that both of its ends share.
//!
//! Fields of answers stand in alphabetical order, which is their order on the wire. A field may be
//! added; one that changes its meaning or goes away raises [`SCHEMA`]. What says
//! which gateway it is comes before them: [`IDENTITY_FIELD`].

pub mod conns;
pub mod drain;
pub mod handover;
pub mod history;
pub mod patience;
pub mod reload;
mod request;
mod secret;
pub mod servers;
pub mod steer;
pub mod upgrade;

pub use request::{
    DUMP_PATH, IDENTITY_FIELD, IDENTITY_HEADER, Method, Request, SCHEMA, STATUS_PATH,
};
pub use secret::Secret;
