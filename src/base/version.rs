//! Which program this is.

/// Of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of the sources, where the build knew it: `build.rs` says when.
pub const COMMIT: Option<&str> = option_env!("PORTCULLIS_COMMIT");
/// The text of `--version`.
pub const LINE: &str = env!("PORTCULLIS_VERSION");
