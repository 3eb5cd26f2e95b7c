//! The resource limits of this process.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// The limit on open files, soft and hard; `u64::MAX` is no limit.
pub fn files() -> (u64, u64) {
    limit(Resource::RLIMIT_NOFILE)
}

/// The limit on locked memory in bytes, soft and hard; `u64::MAX` is no limit.
pub fn locked_memory() -> (u64, u64) {
    limit(Resource::RLIMIT_MEMLOCK)
}

/// Raises the soft limit on open files to the hard one, and returns what is in force.
pub fn raise_files() -> (u64, u64) {
    raise(Resource::RLIMIT_NOFILE)
}

/// Raises the soft limit on locked memory to the hard one, and returns what is in force.
pub fn raise_locked_memory() -> (u64, u64) {
    raise(Resource::RLIMIT_MEMLOCK)
}

fn limit(resource: Resource) -> (u64, u64) {
    let plain = |limit| if limit == RLIM_INFINITY { u64::MAX } else { limit };
    getrlimit(resource).map_or((1024, 1024), |(soft, hard)| (plain(soft), plain(hard)))
}

/// Where the kernel refuses (a hard limit above fs.nr_open), the soft limit is all there is.
fn raise(resource: Resource) -> (u64, u64) {
    let (soft, hard) = limit(resource);
    match setrlimit(resource, hard, hard) {
        Ok(()) => (soft, hard),
        Err(_) => (soft, soft),
    }
}
