//! The servers of an upstream as a list that changes while the gateway runs.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask, ask_json, tell};
use crate::support::gateway::Gateway;
use crate::support::server::{self, Server};

fn config(servers: &[&Server<()>], more: &str) -> String {
    let server = |(nth, server): (usize, &&Server<()>)| {
        format!("{{ name = \"s{nth}\", address = \"{}\" }}", server.address)
    };
    let servers: Vec<String> = servers.iter().enumerate().map(server).collect();
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 4000\ndrain_timeout = \"2s\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [{}]\n{more}\n[status]\nbind = \"off\"\n",
        servers.join(", ")
    )
}

fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0]), Ok(1))
}

fn names(answer: &Value) -> Vec<&str> {
    let servers = answer["servers"].as_array().expect("a list");
    servers.iter().map(|one| one["name"].as_str().expect("a name")).collect()
}

#[test]
fn a_list_is_shown_changed_and_set_again_by_one_writer_at_a_time() {
    let (one, two) = (server::echo(), server::echo());
    let gateway = Gateway::start(&config(&[&one], ""));
    let shown = tell(&gateway, &["servers", "app"]);
    assert!(shown.contains("# upstream app: the config file's list"), "{shown}");
    assert!(shown.contains("revision = 1\n"), "{shown}");

    let added = two.address.to_string();
    let answer = ask_json(&gateway, &["servers", "app", "add", &added, "--name", "b"]);
    assert_eq!((&answer["added"][0], &answer["revision"]), (&"b".into(), &2.into()));
    let mut streams: Vec<_> = (0..4).map(|_| client::connect(gateway.address("edge"))).collect();
    assert!(streams.iter_mut().all(echoes));
    assert_eq!((one.accepted(), two.accepted()), (2, 2));

    // Two operators had the same file: the second one is told.
    let path = gateway.home().path().join("app.servers");
    std::fs::write(&path, shown.replace("weight = 1", "weight = 3")).expect("it is written");
    let path = path.display().to_string();
    let said = ask(&gateway, &["servers", "app", "--set", &path]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.complaint.contains("are of revision 2, and this change was made of"), "{said:?}");
    assert_eq!(names(&ask_json(&gateway, &["servers", "app"])), ["s0", "b"]);
    tell(&gateway, &["servers", "app", "--set", &path, "--revision", "any"]);
    let now = ask_json(&gateway, &["servers", "app"]);
    assert_eq!((names(&now), &now["servers"][0]["weight"]), (vec!["s0"], &3.into()));
    assert_eq!(now["by_hand"], true);
    assert!(streams.iter_mut().all(echoes), "who is removed keeps its connections for a time");

    tell(&gateway, &["servers", "app", "weight", "s0", "5"]);
    assert_eq!(ask_json(&gateway, &["servers", "app"])["servers"][0]["weight"], 5);
    for (wrong, code, words) in [
        (&["remove", "s0"][..], 1, "it needs one"),
        (&["remove", "c"], 2, "the list has no such server; it has s0"),
        (&["add", "10.0.0.1"], 2, "must be an address with a port"),
        (&["add", "10.0.0.1:1", "--name", "s0"], 1, "there is a server s0 already"),
        (&["weight", "s0", "101"], 2, "is not in 0..=100"),
        (&["--set", "/no/such/file"], 1, "cannot read /no/such/file"),
    ] {
        let said = ask(&gateway, &[&["servers", "app"], wrong].concat());
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.complaint.contains(words), "{said:?}");
    }
    let said = ask(&gateway, &["servers", "none"]);
    assert!(said.complaint.contains("there is no such upstream; write one of app"), "{said:?}");
    drop(streams);
    gateway.wait_for_ended(4);
    gateway.stop().expect(&[("closed-by-client", 4)]);
}

