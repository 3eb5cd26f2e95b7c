//! `[resolver]`: how names of servers are asked for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::address;
use crate::config::error::ConfigError;
use crate::config::file::Value;
use crate::config::form::{Number, Own, Span};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::text::list;

pub(super) const RESOLVER: SectionKeys =
    SectionKeys { section: "resolver", about: "", keys: &[Resolver::KEYS], later: &[] };

const SERVERS: Own<Vec<SocketAddr>> =
    Own { values: "a list of addresses with a port", read: servers, written: |all| list(all) };

/// From a second up to a day.
const LIVES: Span = Span::Of(Duration::from_secs(1)..=Duration::from_secs(86_400));

keys! {
    /// How names of servers are asked for: each again when its answer's time is over.
    Resolver;

    /// DNS servers; []: those of /etc/resolv.conf, which is read again when it changes. The one
    /// that answered last is asked first. A host that /etc/hosts knows is not asked for; nor are
    /// names tried within the domains of resolv.conf's search: write them whole.
    ///
    /// Write the address of the one that knows the servers' names when the host asks another.
    "servers" servers: Vec<SocketAddr> = [], Live, SERVERS, "write [\"127.0.0.53:53\"]";

    /// An answer is used for as long at least, whatever its TTL. After one that is of no use the
    /// name is asked for again as soon, then a little later each time, at most 5s.
    ///
    /// Raise it when a name of TTL 0 makes the DNS server busy.
    "min_ttl" min_ttl: Duration = "1s", Live, LIVES, "write \"1s\"";

    /// An answer is used for as long at most, whatever its TTL.
    ///
    /// Lower it when a change of a name is seen too late.
    "max_ttl" max_ttl: Duration = "1m", Live, LIVES, "write \"1m\"";

    /// For a DNS server to answer, before the next one is asked. Until then the question is sent
    /// up to three times.
    ///
    /// Raise it when a distant one answers late.
    "timeout" timeout: Duration = "2s", Live,
        Span::Of(Duration::from_millis(100)..=Duration::from_secs(60)), "write \"2s\"";

    /// Addresses that one name may have. A larger answer is not used, and the last good one stays.
    ///
    /// Raise it when the log says that a name has more, and that is right.
    "max_addresses" max_addresses: u16 = 256, Live,
        Number(1..=4096), "write how many servers a name may stand for";
}

fn servers(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<Vec<SocketAddr>> {
    let Some(elements) = value.elements() else {
        problems.push(value.error(format!("must be {}", SERVERS.values), remedy));
        return None;
    };
    let address = |element: &Value<'_>| match address::server_address(&element.text()) {
        Ok(address) => Some(address),
        Err(fault) => {
            problems.push(element.fault(&fault));
            None
        }
    };
    Some(elements.iter().filter_map(address).collect())
}
