//! An upgrade: established connections go to a new process, and no peer notices.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client::{self, Brought, Ending};
use crate::support::config::upstream;
use crate::support::crowd::Marks;
use crate::support::growth::{grown, none_fell};
use crate::support::lineage::{Lineage, runs, signal};
use crate::support::pattern::Pattern;
use crate::support::server::{self, Server, finish, read_number, write_number};
use crate::support::{Ends, wait_until};

/// One listener for servers, and one for each builtin.
fn config(workers: usize, servers: &[SocketAddr]) -> String {
    let builtins = ["echo", "discard", "hold"].map(|name| {
        format!(
            "[listener.{name}]\nbind = [\"127.0.0.1:0\"]\nupstream = \"{name}\"\n\
             [upstream.{name}]\nbuiltin = \"{name}\"\n"
        )
    });
    format!(
        "[gateway]\nworkers = {workers}\nmax_connections = 2000\n\
         [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n{}{}\
         [status]\nbind = \"127.0.0.1:0\"\n",
        upstream("app", servers),
        builtins.concat()
    )
}

/// Asks again and again until it is over.
fn talk(stream: &TcpStream, over: &AtomicBool, said: &AtomicUsize) {
    while !over.load(Ordering::SeqCst) {
        let number = said.fetch_add(1, Ordering::SeqCst);
        client::echo(stream, number as u64, 1 + number as u64 % 5_000);
    }
}

/// Clients that come one after the other, each served.
fn come(address: SocketAddr, over: &AtomicBool, served: &AtomicUsize) {
    while !over.load(Ordering::SeqCst) {
        client::echo(&client::connect(address), 7, 100);
        served.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn idle_busy_and_new_clients_do_not_notice_two_in_a_row() {
    let server = server::echo();
    let lineage = Lineage::start(&config(2, &[server.address]));
    let address = lineage.first.address("edge");
    let idle: Vec<TcpStream> = (0..60).map(|_| client::connect(address)).collect();
    idle.iter().for_each(|stream| client::echo(stream, 1, 10));
    let busy: Vec<TcpStream> = (0..6).map(|_| client::connect(address)).collect();
    let (over, said, served) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        busy.iter().for_each(|stream| _ = scope.spawn(|| talk(stream, &over, &said)));
        (0..4).for_each(|_| _ = scope.spawn(|| come(address, &over, &served)));
        let mut pids = vec![lineage.first.pid()];
        for _ in 0..2 {
            let (before, then) = (said.load(Ordering::SeqCst), served.load(Ordering::SeqCst));
            wait_until("the busy to go on", || {
                said.load(Ordering::SeqCst) > before + 100
                    && served.load(Ordering::SeqCst) > then + 20
            });
            pids.push(lineage.upgrade(&[]));
            let former = pids[pids.len() - 2];
            wait_until("the predecessor's end", || !runs(former));
        }
        pids.dedup();
        assert_eq!(pids.len(), 3, "each is another process: {pids:?}");
        let (before, then) = (said.load(Ordering::SeqCst), served.load(Ordering::SeqCst));
        wait_until("the busy to go on", || {
            said.load(Ordering::SeqCst) > before + 100 && served.load(Ordering::SeqCst) > then + 20
        });
    });
    idle.iter().for_each(|stream| client::echo(stream, 2, 10_000));
}

#[test]
fn a_signal_begins_one_and_the_log_has_the_outcome() {
    let server = server::echo();
    let lineage = Lineage::start(&config(1, &[server.address]));
    let stream = client::connect(lineage.first.address("edge"));
    client::echo(&stream, 1, 100);
    lineage.first.signal(Signal::SIGUSR2);
    lineage.first.wait_for_line("the upgrade is committed: 1 connection moved");
    wait_until("the predecessor's end", || !runs(lineage.first.pid()));
    client::echo(&stream, 2, 100);
    assert_eq!(vec![lineage.pid()], lineage.successors());
}

/// What the server of these clients does, by the number that each says first.
const CLIENT_FIRST: u64 = 1;
const SERVER_FIRST: u64 = 2;
const STALLED: u64 = 3;

/// Bytes of an answer.
const ANSWER: u64 = 300_007;

fn stateful(marks: Arc<Marks>) -> Server<(u64, Brought)> {
    Server::start(move |stream| {
        let number = read_number(&stream);
        let mut pattern = Pattern::new(number);
        let brought = match number {
            CLIENT_FIRST => {
                let brought = client::receive_all(&stream, &mut pattern);
                marks.wait(number);
                client::send(&stream, &mut Pattern::new(!number), ANSWER).expect("answer");
                brought
            }
            SERVER_FIRST => {
                client::send(&stream, &mut Pattern::new(!number), ANSWER).expect("answer");
                finish(&stream);
                client::receive_all(&stream, &mut pattern)
            }
            _ => {
                marks.wait(number);
                client::receive_all(&stream, &mut pattern)
            }
        };
        (number, brought)
    })
}

