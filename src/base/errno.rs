//! The errno of a failed call.

use nix::errno::Errno;

/// The errno of an error that came from a system call; `EIO` where it came from elsewhere.
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
