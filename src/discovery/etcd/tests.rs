//! Sessions with members of a cluster that answer what a test says.

use std::collections::VecDeque;

use data_encoding::BASE64;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::*;
use crate::base::Clock;
use crate::config::Resolver;
use crate::discovery::Outcome;
use crate::discovery::dns::Files;
use crate::discovery::heard::{Heard, on_a_local_set};

const A: &str = "10.0.0.1:9000";
const B: &str = "10.0.0.2:9000";

/// The session of a test that waits for its end, and of one that does not.
const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

/// What a member does on a connection.
#[derive(Clone)]
enum Reply {
    /// Answers with all keys.
    Range(String),
    /// Answers a watch with these lines, and says no more.
    Watch(Vec<String>),
    /// Answers a watch with these lines, and ends it.
    WatchEnds(Vec<String>),
    /// Answers with a status and a text.
    Other(&'static str, &'static str),
}

fn pair(key: &str, value: &str) -> serde_json::Value {
    json!({ "key": BASE64.encode(key.as_bytes()), "value": BASE64.encode(value.as_bytes()) })
}

/// The answer with these keys at a revision.
fn range(revision: i64, pairs: &[(&str, &str)]) -> Reply {
    let pairs: Vec<_> =
        pairs.iter().map(|(key, value)| pair(&format!("/p/{key}"), value)).collect();
    let header = json!({ "revision": revision.to_string() });
    Reply::Range(json!({ "header": header, "kvs": pairs }).to_string())
}

fn created() -> String {
    json!({ "result": { "created": true } }).to_string()
}

fn put(key: &str, value: &str) -> String {
    json!({ "result": { "events": [{ "kv": pair(&format!("/p/{key}"), value) }] } }).to_string()
}

fn deleted(key: &str) -> String {
    let event = json!({ "type": "DELETE", "kv": { "key": pair(&format!("/p/{key}"), "")["key"] } });
    json!({ "result": { "events": [event] } }).to_string()
}

/// A member that gives these replies in turn, and what it was asked. Then it closes connections.
async fn member(replies: Vec<Reply>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    spawn_local(async move {
        let mut replies = VecDeque::from(replies);
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            while let Some(question) = question(&mut stream).await {
                let _ = asked.send(question);
                let Some(reply) = replies.pop_front() else { break };
                if !answer(&mut stream, reply).await {
                    break;
                }
            }
        }
    });
    (endpoint, questions)
}

/// The path and the body of a request.
async fn question(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let words = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = words.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.expect("a length").parse() == Ok(body.len()) {
                return Some(format!("{} {body}", head.split(' ').nth(1).expect("a path")));
            }
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&bytes[..count]);
    }
}

/// Whether the connection goes on.
async fn answer(stream: &mut TcpStream, reply: Reply) -> bool {
    let whole = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let chunks = |lines: &[String]| {
        let chunk = |line: &String| {
            // A line comes in two chunks.
            let (first, second) = line.split_at(line.len() / 2);
            format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\n\r\n", first.len(), second.len() + 1)
        };
        let chunks: String = lines.iter().map(chunk).collect();
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
    };
    let (text, goes_on) = match &reply {
        Reply::Range(body) => (whole("200 OK", body), true),
        Reply::Watch(lines) => (chunks(lines), true),
        Reply::WatchEnds(lines) => (chunks(lines), false),
        Reply::Other(status, body) => (whole(status, body), true),
    };
    stream.write_all(text.as_bytes()).await.is_ok() && goes_on
}

/// Follows these members with sessions of this length.
fn followed(endpoints: &[&str], session: Duration) -> Heard {
    followed_by_names(endpoints, session, Dns::new(Resolver::default()))
}

/// The same, where their names are asked for so.
fn followed_by_names(endpoints: &[&str], session: Duration, dns: Dns) -> Heard {
    let endpoints: Vec<String> = endpoints.iter().map(|it| (*it).to_owned()).collect();
    let (sink, heard) = Heard::new();
    let follow = async move { Follower::new("/p/", session, &dns, &sink).follow(&endpoints).await };
    spawn_local(follow);
    heard
}

