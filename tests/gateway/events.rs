//! The gateway keeps what happened last, with its time, for those who look later.

use serde_json::Value;

use crate::support::command::{ask, ask_json, tell};
use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::http::get;

fn events(document: &Value) -> Vec<(String, String, String)> {
    let word = |event: &Value, key: &str| event[key].as_str().expect(key).to_owned();
    let events = document["events"].as_array().expect("a list").iter();
    events.map(|one| (word(one, "severity"), word(one, "subject"), word(one, "words"))).collect()
}

#[test]
fn what_happens_is_kept_in_order_with_its_time() {
    let gateway = Gateway::start(OWN_ECHO);
    tell(&gateway, &["listener", "edge", "pause"]);
    tell(&gateway, &["listener", "edge", "resume"]);
    tell(&gateway, &["drain", "listener/edge", "--over", "1ms"]);
    gateway.wait_for_line("drained: 0 connections ended subject=listener/edge");
    gateway.home().write("portcullis.toml", "[gateway]\nworkres = 2\n");
    assert_eq!(ask(&gateway, &["reload"]).code, Some(2));
    let status = ask_json(&gateway, &["status"]);
    let told = events(&status);
    let begins: Vec<(&str, &str, String)> = told
        .iter()
        .map(|(severity, subject, words)| {
            (&**severity, &**subject, words.split([';', ':']).next().unwrap_or_default().to_owned())
        })
        .collect();
    let edge = "listener/edge";
    let expected = [
        ("info", "gateway", "ready with "),
        ("info", edge, "paused"),
        ("info", edge, "resumed"),
        ("info", edge, "paused"),
        ("info", edge, "drains"),
        ("info", edge, "drained"),
        ("error", "gateway", "reload refused, nothing was changed"),
    ];
    assert_eq!(begins.len(), expected.len(), "{begins:?}");
    for (is, expected) in begins.iter().zip(expected) {
        assert_eq!((is.0, is.1), (expected.0, expected.1), "{begins:?}");
        assert!(is.2.starts_with(expected.2), "{begins:?}");
    }
    let first = status["events"][0]["at"].as_str().expect("a time");
    let (date, time) = first.split_once('T').expect("RFC 3339");
    assert!(date.len() == 10 && time.len() == 9 && time.ends_with('Z'), "{first}");
    let text = tell(&gateway, &["status"]);
    let (_, shown) = text.split_once("\nlast events\n").expect("they are there");
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.contains("Z  listener/edge: resumed\n"), "{shown}");
    assert!(shown.lines().last().is_some_and(|line| line.contains("  error: gateway: reload ref")));
    gateway.stop();
}

/// The status server has them, too, but not who asked: that is in the log alone.
#[test]
fn twenty_are_kept_and_served_without_who_asked() {
    let gateway = Gateway::start(OWN_ECHO);
    for _ in 0..12 {
        tell(&gateway, &["listener", "edge", "pause"]);
        tell(&gateway, &["listener", "edge", "resume"]);
    }
    let body = get(gateway.status(), "/status.json").body;
    let status: Value = serde_json::from_str(&body).expect("JSON");
    let told = events(&status);
    assert_eq!(told.len(), 20);
    let edge = |words: &str| ("info".to_owned(), "listener/edge".to_owned(), words.to_owned());
    assert_eq!(told[18], edge("paused; its clients wait in the backlog"));
    assert_eq!(told[19], edge("resumed"));
    assert!(!status["events"].to_string().contains("uid"), "{}", status["events"]);
    gateway.stop();
}
