//! Sessions that a ticket resumes, here or at another gateway.

use std::sync::Arc;

use rustls::NamedGroup;
use rustls::client::{
    ClientConfig, ClientSessionMemoryCache, ClientSessionStore, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::super::{Acceptor, AcceptorPlan};
use super::authority::Authority;
use super::peer::{Client, NEW, OLD, bytes_pass, connect, shake};
use crate::tls::Tickets;

const A: &[u8] = &[1; 80];
const B: &[u8] = &[2; 80];

fn of_file(keys: &[&[u8]]) -> Option<Arc<Tickets>> {
    Some(Arc::new(Tickets::from_keys(&keys.concat(), 0).expect("whole keys")))
}

/// A gateway with these names and tickets, and certificates of its own.
fn plan(
    authority: &Authority,
    names: &[&'static str],
    tickets: Option<Arc<Tickets>>,
) -> AcceptorPlan {
    let names: Vec<&[&str]> = names.iter().map(std::slice::from_ref).collect();
    AcceptorPlan {
        certificates: authority.certificates(&names),
        min_tls13: false,
        alpn: Vec::new(),
        client_ca: None,
        tickets,
    }
}

/// Whether a client resumes at a gateway; it gets its next ticket there.
fn resumes(plan: &AcceptorPlan, config: &Arc<ClientConfig>, name: &'static str) -> bool {
    let acceptor = Acceptor::new(plan).expect("a sound plan");
    let mut peer = connect(config, name);
    let (established, rest) = shake(&mut acceptor.begin(), &mut peer, usize::MAX).expect();
    let is_resumed = established.is_resumed;
    bytes_pass(established, rest, &mut peer);
    is_resumed
}

/// A client of each version.
fn clients(authority: &Authority) -> [Client; 2] {
    let client = Client::new(authority.roots());
    [Client { versions: NEW, ..client.clone() }, Client { versions: OLD, ..client }]
}

#[test]
fn a_session_is_resumed_where_the_same_key_is_and_nowhere_else() {
    let authority = Authority::new("authority");
    for client in clients(&authority) {
        for (there, expected) in
            [(of_file(&[A]), true), (of_file(&[B, A]), true), (of_file(&[B]), false), (None, false)]
        {
            let config = client.config();
            let here = plan(&authority, &["a.example"], of_file(&[A]));
            assert!(!resumes(&here, &config, "a.example"), "the first time");
            let there = plan(&authority, &["a.example"], there);
            assert_eq!(resumes(&there, &config, "a.example"), expected);
        }
    }
}

#[test]
fn a_random_key_resumes_through_one_rotation_but_not_through_two() {
    let authority = Authority::new("authority");
    for client in clients(&authority) {
        let tickets = Arc::new(Tickets::random(0).expect("random bytes"));
        let plan = plan(&authority, &["a.example"], Some(tickets.clone()));
        for (hours, expected) in [(0, false), (1, true), (7, true), (20, false)] {
            // A config keeps the last tickets; the first of a fresh one is not resumed.
            let config = client.config();
            tickets.rotate(0);
            if hours > 0 {
                resumes(&plan, &config, "a.example");
            }
            tickets.rotate(hours * 3600);
            assert_eq!(resumes(&plan, &config, "a.example"), expected, "after {hours} hours");
        }
    }
}

/// rustls refuses a ticket under another name; we refuse one under another certificate, for
/// clients that say no name.
#[test]
fn a_ticket_of_one_name_is_refused_under_another() {
    let authority = Authority::new("authority");
    for client in clients(&authority) {
        let both = plan(&authority, &["a.example", "b.example"], of_file(&[A]));
        let config = client.config();
        assert!(!resumes(&both, &config, "a.example"));
        assert!(!resumes(&both, &config, "b.example"), "the client keeps tickets by name");

        // A client without SNI takes its ticket for `a.example` wherever its packets are led.
        let silent = Client { says_name: false, ..client.clone() };
        let config = silent.config();
        let a = plan(&authority, &["a.example"], of_file(&[A]));
        assert!(!resumes(&a, &config, "a.example"));
        assert!(resumes(&plan(&authority, &["a.example"], of_file(&[A])), &config, "a.example"));
        let certificates = authority.certificates(&[&["b.example", "a.example"]]);
        let other = AcceptorPlan { certificates, ..a };
        assert!(!resumes(&other, &config, "a.example"));
    }
}

/// Tickets of a client that shows them to a server of any name.
#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache);

impl AnyName {
    fn name() -> ServerName<'static> {
        ServerName::try_from("any.example").expect("it is a name")
    }
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(AnyName::name(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&AnyName::name())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(AnyName::name(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&AnyName::name())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&AnyName::name());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(AnyName::name(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&AnyName::name())
    }
}

#[test]
fn a_ticket_that_a_client_carries_to_another_name_is_refused() {
    let authority = Authority::new("authority");
    // The certificate is the same under both names, so it is the name that refuses.
    let certificates = authority.certificates(&[&["a.example", "b.example"]]);
    let plan = AcceptorPlan { certificates, ..plan(&authority, &["a.example"], of_file(&[A])) };
    for client in clients(&authority) {
        let mut config = (*client.config()).clone();
        let store = AnyName(ClientSessionMemoryCache::new(8));
        config.resumption = Resumption::store(Arc::new(store));
        let config = Arc::new(config);
        for (name, expected) in
            [("a.example", false), ("a.example", true), ("b.example", false), ("b.example", true)]
        {
            assert_eq!(resumes(&plan, &config, name), expected, "{name}");
        }
    }
}
