//! Addresses that a file has bound so far, and by which key and where.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const OVERLAP_REMEDY: &str = "remove one of the two, or write another port";

/// What is bound. Two sockets cannot listen on one port when their addresses overlap, and a
/// wildcard address overlaps with every one of its family.
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
}

impl Taken {
    /// How many addresses there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Takes `address` for the section `key`. Port 0, any free port, is never taken.
    ///
    /// # Errors
    /// The rule and the remedy, when another bind has the address or overlaps with it.
    pub(super) fn take(
        &mut self,
        address: SocketAddr,
        key: &str,
        spot: String,
    ) -> Result<(), (String, &'static str)> {
        if address.port() == 0 {
            return Ok(());
        }
        if let Some(Holder { key, spot }) = self.by_address.get(&address) {
            return Err((format!("{key} binds it already, on {spot}"), "write it once"));
        }
        if let Some(Holder { key, spot }) = self.by_address.get(&wildcard_of(address)) {
            let rule = format!("{key} binds every address with this port, on {spot}");
            return Err((rule, OVERLAP_REMEDY));
        }
        let port = (address.port(), address.is_ipv4());
        if let Some(Holder { key, spot }) = self.first_of_port.get(&port)
            && address.ip().is_unspecified()
        {
            let rule = format!("covers what {key} binds on {spot}");
            return Err((rule, OVERLAP_REMEDY));
        }
        let holder = Holder { key: key.to_owned(), spot };
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
