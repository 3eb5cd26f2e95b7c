//! Servers by the names of hosts, as a DNS server answers for them.

use std::time::{Duration, Instant};

use portcullis::config::{Server, Terms};
use portcullis::discovery::Outcome;
use tokio::time::sleep;

use crate::found::{places, search, search_after};
use crate::support::network::free_port;
use crate::unbound::Unbound;

/// An upstream with the servers of one host.
const DB: &str = "servers = [\"db.test:5432\"]";

/// Records of `db.test`, as many as that, from 10.0.0.1 on.
fn many(count: u32) -> Vec<String> {
    let record = |number: u32| {
        format!("db.test. 60 IN A {}", std::net::Ipv4Addr::from_bits(0x0A00_0000 + number))
    };
    (1..=count).map(record).collect()
}

fn lines(records: &[String]) -> Vec<&str> {
    records.iter().map(String::as_str).collect()
}

#[test]
fn an_address_that_changes_is_used() {
    // The TTL is an hour, and max_ttl a second.
    let dns = Unbound::start(&["db.test. 3600 IN A 10.0.0.1", "db.test. 3600 IN AAAA fd00::1"]);
    search(&[dns.address()], "", DB, async |mut app| {
        let servers = app.next().await;
        assert_eq!(places(&servers), ["10.0.0.1:5432", "[fd00::1]:5432"]);
        assert_eq!(servers[0].name, "db.test:10.0.0.1:5432");
        dns.replace("db.test.", &["db.test. 3600 IN A 10.0.0.2"]);
        app.until(&["10.0.0.2:5432"]).await;
        app.nothing_new(Outcome::Good, 1).await;
        assert_eq!(app.health.trouble(), None);
    });
}

#[test]
fn answers_without_addresses_keep_the_last_good_ones() {
    let dns = Unbound::start(&["db.test. 1 IN A 10.0.0.1"]);
    search(&[dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432"]).await;
        for (kind, outcome, because) in [
            ("always_nxdomain", Outcome::Failed, "there is no such name"),
            ("always_nodata", Outcome::Empty, "there is no record"),
            ("always_refuse", Outcome::Failed, "Query Refused"),
            ("always_deny", Outcome::Failed, "gives no answer within 500ms"),
        ] {
            dns.answer("db.test.", kind);
            app.nothing_new(outcome, 2).await;
            let trouble = app.health.trouble().expect("it is known what is wrong");
            assert!(trouble.contains("db.test") && trouble.contains(because), "{kind}: {trouble}");
            dns.answer_again("db.test.");
            app.nothing_new(Outcome::Good, 1).await;
            assert_eq!(app.health.trouble(), None, "{kind}");
        }
        dns.replace("db.test.", &["db.test. 1 IN A 10.0.0.2"]);
        app.until(&["10.0.0.2:5432"]).await;
    });
}

#[test]
fn a_family_that_fails_keeps_its_addresses() {
    let both = ["db.failing. 1 IN A 10.0.0.1", "db.failing. 1 IN AAAA fd00::1"];
    let dns = Unbound::start(&both);
    search(&[dns.address()], "", "servers = [\"db.failing:1\"]", async |mut app| {
        app.until(&["10.0.0.1:1", "[fd00::1]:1"]).await;
        // The question for IPv6 ends in SERVFAIL from here on.
        dns.replace("db.failing.", &["db.failing. 1 IN A 10.0.0.2"]);
        app.until(&["10.0.0.2:1", "[fd00::1]:1"]).await;
        let trouble = app.health.trouble().expect("it is known what is wrong");
        assert!(trouble.contains("IPv6") && trouble.contains("Server Failure"), "{trouble}");
        dns.replace("db.failing.", &[]);
        app.nothing_new(Outcome::Failed, 2).await;
        dns.replace("db.failing.", &both);
        app.until(&["10.0.0.1:1", "[fd00::1]:1"]).await;
    });
}

