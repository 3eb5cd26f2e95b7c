//! What clients of a listener say before a server is chosen for them.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::AcceptProxy;
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::form::{AS_IT_STANDS, Choice, Own, Span};
use crate::config::keys::keys;
use crate::config::networks::{A_LIST, networks};
use crate::config::text::list;

const PROXIES: Choice<AcceptProxy> = Choice {
    words: &[
        ("off", AcceptProxy::Off),
        ("from-trusted", AcceptProxy::FromTrusted),
        ("required", AcceptProxy::Required),
    ],
    later: &[],
};

const TRUSTED: Own<Vec<IpNet>> =
    Own { values: A_LIST, read: networks, written: |trusted| list(trusted) };

keys! {
    /// Who sends a header in front of what it forwards, and how long that may take.
    Preamble;

    /// Whether clients come through a balancer that says by a PROXY header (version 1 or 2) whose
    /// connection it forwards. From then on the address in the header is the client's: in `conns`
    /// and filters, in both logs, for balance = "source"; the balancer's stays visible as via. No
    /// server gets the header. "from-trusted": a peer in proxy_trusted must send one, any other is
    /// an ordinary client, of which no byte is taken for a header. "required": others are reset. A
    /// peer that sends something else is reset (bad-preamble).
    ///
    /// Write it when all clients have the address of a balancer, and the balancer can send the
    /// header (HAProxy: send-proxy-v2; nginx: proxy_protocol on; AWS NLB: proxy_protocol_v2).
    "accept_proxy" accept_proxy: AcceptProxy = "off", NewConnections, PROXIES, AS_IT_STANDS;

    /// The networks that send a PROXY header, where accept_proxy is not "off": they can say any
    /// address, so only your own balancers.
    ///
    /// Add the balancer's network when its clients are reset, or the server gets the header.
    "proxy_trusted" proxy_trusted: Vec<IpNet> = [], NewConnections, TRUSTED,
        "write [\"10.0.0.0/8\"]; a single address is a network, too";

    /// From the accept to the last byte of the PROXY header, and of the TLS hello where sniff is
    /// "tls", or of the handshake; who has not sent all by then is reset (preamble-timeout). It
    /// begins again for a client that per_source has held, and in a crowd with the client's turn to
    /// be read, and with its turn to shake hands.
    ///
    /// Raise it when balancers are far away and their links lose packets.
    "preamble_timeout" timeout: Duration = "5s", NewConnections,
        Span::Of(Duration::from_secs(1)..=Duration::from_secs(600)), "write it as in \"5s\"";
}

impl Preamble {
    /// Whether a peer at this address sends a header.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_trusted.iter().any(|network| network.contains(&peer))
    }
}

/// A header is asked for, and nobody may send one.
pub(super) fn trusts_nobody(section: &Section<'_>, preamble: &Preamble) -> Option<ConfigError> {
    let asks = preamble.accept_proxy != AcceptProxy::Off && preamble.proxy_trusted.is_empty();
    let value = section.get("accept_proxy").filter(|_| asks)?;
    let rule = "trusts nobody: proxy_trusted has no network";
    Some(
        value.error(rule, "write the networks of your balancers: proxy_trusted = [\"10.0.0.0/8\"]"),
    )
}