/// The hosts file has names of members. Of two addresses the one that nobody listens at is tried
/// and left again.
#[test]
fn members_are_found_by_their_names() {
    on_a_local_set(async {
        let folder = tempfile::tempdir().expect("a folder");
        let [hosts, servers] = ["hosts", "resolv.conf"].map(|name| folder.path().join(name));
        std::fs::write(&hosts, "127.0.0.1 etcd.test\n127.255.0.9 etcd.test\n").expect("ours");
        let files = Files { hosts, servers, between_looks: Duration::ZERO };
        let dns = Dns::by_files(Resolver::default(), files, Clock::system());
        let replies = [range(1, &[("a", A)]), Reply::Watch(vec![created(), put("b", B)])];
        let (endpoint, _) = member(replies.to_vec()).await;
        let (_, port) = endpoint.split_once(':').expect("a port");
        let (member, nobody) = (format!("etcd.test:{port}"), format!("none.test:{port}"));
        let heard = followed_by_names(&[&nobody, &member], LONG, dns);
        heard.until(&[A, B]).await;
        assert_eq!(heard.health.answers(Outcome::Failed), 0, "{:?}", heard.health);
        let no_dns = Resolver { servers: vec![([127, 0, 0, 1], 1).into()], ..Resolver::default() };
        let heard = followed_by_names(&[&nobody], LONG, Dns::new(no_dns));
        heard.until_trouble(&format!("etcd /p/: {nobody}: ")).await;
    });
}