#[test]
fn a_dns_server_that_is_silent_or_gone_changes_nothing() {
    let dns = Unbound::start(&["db.test. 1 IN A 10.0.0.1"]);
    search(&[dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432"]).await;
        dns.stop();
        app.nothing_new(Outcome::Failed, 3).await;
        dns.resume();
        dns.replace("db.test.", &["db.test. 1 IN A 10.0.0.2"]);
        app.until(&["10.0.0.2:5432"]).await;
        drop(dns);
        app.nothing_new(Outcome::Failed, 2).await;
    });
}

#[test]
fn a_second_dns_server_answers_for_the_first() {
    let dns = Unbound::start(&["db.test. 1 IN A 10.0.0.1"]);
    let nobody = ([127, 0, 0, 1], free_port()).into();
    search(&[nobody, dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432"]).await;
        app.nothing_new(Outcome::Good, 2).await;
        assert_eq!(app.health.answers(Outcome::Failed), 0);
    });
}

#[test]
fn an_answer_cut_short_is_none() {
    let all = many(100);
    let dns = Unbound::with("do-tcp: no", &lines(&all[..2]));
    search(&[dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432", "10.0.0.2:5432"]).await;
        dns.replace("db.test.", &lines(&all));
        app.nothing_new(Outcome::Truncated, 2).await;
        let trouble = app.health.trouble().expect("it is known what is wrong");
        assert!(trouble.contains("short"), "{trouble}");
        dns.replace("db.test.", &lines(&all[..3]));
        assert_eq!(app.next().await.len(), 3);
    });
}

#[test]
fn five_hundred_addresses_are_used_where_they_may_be() {
    let all = many(500);
    let dns = Unbound::start(&lines(&all));
    search(&[dns.address()], "max_addresses = 500", DB, async |mut app| {
        assert_eq!(app.next().await.len(), 500);
        dns.reload(&lines(&many(501)));
        app.nothing_new(Outcome::TooLarge, 2).await;
        let trouble = app.health.trouble().expect("it is known what is wrong");
        assert!(trouble.contains("501 are more than resolver.max_addresses, 500"), "{trouble}");
    });
}

#[test]
fn all_addresses_replaced_at_once_are_used() {
    let all = many(200);
    let dns = Unbound::start(&lines(&all[..100]));
    search(&[dns.address()], "", DB, async |mut app| {
        assert_eq!(app.next().await.len(), 100);
        dns.reload(&lines(&all[100..]));
        let replaced = Instant::now();
        let servers = app.next().await;
        println!("100 of 100 addresses replaced, used after {:?}", replaced.elapsed());
        let expected: Vec<String> = (101..=200).map(|n| format!("10.0.0.{n}:5432")).collect();
        assert_eq!(places(&servers), expected);
    });
}

#[test]
fn a_ttl_of_zero_is_bounded() {
    let dns = Unbound::start(&["db.test. 0 IN A 10.0.0.1"]);
    let begun = Instant::now();
    search(&[dns.address()], "", DB, async |app| {
        app.more(Outcome::Good, 4).await;
        let questions = dns.questions();
        // Two questions a second, one for each family, from the first moment on.
        let most = 2 * (begun.elapsed().as_secs() + 1);
        assert!((8..=most).contains(&questions), "{questions} questions, not 8 to {most}");
    });
}

#[test]
fn answers_in_another_order_are_no_news() {
    let all = many(20);
    let dns = Unbound::start(&lines(&all));
    search(&[dns.address()], "", DB, async |mut app| {
        assert_eq!(app.next().await.len(), 20);
        app.nothing_new(Outcome::Good, 4).await;
    });
}

#[test]
fn answers_that_flap_change_the_servers_no_more_often_than_they_are_asked_for() {
    let all = many(8);
    let dns = Unbound::start(&lines(&all));
    let begun = Instant::now();
    search(&[dns.address()], "", DB, async |mut app| {
        let mut changes = 0;
        while app.health.answers(Outcome::Good) < 4 {
            let from = changes % 5;
            dns.replace("db.test.", &lines(&all[from..from + 3]));
            changes += 1;
            sleep(Duration::from_millis(20)).await;
        }
        let (steps, most) = (app.steps(), begun.elapsed().as_secs() + 1);
        assert!((2..=most).contains(&steps), "{steps} steps, not 2 to {most}, of {changes}");
    });
}

