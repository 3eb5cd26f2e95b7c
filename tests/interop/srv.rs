//! Servers by SRV records, as a DNS server answers for them.

use portcullis::discovery::Outcome;

use crate::found::{places, search};
use crate::unbound::Unbound;

const MQTT: &str = "srv = \"_mqtt._tcp.test\"";

const HOSTS: [&str; 3] =
    ["a.test. 1 IN A 10.0.0.1", "b.test. 1 IN A 10.0.0.2", "c.test. 1 IN A 10.0.0.3"];

#[test]
fn the_best_priority_with_an_address_serves_by_its_weights() {
    let services = [
        "_mqtt._tcp.test. 1 IN SRV 10 600 1883 a.test.",
        "_mqtt._tcp.test. 1 IN SRV 10 200 1884 b.test.",
        "_mqtt._tcp.test. 1 IN SRV 20 5 1885 c.test.",
    ];
    let dns = Unbound::start(&[&HOSTS[..], &services].concat());
    search(&[dns.address()], "", MQTT, async |mut app| {
        let servers = app.next().await;
        let known: Vec<_> = servers.iter().map(|it| (it.name.as_str(), it.terms.weight)).collect();
        assert_eq!(known, [("a.test:10.0.0.1:1883", 3), ("b.test:10.0.0.2:1884", 1)]);
        // One target is enough for a priority; a silent DNS server is no reason to leave it.
        dns.replace("a.test.", &[]);
        app.nothing_new(Outcome::Failed, 2).await;
        dns.stop();
        app.nothing_new(Outcome::Failed, 4).await;
        dns.resume();
        dns.replace("b.test.", &["b.test. 1 IN TXT away"]);
        app.until(&["10.0.0.3:1885"]).await;
        dns.replace("b.test.", &HOSTS[1..2]);
        app.until(&["10.0.0.2:1884"]).await;
    });
}

#[test]
fn records_that_change_are_used_and_bad_ones_are_not() {
    let dns = Unbound::start(&[&HOSTS[..], &["_mqtt._tcp.test. 0 IN SRV 0 0 1 a.test."]].concat());
    search(&[dns.address()], "max_addresses = 20", MQTT, async |mut app| {
        app.until(&["10.0.0.1:1"]).await;
        let name = "_mqtt._tcp.test.";
        dns.replace(name, &["_mqtt._tcp.test. 0 IN SRV 0 1 2 a.test."]);
        app.until(&["10.0.0.1:2"]).await;
        let many: Vec<String> =
            (1..=21).map(|port| format!("_mqtt._tcp.test. 0 IN SRV 0 1 {port} a.test.")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (records, outcome) in [
            (&["_mqtt._tcp.test. 0 IN SRV 0 0 0 ."][..], Outcome::Empty),
            (&["_mqtt._tcp.test. 0 IN SRV 0 0 0 b.test."], Outcome::Wrong),
            (&many, Outcome::TooLarge),
        ] {
            dns.replace(name, records);
            app.nothing_new(outcome, 2).await;
            let trouble = app.health.trouble().expect("it is known what is wrong");
            assert!(trouble.contains("_mqtt._tcp.test"), "{trouble}");
        }
        dns.replace(name, &[]);
        app.nothing_new(Outcome::Failed, 2).await;
        dns.replace(name, &["_mqtt._tcp.test. 0 IN SRV 0 1 3 b.test."]);
        let servers = app.next().await;
        assert_eq!(places(&servers), ["10.0.0.2:3"]);
        assert_eq!(app.health.trouble(), None, "also of hosts that are asked for no more");
    });
}