#[test]
fn an_operators_list_stays_over_a_reload_until_the_files_word_is_asked_for() {
    let (one, two) = (server::echo(), server::echo());
    let text = config(&[&one], "");
    let gateway = Gateway::start(&text);
    tell(&gateway, &["servers", "app", "add", &two.address.to_string(), "--name", "b"]);
    let text = text.replace("drain_timeout = \"2s\"", "drain_timeout = \"1s\"");
    gateway.home().write("portcullis.toml", &text);
    tell(&gateway, &["reload"]);
    assert_eq!(names(&ask_json(&gateway, &["servers", "app"])), ["s0", "b"]);
    let said = tell(&gateway, &["reload"]);
    assert!(said.contains("upstream.app.servers") && said.contains("--reset"), "{said}");
    tell(&gateway, &["reload", "--reset"]);
    let now = ask_json(&gateway, &["servers", "app"]);
    assert_eq!((names(&now), &now["by_hand"]), (vec!["s0"], &false.into()));
    gateway.stop().expect(&[]);
}

#[test]
fn seven_of_eight_servers_are_swapped_and_nobody_is_cut() {
    let servers: Vec<Server<()>> = (0..15).map(|_| server::echo()).collect();
    let stays = &servers[0];
    let first: Vec<&Server<()>> = servers[..8].iter().collect();
    let gateway = Gateway::start(&config(&first, ""));
    let mut streams = Vec::new();
    let list = gateway.home().path().join("app.servers");
    for round in 0..20 {
        streams.extend((0..16).map(|_| client::connect(gateway.address("edge"))));
        assert!(streams.iter_mut().all(echoes), "round {round}");
        let others = if round % 2 == 0 { &servers[8..15] } else { &servers[1..8] };
        let all = [stays].into_iter().chain(others);
        let lines: Vec<String> = all.map(|one| format!("\"{}\"", one.address)).collect();
        std::fs::write(&list, format!("servers = [{}]", lines.join(", "))).expect("it is written");
        tell(&gateway, &["servers", "app", "--set", &list.display().to_string()]);
    }
    assert!(streams.iter_mut().all(echoes), "those of servers that are gone, too");
    drop(streams);
    gateway.wait_for_ended(320);
    gateway.stop().expect(&[("closed-by-client", 320)]);
}

#[test]
fn who_comes_back_in_time_is_who_it_was_and_who_does_not_leaves_at_a_pace() {
    let (one, two) = (server::echo(), server::echo());
    let gateway = Gateway::start(&config(&[&one, &two], "removed_timeout = \"2s\""));
    let mut streams: Vec<_> = (0..8).map(|_| client::connect(gateway.address("edge"))).collect();
    assert!(streams.iter_mut().all(echoes));
    let again = two.address.to_string();
    tell(&gateway, &["servers", "app", "remove", "s1"]);
    tell(&gateway, &["servers", "app", "add", &again, "--name", "s1"]);
    let now = ask_json(&gateway, &["servers", "app"]);
    assert_eq!(now["servers"][1]["open"], 4, "its connections count for it again: {now}");
    // Longer than a removed server's connections may stay.
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(streams.iter_mut().all(echoes));
    let answer = ask_json(&gateway, &["servers", "app", "remove", "s1"]);
    assert_eq!(answer["leaving"], 4);
    gateway.wait_for_reason("drained", 4);
    assert_eq!(streams.iter_mut().filter_map(|one| echoes(one).then_some(())).count(), 4);
    drop(streams);
    gateway.wait_for_ended(8);
    gateway.stop().expect(&[("closed-by-client", 4), ("drained", 4)]);
}

#[test]
fn with_keep_nobody_is_ended_by_a_removal() {
    let (one, two) = (server::echo(), server::echo());
    let text = config(&[&one, &two], "removed_timeout = \"0s\"")
        .replace("[listener.edge]", "on_removal = \"keep\"\n[listener.edge]");
    let gateway = Gateway::start(&text);
    let mut streams: Vec<_> = (0..8).map(|_| client::connect(gateway.address("edge"))).collect();
    assert!(streams.iter_mut().all(echoes));
    tell(&gateway, &["servers", "app", "remove", "s1"]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(streams.iter_mut().all(echoes), "beyond the time of a drain");
    drop(streams);
    gateway.wait_for_ended(8);
    gateway.stop().expect(&[("closed-by-client", 8)]);
}
