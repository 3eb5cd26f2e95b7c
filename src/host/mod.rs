//! The gateway's place on its host: the runtime directory, lock files, unix socket files.

pub mod directory;
pub mod lock_file;
pub mod socket_file;
