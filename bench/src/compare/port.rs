//! Ports of the loopback address that nobody listens on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use crate::host;

/// Ports below the range of connections that are looked at by default, if there are so many; below
/// the first are those of well-known services.
const LOWEST: u16 = 10_000;
const UNPRIVILEGED: u16 = 1_024;
const ENOUGH: u16 = 2_000;

/// A range of ports, handed out in turns.
pub(crate) struct FreePorts {
    range: RangeInclusive<u16>,
    next: u16,
}

/// Reads `20000-20999`.
pub(crate) fn parse_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').ok_or("not FIRST-LAST")?;
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is not a port"));
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 || first > last { Err("not FIRST-LAST".into()) } else { Ok(first..=last) }
}

impl FreePorts {
    /// Of this range, or of what no connection is given as its own port.
    pub(crate) fn new(chosen: Option<RangeInclusive<u16>>) -> io::Result<FreePorts> {
        let range = match chosen {
            Some(range) => range,
            None => {
                let unknown = || io::Error::other("net.ipv4.ip_local_port_range cannot be read");
                quiet(host::facts().network.ports.ok_or_else(unknown)?)
            }
        };
        // Runs side by side begin at different places.
        let length = u32::from(range.end() - range.start()) + 1;
        let next = range.start() + (std::process::id().wrapping_mul(101) % length) as u16;
        Ok(FreePorts { range, next })
    }

    /// The first of `count` free ports in a row.
    pub(crate) fn take(&mut self, count: u16) -> io::Result<u16> {
        let length = u32::from(self.range.end() - self.range.start()) + 1;
        for _ in 0..length {
            let first = self.next;
            let Some(last) = first.checked_add(count - 1).filter(|last| last <= self.range.end())
            else {
                self.next = *self.range.start();
                continue;
            };
            let taken = (first..=last).find(|port| TcpListener::bind(loopback(*port)).is_err());
            let after = taken.unwrap_or(last);
            self.next = if after == *self.range.end() { *self.range.start() } else { after + 1 };
            if taken.is_none() {
                return Ok(first);
            }
        }
        let (first, last) = (self.range.start(), self.range.end());
        Err(io::Error::other(format!("no {count} free ports in a row in {first} to {last}")))
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Ports outside of the range that connections get theirs from: there a port is taken by whoever
/// connects first.
fn quiet((first, last): (u16, u16)) -> RangeInclusive<u16> {
    if first >= LOWEST + ENOUGH {
        LOWEST..=first - 1
    } else if last <= u16::MAX - ENOUGH {
        last + 1..=u16::MAX
    } else if first >= UNPRIVILEGED + ENOUGH {
        UNPRIVILEGED..=first - 1
    } else {
        LOWEST.max(first)..=last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lie_outside_of_the_range_of_connections_where_they_can() {
        for (of_connections, expected) in [
            ((32_768, 60_999), 10_000..=32_767),
            ((1_024, 60_999), 61_000..=65_535),
            ((10_000, 65_535), 1_024..=9_999),
            ((1_024, 65_535), 10_000..=65_535),
        ] {
            assert_eq!(quiet(of_connections), expected, "{of_connections:?}");
        }
    }

    #[test]
    fn a_row_is_free_and_the_next_one_another() {
        const PORTS: u16 = 500;
        let holder = TcpListener::bind(loopback(0)).expect("a free port");
        let taken = holder.local_addr().expect("it is bound").port();
        let first = taken.min(u16::MAX - PORTS + 1);
        let mut ports = FreePorts::new(Some(first..=first + (PORTS - 1))).expect("a range");
        let rows = [ports.take(4).expect("a row"), ports.take(4).expect("another")];
        let all = rows.into_iter().flat_map(|row| row..row + 4);
        // Two listeners of one port would be an error.
        let bound = all.map(|port| TcpListener::bind(loopback(port)).expect("it is free"));
        assert_eq!(bound.collect::<Vec<_>>().len(), 8);
        assert!(ports.take(PORTS + 1).is_err(), "more than there are");
        let mut none = FreePorts::new(Some(taken..=taken)).expect("a range");
        assert!(none.take(1).is_err(), "{taken} is taken");
        assert!(parse_range("7-5").is_err() && parse_range("7").is_err());
    }
}