#[test]
fn many_hosts_are_asked_for_in_turn() {
    let record = |number: u32| {
        let ip = std::net::Ipv4Addr::from_bits(0x0A00_0000 + number);
        format!("h{number}.test. 60 IN A {ip}")
    };
    let records: Vec<String> = (1..=1000).map(record).collect();
    let hosts: Vec<String> = (1..=1000).map(|number| format!("\"h{number}.test:1\"")).collect();
    let dns = Unbound::start(&lines(&records));
    let hosts = format!("servers = [{}]", hosts.join(", "));
    search(&[dns.address()], "", &hosts, async |mut app| {
        assert_eq!(app.next().await.len(), 1000);
        app.nothing_new(Outcome::Good, 1000).await;
        assert_eq!(app.health.trouble(), None);
    });
}

#[test]
fn an_alias_is_followed() {
    let dns = Unbound::start(&["db.test. 1 IN CNAME real.test.", "real.test. 1 IN A 10.0.0.1"]);
    search(&[dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432"]).await;
        dns.replace("real.test.", &["real.test. 1 IN A 10.0.0.2"]);
        app.until(&["10.0.0.2:5432"]).await;
    });
}

#[test]
fn addresses_that_no_host_has_are_refused() {
    let dns = Unbound::start(&["db.test. 1 IN A 10.0.0.1"]);
    search(&[dns.address()], "", DB, async |mut app| {
        app.until(&["10.0.0.1:5432"]).await;
        for wrong in ["A 0.0.0.0", "A 224.0.0.1", "A 255.255.255.255", "AAAA ::", "AAAA ff02::1"] {
            let wrong = format!("db.test. 1 IN {wrong}");
            dns.replace("db.test.", &["db.test. 1 IN A 10.0.0.1", &wrong]);
            app.nothing_new(Outcome::Wrong, 1).await;
        }
        // One of IPv4 in the form of IPv6 is that of IPv4, and a link-local one is nobody's.
        let mapped = ["db.test. 1 IN AAAA ::ffff:10.0.0.7", "db.test. 1 IN AAAA fe80::1"];
        dns.replace("db.test.", &mapped);
        app.until(&["10.0.0.7:5432"]).await;
    });
}

#[test]
fn a_host_that_does_not_answer_has_the_addresses_of_the_last_run() {
    let server = |name: &str, ip: [u8; 4]| {
        let name = format!("{name}:{}:1", std::net::Ipv4Addr::from(ip));
        Server { name, address: (ip, 1).into(), terms: Terms::default() }
    };
    // Of the third the config knows nothing any more.
    let before = ["db.test", "two.test", "x.test"].iter().zip(1..);
    let before = before.map(|(name, number)| server(name, [10, 0, 0, number])).collect();
    let dns = Unbound::start(&["one.test. 1 IN A 10.0.0.9"]);
    let hosts = "servers = [\"db.test:1\", \"two.test:1\"]";
    search_after(before, &[dns.address()], "", hosts, async |mut app| {
        app.nothing_new(Outcome::Failed, 4).await;
        dns.replace("db.test.", &["db.test. 1 IN A 10.0.0.7"]);
        assert_eq!(places(&app.next().await), ["10.0.0.7:1", "10.0.0.2:1"]);
        dns.replace("two.test.", &["two.test. 1 IN A 10.0.0.8"]);
        app.until(&["10.0.0.7:1", "10.0.0.8:1"]).await;
    });
}

#[test]
fn a_host_without_an_answer_does_not_keep_the_others_waiting() {
    let dns = Unbound::start(&["db.test. 1 IN A 10.0.0.1", "two.test. 1 IN A 10.0.0.2"]);
    let hosts = "servers = [\"db.test:1\", \"two.test:1\", \"none.test:1\", \"127.0.0.1:9\"]";
    search(&[dns.address()], "", hosts, async |mut app| {
        let first = places(&app.next().await);
        assert_eq!(first, ["127.0.0.1:9", "10.0.0.1:1", "10.0.0.2:1"], "whole at once");
        dns.replace("none.test.", &["none.test. 1 IN A 10.0.0.3"]);
        app.until(&["127.0.0.1:9", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]).await;
    });
}
