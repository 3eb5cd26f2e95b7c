//! Why there is no access log.

use std::{fmt, io};

use crate::config::AccessPath;

/// Why an access log cannot begin.
#[derive(Debug)]
pub struct AccessLogError {
    /// Where its lines were to go.
    pub(super) path: AccessPath,
    pub(super) error: io::Error,
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessLogError { path, error } = self;
        match path {
            AccessPath::File(path) => write!(
                out,
                "access_log.path = \"{}\": {error}; name a file that this user can write to, \
                 \"stdout\" or \"off\"",
                path.display()
            ),
            _ => write!(out, "the access log cannot be started: {error}"),
        }
    }
}

impl std::error::Error for AccessLogError {}
