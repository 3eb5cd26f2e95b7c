//! Who is connected: the gateway says what clients and servers know of their own sockets.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::client::{self, from};
use crate::support::command::{ask, ask_json, rows, tell, words};
use crate::support::config::{relay, upstream};
use crate::support::gateway::Gateway;
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server, greet, introduce};
use crate::support::{Ends, wait_until};

/// Two listeners: one before a server, one that the gateway answers itself.
fn two_listeners(server: SocketAddr) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 1000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [listener.inner]\nbind = [\"127.0.0.1:0\"]\nupstream = \"loop\"\n\
         [upstream.loop]\nbuiltin = \"echo\"\n{}",
        upstream("app", &[server])
    )
}

#[test]
fn rows_say_what_clients_and_servers_know() {
    const CLIENTS: u64 = 20;
    type Pairs = BTreeMap<u64, (SocketAddr, SocketAddr)>;
    let known: Arc<Mutex<Pairs>> = Arc::default();
    let notes = Arc::clone(&known);
    let server = Server::start(move |mut stream| {
        let number = greet(&stream);
        let ends = (stream.peer_addr().expect("a peer"), stream.local_addr().expect("an end"));
        notes.lock().unwrap().insert(number, ends);
        client::send(&stream, &mut Pattern::new(number), number * 100).expect("sent");
        let _ = stream.read(&mut [0]);
    });
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..CLIENTS).map(|_| client::connect(address)).collect();
    for (number, stream) in (0..).zip(&streams) {
        introduce(stream, number);
        client::receive(stream, &mut Pattern::new(number), number * 100);
    }
    let known = known.lock().unwrap();
    let expected: Vec<(u64, u64)> = (0..CLIENTS).map(|number| (8, 8 + number * 100)).collect();
    let mut answer = ask_json(&gateway, &["conns", "--limit", "100"]);
    let row_of = |answer: &serde_json::Value, stream: &TcpStream| {
        let own = stream.local_addr().expect("an address").to_string();
        let row = rows(answer).iter().find(|row| row["client"] == own.as_str());
        row.unwrap_or_else(|| panic!("no row of {own}: {answer}")).clone()
    };
    // The last bytes may be counted a moment after they arrived.
    wait_until("all bytes to be counted", || {
        answer = ask_json(&gateway, &["conns", "--limit", "100"]);
        let number = |row: &serde_json::Value, key: &str| row[key].as_u64().expect("a number");
        let moved = streams.iter().map(|stream| {
            let row = row_of(&answer, stream);
            (number(&row, "to_upstream_bytes"), number(&row, "to_client_bytes"))
        });
        moved.collect::<Vec<_>>() == expected
    });
    assert_eq!((&answer["matched"], rows(&answer).len()), (&CLIENTS.into(), CLIENTS as usize));
    let server_name = server.address.to_string();
    for (number, stream) in (0..).zip(&streams) {
        let row = row_of(&answer, stream);
        let (source, server_address) = known[&number];
        assert_eq!(row["local"], stream.peer_addr().expect("a peer").to_string().as_str());
        assert_eq!(row["source"], source.to_string().as_str());
        assert_eq!(row["server_address"], server_address.to_string().as_str());
        assert_eq!(row["server"], server_name.as_str());
        let words = ["listener", "upstream", "state"].map(|key| row[key].as_str());
        assert_eq!(words, [Some("edge"), Some("app"), Some("joined")]);
    }
    let ids: HashSet<_> = words(&answer, "id").into_iter().map(str::to_owned).collect();
    assert_eq!(ids.len(), CLIENTS as usize);
    drop(streams);
    gateway.stop();
}

