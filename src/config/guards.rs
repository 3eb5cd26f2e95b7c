//! Keys of `[listener.NAME]` and `[upstream.NAME]` by which a peer is found that is gone.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::Guard;
use crate::config::form::{Number, OrOff, Span};
use crate::config::keys::keys;

const SECOND: Duration = Duration::from_secs(1);

/// The most that TCP_KEEPIDLE and TCP_KEEPINTVL take (MAX_TCP_KEEPIDLE).
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// TCP_USER_TIMEOUT is in milliseconds, and an int.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 3600);

keys! {
    /// What shows that the peer of a connection is gone.
    Guards;

    /// A peer (a listener's client, an upstream's server) that was silent for this long is probed
    /// (SO_KEEPALIVE, TCP_KEEPIDLE): where it is gone, because its host, its link or the state in a
    /// router on the way is, the connection ends and gives its slot back after keepalive +
    /// keepalive_interval x keepalive_probes, and what a router keeps stays alive. A probe is one
    /// packet each way; a million idle connections at "5m" are 3,333 a second. "off": only
    /// idle_timeout finds who is gone. On a loopback address nobody is probed: there the kernel
    /// sees everybody's end.
    ///
    /// Lower it when connections are cut by a router that forgets silent ones, or slots are held by
    /// peers that are gone; raise it when clients on batteries should sleep for longer.
    "keepalive" keepalive: Option<Duration> = "5m", NewConnections,
        OrOff(Span::Of(SECOND..=KEEPALIVE_MAX)), "write it as in \"5m\"";

    /// Between two probes that are not answered (TCP_KEEPINTVL).
    "keepalive_interval" keepalive_interval: Duration = "10s", NewConnections,
        Span::Of(SECOND..=KEEPALIVE_MAX), "write it as in \"10s\"";

    /// Probes without an answer after which a peer counts as gone (TCP_KEEPCNT). Several, because
    /// probes of connections that came together go out together, and a queue on the way may drop
    /// many at once.
    "keepalive_probes" keepalive_probes: u32 = 9, NewConnections,
        Number(1..=127), "write the default, 9";

    /// How long bytes may stay unacknowledged (TCP_USER_TIMEOUT) before a peer counts as gone;
    /// "off": as long as the kernel sends them again, about 15 minutes (net.ipv4.tcp_retries2).
    ///
    /// Set it when peers that vanish in mid-transfer must be found sooner. The kernel counts the
    /// time of a reader that has no room, too: one that pauses for so long is cut.
    "user_timeout" user_timeout: Option<Duration> = "off", NewConnections,
        OrOff(Span::Of(SECOND..=USER_TIMEOUT_MAX)), "write it as in \"2m\"";
}

impl Guards {
    /// After which silence a peer at the other end of this address is probed; `None`: never. One on
    /// a loopback address cannot go without the kernel's notice, and probes would end it: those of
    /// connections that came together go out together, and loopback drops what is beyond
    /// net.core.netdev_max_backlog, answers among it, so that peers that are well seem gone.
    pub fn probes(&self, address: IpAddr) -> Option<Duration> {
        self.keepalive.filter(|_| !address.to_canonical().is_loopback())
    }

    /// Probes of a peer that is silent.
    pub fn silence(&self) -> Option<Guard> {
        let seconds = |span: Duration| span.as_secs() as u16;
        self.keepalive.map(|idle| Guard::Silence {
            idle_seconds: seconds(idle),
            interval_seconds: seconds(self.keepalive_interval),
            probes: self.keepalive_probes as u8,
        })
    }

    /// The bound for bytes that a peer does not acknowledge.
    pub fn unacknowledged(&self) -> Option<Guard> {
        self.user_timeout
            .map(|longest| Guard::Unacknowledged { millis: longest.as_millis() as u32 })
    }
}