#[test]
fn changes_are_taken_as_they_come() {
    on_a_local_set(async {
        let lines = [created(), put("b", B), put("c", "db.internal:1"), deleted("a")];
        let all = range(7, &[("a", A)]);
        let (endpoint, mut questions) = member(vec![all, Reply::Watch(lines.to_vec())]).await;
        let heard = followed(&[&endpoint], LONG);
        heard.until(&[B, "db.internal:1"]).await;
        heard.until_trouble("").await;
        let asked = questions.recv().await.expect("it was asked");
        let (path, body) = asked.split_once(' ').expect("a path and a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let keys = [BASE64.encode(b"/p/"), BASE64.encode(b"/p0")];
        assert_eq!(
            (path, &body["key"], &body["range_end"]),
            ("/v3/kv/range", &json!(keys[0]), &json!(keys[1]))
        );
        let asked = questions.recv().await.expect("it was asked");
        assert!(
            asked.starts_with("/v3/watch ") && asked.contains("\"start_revision\":\"8\""),
            "{asked}"
        );
    });
}

#[test]
fn what_was_compacted_away_is_read_as_a_whole() {
    on_a_local_set(async {
        let gone = json!({ "result": { "canceled": true, "compact_revision": "9" } }).to_string();
        let first = [range(1, &[("a", A)]), Reply::Watch(vec![created(), gone])];
        let second = [range(9, &[("b", B)]), Reply::Watch(vec![created()])];
        let (endpoint, _) = member([first, second].concat()).await;
        let heard = followed(&[&endpoint], LONG);
        heard.until(&[B]).await;
        let failed = Outcome::ALL.iter().filter(|it| heard.health.answers(**it) > 0);
        assert_eq!(failed.collect::<Vec<_>>(), [&Outcome::Good], "it is no failure");
    });
}

#[test]
fn a_watch_that_says_nothing_hides_nothing_for_long() {
    on_a_local_set(async {
        let silent =
            |revision, place| [range(revision, &[("a", place)]), Reply::Watch(vec![created()])];
        let (endpoint, _) = member([silent(1, A), silent(2, B), silent(3, A)].concat()).await;
        let heard = followed(&[&endpoint], SHORT);
        heard.until(&[B]).await;
        heard.until(&[A]).await;
        heard.until_trouble(&format!("etcd /p/: {endpoint}: ")).await;
        assert_eq!(heard.places(), [A], "it answers no more");
    });
}

#[test]
fn one_member_that_is_gone_is_no_trouble() {
    on_a_local_set(async {
        let (gone, _) = member(Vec::new()).await;
        let watch = Reply::WatchEnds(vec![created(), put("b", B)]);
        let (third, _) = member(vec![range(2, &[("a", B)]), Reply::Watch(vec![created()])]).await;
        let (second, _) = member(vec![range(1, &[("a", A)]), watch]).await;
        let heard = followed(&[&gone, &second, &third], LONG);
        heard.until(&[A, B]).await;
        heard.until(&[B]).await;
        assert_eq!(heard.health.answers(Outcome::Failed), 0, "{:?}", heard.health);
    });
}

#[test]
fn what_is_wrong_leaves_what_was_good() {
    on_a_local_set(async {
        let all = range(
            1,
            &[("a", A), ("b", "10.0.0.2"), ("c", "{\"address\": \"10.0.0.3:1\", \"weight\": 7}")],
        );
        let lines = [created(), put("a", "nowhere"), put("d", "[fd00::1]:1")];
        let (endpoint, _) = member(vec![all, Reply::Watch(lines.to_vec())]).await;
        let heard = followed(&[&endpoint], LONG);
        heard.until(&[A, "10.0.0.3:1", "[fd00::1]:1"]).await;
        heard.until_trouble("key \"/p/a\": \"nowhere\": must be").await;
        heard.until_trouble("(and 1 more)").await;
        let set = heard.sets.borrow().clone().expect("a set");
        assert_eq!((set.servers[1].name.as_str(), set.servers[1].terms.weight), ("c", 7));
    });
}

#[test]
fn an_answer_that_is_none_changes_nothing() {
    on_a_local_set(async {
        let no_keys = [range(1, &[]), Reply::Watch(vec![created(), put("a", A), deleted("a")])];
        let many = json!({ "kvs": vec![pair("/p/x", A); keys::KEYS_MAX + 1] }).to_string();
        let error = json!({ "error": { "message": "etcdserver: no leader" } }).to_string();
        for (replies, outcome, words) in [
            (no_keys.to_vec(), Outcome::Empty, "etcd /p/: no key begins with it"),
            (vec![Reply::Range(many)], Outcome::TooLarge, "more than 65535 keys"),
            (vec![Reply::Range("{".into())], Outcome::Failed, "not what etcd answers"),
            (
                vec![Reply::Other("404 Not Found", "Not Found")],
                Outcome::Failed,
                "from version 3.4 on",
            ),
            (
                vec![Reply::Other("503 No", "{\"message\": \"etcdserver: request timed out\"}")],
                Outcome::Failed,
                "\"etcdserver: request timed out\"",
            ),
            (vec![range(1, &[]), Reply::Watch(vec![error])], Outcome::Failed, "no leader"),
        ] {
            let good = [range(1, &[("a", A)]), Reply::WatchEnds(vec![created()])];
            let (endpoint, _) = member([good.to_vec(), replies].concat()).await;
            let heard = followed(&[&endpoint], LONG);
            heard.until_trouble(words).await;
            assert!(heard.health.answers(outcome) > 0, "{words}: {:?}", heard.health);
            assert_eq!(heard.places(), [A], "{words}");
        }
    });
}

#[test]
fn an_answer_without_an_end_is_not_read() {
    on_a_local_set(async {
        let long = Reply::Range(format!("\"{}\"", "x".repeat(17 << 20)));
        let (endpoint, _) = member(vec![long]).await;
        followed(&[&endpoint], LONG).until_trouble("more than 16777216 bytes").await;
        let line = "x".repeat(17 << 20);
        let (endpoint, _) = member(vec![range(1, &[]), Reply::Watch(vec![line])]).await;
        followed(&[&endpoint], LONG).until_trouble("more than 16777216 bytes").await;
    });
}

#[test]
fn sessions_that_fail_come_at_growing_distances() {
    let most = |failures| between(failures, u64::MAX);
    let all = [0, 1, 2, 3, 6, 7, 100].map(|failures| most(failures).as_millis());
    assert_eq!(all, [100, 100, 200, 400, 3200, 5000, 5000]);
    assert_eq!(between(100, 0), most(100) / 2);
    let some: std::collections::HashSet<u64> = (0..100).map(|_| random()).collect();
    assert!(some.len() > 90, "chance repeats itself");
}
