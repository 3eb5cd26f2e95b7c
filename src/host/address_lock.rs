//! The names of the locks of addresses, and who holds those in a directory.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::kernel_files::network_namespace;
use super::lock_file::holder_at;

const SUFFIX: &str = ".lock";

/// An address that a process has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedAddress {
    /// The process.
    pub pid: i32,
    /// The address.
    pub address: SocketAddr,
}

/// The name of the lock of an address. The same address in two network namespaces is two addresses,
/// and they may share a directory.
pub fn lock_name(address: SocketAddr) -> String {
    match network_namespace() {
        Some(network) => format!("{address}@{network}{SUFFIX}"),
        None => format!("{address}{SUFFIX}"),
    }
}

/// The address in the name of its lock.
fn address_in(name: &str) -> Option<SocketAddr> {
    let place = name.strip_suffix(SUFFIX)?;
    place.rsplit_once('@').map_or(place, |(address, _)| address).parse().ok()
}

/// The locked addresses in `directory`, by process.
pub fn locked_in(directory: &Path) -> Vec<LockedAddress> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let locked = entries.filter_map(|entry| {
        let address = address_in(entry.file_name().to_str()?)?;
        Some(LockedAddress { pid: holder_at(&entry.path())?, address })
    });
    let mut locked: Vec<LockedAddress> = locked.collect();
    locked.sort();
    locked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::lock_file::LockFile;

    #[test]
    fn locks_that_are_held_name_process_and_address() {
        let directory = tempfile::tempdir().expect("a directory");
        let addresses = ["127.0.0.1:7000", "[::1]:7000"].map(|a| a.parse().expect("an address"));
        let at = |address| directory.path().join(lock_name(address));
        let held = LockFile::take(&at(addresses[0])).expect("it is free");
        drop(LockFile::take(&at(addresses[1])).expect("it is free"));
        fs::write(directory.path().join("admin-7.sock.lock"), "7\n").expect("a file");
        let pid = std::process::id() as i32;
        assert_eq!(locked_in(directory.path()), [LockedAddress { pid, address: addresses[0] }]);
        drop(held);
        assert_eq!(address_in("[::1]:7000@4026531840.lock"), Some(addresses[1]));
        assert_eq!(address_in("127.0.0.1:7000.lock"), Some(addresses[0]));
        assert_eq!(address_in("127.0.0.1:7000"), None);
    }
}