#[test]
fn half_closed_and_stalled_connections_move_with_every_byte() {
    let marks = Arc::new(Marks::default());
    let server = stateful(marks.clone());
    let lineage = Lineage::start(&config(2, &[server.address]));
    let address = lineage.first.address("edge");
    let open = |number: u64| {
        let stream = client::connect(address);
        write_number(&stream, number);
        stream
    };
    let client_first = open(CLIENT_FIRST);
    client::send(&client_first, &mut Pattern::new(CLIENT_FIRST), 1_000).expect("sent");
    finish(&client_first);
    let server_first = open(SERVER_FIRST);
    let answer = Brought { bytes: ANSWER, ending: Ending::Fin };
    let brought = client::receive_all(&server_first, &mut Pattern::new(!SERVER_FIRST));
    assert_eq!(brought, answer);
    let stalled = open(STALLED);
    let mut pattern = Pattern::new(STALLED);
    let sent = client::send_until_stalled(&stalled, &mut pattern);
    lineage.upgrade(&[]);
    lineage.upgrade(&[]);
    marks.set(CLIENT_FIRST);
    let brought = client::receive_all(&client_first, &mut Pattern::new(!CLIENT_FIRST));
    assert_eq!(brought, answer);
    client::send(&server_first, &mut Pattern::new(SERVER_FIRST), 2_000).expect("sent");
    finish(&server_first);
    marks.set(STALLED);
    finish(&stalled);
    let outcomes: BTreeMap<u64, Brought> = server.outcomes(3).into_iter().collect();
    let fin = |bytes| Brought { bytes, ending: Ending::Fin };
    assert_eq!(outcomes[&CLIENT_FIRST], fin(1_000));
    assert_eq!(outcomes[&SERVER_FIRST], fin(2_000));
    // The last write that stalled may have been taken in part.
    assert_eq!(outcomes[&STALLED], fin(sent));
}

#[test]
fn clients_of_builtins_move() {
    let server = server::echo();
    let lineage = Lineage::start(&config(2, &[server.address]));
    let at = |listener: &str| lineage.first.address(listener);
    let (echo, mut discard, hold) =
        (client::connect(at("echo")), client::connect(at("discard")), client::connect(at("hold")));
    client::echo(&echo, 1, 5_000);
    discard.write_all(&[1; 5_000]).expect("it takes bytes");
    wait_until("all to be joined", || lineage.status()["budget"]["used"] == 3);
    lineage.upgrade(&[]);
    client::echo(&echo, 2, 5_000);
    discard.write_all(&[2; 5_000]).expect("it still takes bytes");
    assert!(client::is_silent(&hold) && client::is_silent(&discard));
    finish(&discard);
    assert_eq!(client::ending(&discard), Ending::Fin);
    assert_eq!(lineage.status()["budget"]["used"], 2);
}

#[test]
fn no_counter_falls_while_workers_come_and_everything_else_follows() {
    let server = server::echo();
    let lineage = Lineage::start(&config(1, &[server.address]));
    let (address, status) = (lineage.first.address("edge"), lineage.first.status());
    let idle: Vec<TcpStream> = (0..30).map(|_| client::connect(address)).collect();
    idle.iter().for_each(|stream| client::echo(stream, 1, 1_000));
    (0..10).for_each(|_| client::echo(&client::connect(address), 1, 1_000));
    let ended = || {
        let ended = lineage.status()["listeners"][0]["closed"].as_object().cloned();
        ended.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum::<u64>()
    };
    wait_until("ends to be counted", || ended() == 10);
    // The port of each is the kernel's choice: the next finds it by the handed sockets alone.
    let more = lineage.write("more.toml", &config(3, &[server.address]));
    let server_name = format!("app/{}", server.address);
    assert_eq!(lineage.ask(&["server", &server_name, "weight", "7"]).code, Some(0));
    assert_eq!(lineage.ask(&["listener", "hold", "pause"]).code, Some(0));
    let spare = server::echo().address.to_string();
    assert_eq!(lineage.ask(&["servers", "app", "add", &spare, "--name", "b"]).code, Some(0));
    let before = grown(status);
    lineage.upgrade(&["--successor-config", &more.display().to_string()]);
    let after = grown(status);
    none_fell(&before, &after);
    let reading = lineage.status();
    assert_eq!(reading["workers"].as_array().map(Vec::len), Some(3));
    assert_eq!(reading["listeners"][0]["open"], 30);
    assert_eq!(reading["upstreams"][0]["servers"][0]["open"], 30);
    assert_eq!(reading["upstreams"][0]["servers"][0]["weight"], 7);
    assert_eq!(reading["upstreams"][0]["servers"][1]["name"], "b");
    assert_eq!(reading["listeners"][3]["paused"], true);
    idle.iter().for_each(|stream| client::echo(stream, 2, 1_000));
    drop(idle);
    wait_until("all to have left", || lineage.status()["listeners"][0]["open"] == 0);
    wait_until("the server to have none", || {
        lineage.status()["upstreams"][0]["servers"][0]["open"] == 0
    });
    assert_eq!(lineage.status()["budget"]["used"], 0);
}

#[test]
fn locks_and_the_admin_socket_name_the_successor_and_go_with_it() {
    let server = server::echo();
    let lineage = Lineage::start(&config(2, &[server.address]));
    let home = lineage.first.home();
    let pid = lineage.upgrade(&[]);
    wait_until("the predecessor's end", || !runs(lineage.first.pid()));
    let locks = || {
        let entries = std::fs::read_dir(home.path()).expect("it is readable").flatten();
        let locks = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "lock"));
        let text = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path()).expect("text");
        locks.map(text).collect::<Vec<_>>()
    };
    assert_eq!(locks(), vec![format!("{pid}\n"); 5], "four addresses and the admin socket");
    let mut stream = client::connect(lineage.first.address("echo"));
    stream.write_all(b"x").expect("sent");
    stream.read_exact(&mut [0]).expect("echoed");
    drop(stream);
    signal(pid, Signal::SIGTERM);
    wait_until("the successor's end", || !runs(pid));
    assert!(!home.path().join("fixed.sock").exists());
    // Nobody holds an address any more.
    let again = Lineage::start_with(
        home,
        crate::support::gateway::program(None),
        &config(2, &[server.address]),
    );
    assert_eq!(again.pid(), again.first.pid());
}
