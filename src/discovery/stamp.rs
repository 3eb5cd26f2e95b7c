//! What tells a file from the one before at its path.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is known of a file without reading it, or why nothing is known.
pub type Stamp = Result<[i64; 7], io::ErrorKind>;

/// The present stamp of the file at `path`: its device, inode, size and times.
pub fn stamp(path: &Path) -> Stamp {
    let it = fs::metadata(path).map_err(|error| error.kind())?;
    let (modified, changed) = ([it.mtime(), it.mtime_nsec()], [it.ctime(), it.ctime_nsec()]);
    let ([m, m_nsec], [c, c_nsec]) = (modified, changed);
    Ok([it.dev() as i64, it.ino() as i64, it.size() as i64, m, m_nsec, c, c_nsec])
}
