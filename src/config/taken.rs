//! Addresses that a file has bound so far, and by which key and where.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const OVERLAP_REMEDY: &str = "remove one of the two, or write another port";

/// What is bound. A wildcard address overlaps with every one of its family and port. Listeners
/// share such a port (SO_REUSEPORT), where the narrower address has its clients to itself; nobody
/// else does.
#[derive(Debug, Default)]
pub(super) struct Taken {
    by_address: HashMap<SocketAddr, Holder>,
    /// The first address of a port, by family.
    first_of_port: HashMap<(u16, bool), Holder>,
}

#[derive(Clone, Debug)]
struct Holder {
    key: String,
    spot: String,
    is_shared: bool,
}

impl Taken {
    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Takes `address` for the section `key`, which shares its port or does not. Port 0, any free
    /// port, is never taken.
    ///
    /// # Errors
    /// The rule and the remedy, when another bind has the address, or one overlaps with it and not
    /// both share the port.
    pub(super) fn take(
        &mut self,
        address: SocketAddr,
        (key, spot): (&str, String),
        is_shared: bool,
    ) -> Result<(), (String, &'static str)> {
        if address.port() == 0 {
            return Ok(());
        }
        if let Some(Holder { key, spot, .. }) = self.by_address.get(&address) {
            return Err((format!("{key} binds it already, on {spot}"), "write it once"));
        }
        let stands_alone = |other: &&Holder| !(is_shared && other.is_shared);
        let wildcard = self.by_address.get(&wildcard_of(address));
        if let Some(Holder { key, spot, .. }) = wildcard.filter(stands_alone) {
            let rule = format!("{key} binds every address with this port, on {spot}");
            return Err((rule, OVERLAP_REMEDY));
        }
        let port = (address.port(), address.is_ipv4());
        let first = self.first_of_port.get(&port);
        if let Some(Holder { key, spot, .. }) = first.filter(stands_alone)
            && address.ip().is_unspecified()
        {
            let rule = format!("covers what {key} binds on {spot}");
            return Err((rule, OVERLAP_REMEDY));
        }
        let holder = Holder { key: key.to_owned(), spot, is_shared };
        self.by_address.insert(address, holder.clone());
        self.first_of_port.entry(port).or_insert(holder);
        Ok(())
    }
}

/// The wildcard address with the port and family of `address`.
fn wildcard_of(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, address.port())
}
