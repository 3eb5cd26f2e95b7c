//! The gateway's place on its host: the runtime directory, lock files, unix socket files,
//! signals.

pub mod directory;
pub mod lock_file;
pub mod signals;
pub mod socket_file;
