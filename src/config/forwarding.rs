//! Keys of `[upstream.NAME]` that say when a server hears of a client, and what it learns of it.

use std::time::Duration;

use crate::config::error::ConfigError;
use crate::config::file::{Section, Value};
use crate::config::form::{AS_IT_STANDS, Choice, Form, OrOff, Own, Span};
use crate::config::keys::keys;
use crate::config::text::list;
use crate::config::{ConnectWhen, SendProxy, Tlv};

const CONNECTS: Choice<ConnectWhen> =
    Choice { words: &[("eager", ConnectWhen::Eager), ("lazy", ConnectWhen::Lazy)], later: &[] };

const PROXIES: Choice<SendProxy> = Choice {
    words: &[("off", SendProxy::Off), ("v1", SendProxy::V1), ("v2", SendProxy::V2)],
    later: &[],
};

const TLVS: Choice<Tlv> = Choice {
    words: &[
        ("received", Tlv::Received),
        ("authority", Tlv::Authority),
        ("alpn", Tlv::Alpn),
        ("ssl", Tlv::Ssl),
        ("client-cert", Tlv::ClientCert),
        ("unique-id", Tlv::UniqueId),
        ("crc32c", Tlv::Crc32c),
    ],
    later: &[],
};

const SEVERAL: Own<Vec<Tlv>> = Own {
    values: "a list of \"received\", \"authority\", \"alpn\", \"ssl\", \"client-cert\", \
             \"unique-id\" and \"crc32c\"",
    read: tlvs,
    written: |tlvs| list(tlvs.iter().map(|tlv| TLVS.word(*tlv))),
};

keys! {
    /// When a server hears of a client, and what it learns of it.
    Forwarding;

    /// When a server is connected to. "eager": as its client arrives. "lazy": at the client's first
    /// byte, so that no server hears of a client that says nothing, and a silent client takes half
    /// of the kernel's memory. Clients that wait for the server to speak (SMTP, MySQL, FTP) need
    /// "eager", or lazy_wait.
    ///
    /// Write "lazy" when most clients are idle from the start, or leave without a word.
    "connect" connect: ConnectWhen = "eager", NewConnections, CONNECTS, AS_IT_STANDS;

    /// With connect = "lazy": how long a client's first byte is awaited; then a server is connected
    /// to all the same. "off": until first_byte_timeout or idle_timeout ends the client.
    ///
    /// Set it when some of the clients wait for the server to speak.
    "lazy_wait" lazy_wait: Option<Duration> = "off", NewConnections,
        OrOff(Span::Of(Duration::from_millis(1)..=Duration::from_secs(3600))),
        "write it as in \"200ms\"";

    /// Whether a server gets a PROXY header before a client's first bytes, which says the client's
    /// address and the one that it connected to: "v1", a line of text, or "v2". Behind
    /// accept_proxy they are those of the header that came. It goes in one segment with the
    /// client's first bytes where there are any by then. Checks send one that says so: v2's LOCAL,
    /// or with "v1" their own addresses. Each server must expect it.
    ///
    /// Set it when servers see the gateway's address in place of the clients' (HAProxy:
    /// accept-proxy; nginx: listen ... proxy_protocol; PostgreSQL has nothing of the kind).
    "send_proxy" send_proxy: SendProxy = "off", NewConnections, PROXIES, AS_IT_STANDS;

    /// Fields of a header of version 2. "received": those of the header that came, as they came;
    /// "authority" and "alpn": the name that the client asks for and the protocol agreed on, where
    /// its TLS ends here, or the first one of its hello, where the listener reads that (sniff);
    /// "ssl": version and cipher of TLS that ends here, and the common name of the
    /// client's certificate; "client-cert": in "ssl", the certificate too, if it has 3 KiB at most;
    /// "unique-id": 16 bytes that no other connection has; "crc32c": a checksum of the header.
    ///
    /// Add "received" when a server reads fields of a cloud's balancer, "ssl" when it goes by the
    /// clients' certificates.
    "send_proxy_tlvs" send_proxy_tlvs: Vec<Tlv> = [], NewConnections, SEVERAL,
        "write [\"received\", \"crc32c\"]";
}

impl Forwarding {
    /// Whether servers get this field.
    pub fn tells(&self, tlv: Tlv) -> bool {
        self.send_proxy_tlvs.contains(&tlv)
    }
}

fn tlvs(value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<Vec<Tlv>> {
    let Some(elements) = value.elements() else {
        problems.push(value.error(format!("must be {}", SEVERAL.values), remedy));
        return None;
    };
    let mut tlvs: Vec<Tlv> = Vec::new();
    for element in elements {
        match TLVS.read(&element, AS_IT_STANDS, problems) {
            Some(tlv) if tlvs.contains(&tlv) => {
                problems.push(element.error("stands there twice", "remove one of the two"));
            }
            Some(tlv) => tlvs.push(tlv),
            None => {}
        }
    }
    Some(tlvs)
}

/// Refuses what would never be done.
pub(super) fn check(
    section: &Section<'_>,
    forwarding: &Forwarding,
    is_builtin: bool,
    problems: &mut Vec<ConfigError>,
) {
    let mut refuse = |key: &str, rule: &str, remedy: &str| {
        problems.extend(section.get(key).map(|value| value.error(rule, remedy)));
    };
    if is_builtin && forwarding.send_proxy != SendProxy::Off {
        let rule = "is for servers, and the gateway itself answers here";
        refuse("send_proxy", rule, "remove it, or write servers in place of builtin");
    }
    if !forwarding.send_proxy_tlvs.is_empty() && forwarding.send_proxy != SendProxy::V2 {
        let rule = "are fields of a header of version 2, and none is sent";
        refuse("send_proxy_tlvs", rule, "write send_proxy = \"v2\" beside it, or remove it");
    }
    if forwarding.tells(Tlv::ClientCert) && !forwarding.tells(Tlv::Ssl) {
        let rule = "has \"client-cert\", which is a part of \"ssl\"";
        refuse("send_proxy_tlvs", rule, "write \"ssl\" beside it, or remove it");
    }
    if forwarding.lazy_wait.is_some() && forwarding.connect == ConnectWhen::Eager {
        let rule = "waits for nothing: connect is \"eager\"";
        refuse("lazy_wait", rule, "write connect = \"lazy\" beside it, or remove it");
    }
}