#[test]
fn filters_sort_and_limit_choose() {
    let server = server::echo();
    let gateway = Gateway::start(&two_listeners(server.address));
    let (edge, inner) = (gateway.address("edge"), gateway.address("inner"));
    let mut streams: Vec<_> = (0..3).map(|_| from("127.0.0.1:0", edge)).collect();
    streams.extend((0..2).map(|_| from("127.0.0.2:0", edge)));
    streams.push(from("127.0.0.3:0", inner));
    for (number, stream) in (1..).zip(&streams) {
        client::echo(stream, number, number * 1000);
    }
    let server_word = format!("server=app/{}", server.address);
    let count = |filter: &str| {
        let answer = ask_json(&gateway, &["conns", "--filter", filter]);
        let matched = answer["matched"].as_u64().expect("a number");
        assert_eq!(rows(&answer).len() as u64, matched, "{filter}");
        matched
    };
    for (filter, expected) in [
        ("src=127.0.0.0/8", 6),
        ("src=127.0.0.2", 2),
        ("src=127.0.0.2/31", 3),
        ("src=10.0.0.0/8", 0),
        ("listener=edge", 5),
        ("listener=inner server=loop", 1),
        ("server=app", 5),
        (&server_word, 5),
        ("server=loop src=127.0.0.1", 0),
        ("state=joined", 6),
        ("state=ending", 0),
        ("idle>1h", 0),
        ("age<1h idle<1h", 6),
        ("bytes>9kB", 2),
        ("bytes<9kB src=127.0.0.1", 3),
    ] {
        assert_eq!(count(filter), expected, "{filter}");
    }
    assert_eq!(count("worker=0") + count("worker=1"), 6);
    let most = ask_json(&gateway, &["conns", "--sort", "bytes", "--limit", "2"]);
    assert_eq!((&most["matched"], &most["open"]), (&6.into(), &6.into()));
    // What tells two answers apart is as in readings.
    let reading = ask_json(&gateway, &["status"]);
    assert_eq!(most["start_time_seconds"], reading["process"]["start_time_seconds"]);
    let time = |answer: &serde_json::Value| answer["at_seconds"].as_f64().expect("a time");
    assert!(time(&most) > 0.0 && time(&most) <= time(&reading), "{most} {reading}");
    let moved = rows(&most).iter().map(|row| row["to_client_bytes"].as_u64().expect("a number"));
    assert_eq!(moved.collect::<Vec<_>>(), [6000, 5000]);
    // A few arguments are as good as one.
    let said = tell(&gateway, &["conns", "--filter", "src=127.0.0.2", "listener=edge"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("id ") && lines[0].contains("client"), "{said}");
    assert_eq!((lines.len(), lines[3]), (4, "2 shown, 2 matched, 6 open"), "{said}");
    assert!(lines[1].contains("127.0.0.2:") && lines[1].contains("joined"), "{said}");
    drop(streams);
    gateway.stop();
}

#[test]
fn a_wrong_word_is_explained() {
    let gateway = Gateway::start(&two_listeners(SocketAddr::from(([127, 0, 0, 1], 9))));
    for (filter, said) in [
        (
            "listener=outer",
            "\"listener=outer\": there is no such listener; write one of edge, inner",
        ),
        ("idle=5m", "\"idle=5m\": idle takes > or <; write idle>5m"),
        ("worker=2", "workers are numbered from 0, and there are 2"),
    ] {
        let answer = ask(&gateway, &["conns", "--filter", filter]);
        assert_eq!((answer.code, answer.answer.as_str()), (Some(2), ""));
        assert!(answer.complaint.contains(said), "{}", answer.complaint);
    }
    for arguments in [["conns", "--limit", "10001"], ["conns", "--sort", "size"]] {
        assert_eq!(ask(&gateway, &arguments).code, Some(2), "{arguments:?}");
    }
    gateway.stop();
}

#[test]
fn who_asks_and_leaves_costs_nobody_anything() {
    const ASKERS: usize = 40;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let streams: Vec<_> = (0..200).map(|_| client::connect(address)).collect();
    for stream in &streams {
        client::echo(stream, 7, 100);
    }
    for _ in 0..ASKERS {
        let mut asker = UnixStream::connect(gateway.admin_socket()).expect("it listens");
        let request =
            "GET /conns?filter=src%3D127.0.0.0%2F8&limit=10000 HTTP/1.1\r\nhost: x\r\n\r\n";
        asker.write_all(request.as_bytes()).expect("asked");
    }
    let answer = ask_json(&gateway, &["conns", "--filter", "src=127.0.0.0/8", "--limit", "1000"]);
    assert_eq!((&answer["matched"], rows(&answer).len()), (&200.into(), 200));
    for stream in &streams {
        client::echo(stream, 8, 100);
    }
    drop(streams);
    gateway.stop();
}

#[test]
fn connections_that_come_and_go_meanwhile_disturb_nobody() {
    const QUESTIONS: usize = 60;
    let server = server::echo();
    let gateway = Gateway::start(&relay(&[server.address]));
    let address = gateway.address("edge");
    let over = AtomicBool::new(false);
    let (mut closed, mut shown) = (0, 0);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        let churn = |seed: u64| {
            let over = &over;
            move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    let stream = client::connect(address);
                    client::echo(&stream, seed, 300);
                    server::finish(&stream);
                    assert_eq!(client::ending(&stream), client::Ending::Fin);
                    count += 1;
                }
                count
            }
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(churn(seed))).collect();
        for turn in 0..QUESTIONS {
            let filter = if turn % 2 == 0 { "src=127.0.0.0/8" } else { "age<1h" };
            let answer = ask_json(&gateway, &["conns", "--filter", filter]);
            let mut ids = words(&answer, "id");
            shown += ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), rows(&answer).len(), "{answer}");
            assert!(rows(&answer).len() as u64 <= answer["matched"].as_u64().expect("a number"));
        }
        over.store(true, Ordering::Relaxed);
        closed = threads.into_iter().map(|thread| thread.join().expect("all bytes came")).sum();
    });
    assert!(shown > 0, "nobody was ever shown");
    gateway.wait_for_ended(closed as usize);
    gateway.stop().expect(&[("closed-by-client", closed)]);
}
