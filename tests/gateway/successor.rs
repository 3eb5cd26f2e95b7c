//! A gateway that is started while the one before it drains takes its place, and no client between
//! the two is refused.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::command::command;
use crate::support::gateway::{Gateway, Home, activated_program, program, program_as_user};
use crate::support::http::get;
use crate::support::log::field;
use crate::support::network::free_port;
use crate::support::procfs::is_stopped;
use crate::support::{Ends, wait_until, wait_until_still};

fn config(address: SocketAddr, more: &str) -> String {
    format!(
        "[gateway]\nworkers = 2\nmax_connections = 2000\ndrain_timeout = \"10m\"\n\
         [listener.edge]\nbind = [\"{address}\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n{more}"
    )
}

fn own_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A connection whose bytes move, so that a drain leaves it alone. It ends well with `over`.
fn talk(stream: &TcpStream, over: &AtomicBool) -> usize {
    let mut said = 0;
    while !over.load(Ordering::SeqCst) {
        client::echo(stream, said as u64, 100);
        said += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    said
}

/// Clients that come one after the other, and what became of them.
#[derive(Default)]
struct Stream {
    served: AtomicUsize,
    failed: Mutex<BTreeMap<String, usize>>,
}

impl Stream {
    fn come(&self, address: SocketAddr, over: &AtomicBool) {
        while !over.load(Ordering::SeqCst) {
            match self.one(address) {
                Ok(()) => _ = self.served.fetch_add(1, Ordering::SeqCst),
                Err(error) => {
                    let kind = match error.kind() {
                        ErrorKind::ConnectionRefused => "refused".to_owned(),
                        ErrorKind::ConnectionReset => "reset".to_owned(),
                        _ => error.to_string(),
                    };
                    *self.failed.lock().unwrap().entry(kind).or_default() += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn one(&self, address: SocketAddr) -> std::io::Result<()> {
        let mut stream = client::try_connect(address)?;
        stream.write_all(b"hello")?;
        stream.read_exact(&mut [0; 5])
    }

    fn failed(&self) -> BTreeMap<String, usize> {
        self.failed.lock().unwrap().clone()
    }
}

#[test]
fn a_start_during_a_drain_takes_over_at_once_and_no_client_is_refused() {
    let (address, status) = (own_address(), own_address());
    let home = Home::new();
    let socket = home.path().join("fixed.sock");
    let more =
        format!("[status]\nbind = \"{status}\"\n[admin]\nsocket = \"{}\"\n", socket.display());
    let config = config(address, &more);
    let first = Gateway::launch_in(home, program(None), Some(&config));
    first.wait_for_line(" ready ");
    let (over, stream, busy) =
        (AtomicBool::new(false), Stream::default(), client::connect(address));
    let said = AtomicUsize::new(0);
    let (first, second) = std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| said.store(talk(&busy, &over), Ordering::SeqCst));
        for _ in 0..8 {
            scope.spawn(|| stream.come(address, &over));
        }
        let served = || stream.served.load(Ordering::SeqCst);
        wait_until("clients to be served", || served() > 100);
        first.signal(Signal::SIGTERM);
        first.wait_for_line("draining still_open=");
        let before = wait_until_still("clients that come late", || served() as u64);
        let second = Gateway::launch_in(first.home(), program(None), Some(&config));
        second.wait_for_line(" ready ");
        wait_until("clients to be served", || served() as u64 > before + 1_000);
        first.wait_for_line("another gateway takes over the addresses");
        // All that a config names is the successor's: its status, its admin socket.
        assert_eq!(get(status, "/readyz").status, 200);
        let pid_at = |path: &Path| {
            let said = command(&["status", "--json", "--admin", &path.display().to_string()]);
            let answer: serde_json::Value = serde_json::from_str(&said.answer).expect("JSON");
            (answer["gateway"]["pid"].clone(), answer["drain"]["draining"].clone())
        };
        assert_eq!(pid_at(&socket), (second.pid().into(), false.into()));
        let moved = socket.with_file_name(format!("admin-{}.sock", first.pid()));
        assert_eq!(pid_at(&moved), (first.pid().into(), true.into()));
        // Of two that run the file, the one that stays is meant.
        let file = socket.with_file_name("portcullis.toml").display().to_string();
        let mut by_file = program(None);
        by_file.args(["listener", "edge", "resume", "--config", &file]);
        by_file.env("RUNTIME_DIRECTORY", first.home().path());
        let said = by_file.output().expect("the program runs");
        let complaint = String::from_utf8_lossy(&said.stderr).into_owned();
        let name = format!("portcullis: pid {} on ", second.pid());
        assert!(complaint.starts_with(&name), "{complaint}");
        (first, second)
    });
    eprintln!("{} served, failed: {:?}", stream.served.load(Ordering::SeqCst), stream.failed());
    assert_eq!(stream.failed(), BTreeMap::new(), "between the drain and `ready`");
    let said = said.into_inner();
    assert!(said > 0, "the connection of the first one goes on: {said}");
    drop(busy);
    first.stop_has_begun();
    // Clients come to both workers: what steered them for the predecessor is gone.
    let held: Vec<TcpStream> = (0..100).map(|_| client::connect(address)).collect();
    held.iter().for_each(|stream| client::echo(stream, 1, 10));
    let answer = serde_json::from_str::<serde_json::Value>(&get(status, "/status.json").body);
    let answer = answer.expect("JSON");
    let open: Vec<u64> = answer["workers"]
        .as_array()
        .expect("workers")
        .iter()
        .map(|worker| worker["open"].as_u64().expect("a number"))
        .collect();
    assert!(open.len() == 2 && open.iter().all(|open| *open > 0), "{open:?}");
    second.stop();
}

/// A gateway that stands still in its drain, with a connection.
fn still_in_its_drain(config: &str, address: SocketAddr) -> (Gateway, TcpStream) {
    let gateway = Gateway::start(config);
    let busy = client::connect(address);
    client::echo(&busy, 1, 1_000);
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_line("draining still_open=");
    gateway.signal(Signal::SIGSTOP);
    wait_until("the gateway to stand still", || is_stopped(gateway.pid()));
    (gateway, busy)
}

#[test]
fn a_start_that_waits_says_for_whom_and_only_one_waits() {
    let address = own_address();
    let config = config(address, "[status]\nbind = \"off\"\n");
    let (first, busy) = still_in_its_drain(&config, address);
    let second = Gateway::launch_in(first.home(), program(None), Some(&config));
    let line = second.wait_for_lines("waits for a gateway that drains", 1).remove(0);
    assert_eq!(field(&line, "pid"), Some(&*first.pid().to_string()), "{line}");
    let left: u64 = field(&line, "left_seconds").and_then(|it| it.parse().ok()).expect("seconds");
    assert!((1..=600).contains(&left), "{line}");
    let third = Gateway::launch_in(first.home(), program(None), Some(&config));
    let (status, lines) = third.ended_by_itself();
    assert_eq!(status.code(), Some(1));
    let (waits, drains) = (format!("pid {} waits", second.pid()), format!("pid {}", first.pid()));
    let named = |line: &&String| line.contains(&waits) && line.contains(&drains);
    assert_eq!(lines.iter().filter(named).count(), 1, "{lines:?}");
    // One that is killed meanwhile leaves the wait to another.
    drop(second.kill());
    let fourth = Gateway::launch_in(first.home(), program(None), Some(&config));
    fourth.wait_for_lines("waits for a gateway that drains", 1);
    first.signal(Signal::SIGCONT);
    fourth.wait_for_line(" ready ");
    drop(busy);
    first.stop_has_begun();
    client::echo(&client::connect(address), 1, 1_000);
    let left = std::fs::read_dir(fourth.home().path()).expect("it is readable").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("drains")), "{left:?}");
    fourth.stop();
}

#[test]
fn a_gateway_that_ends_while_another_waits_leaves_its_place() {
    let address = own_address();
    let config = config(address, "[status]\nbind = \"off\"\n");
    let (first, _busy) = still_in_its_drain(&config, address);
    let second = Gateway::launch_in(first.home(), program(None), Some(&config));
    second.wait_for_lines("waits for a gateway that drains", 1);
    drop(first.kill());
    second.wait_for_line(" ready ");
    client::echo(&client::connect(address), 1, 1_000);
    second.stop();
}

#[test]
fn another_address_of_the_same_port_is_waited_for_where_the_two_collide() {
    let port = free_port();
    let any = SocketAddr::from(([0, 0, 0, 0], port));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let off = "[status]\nbind = \"off\"\n";
    let first = Gateway::start(&config(any, off));
    let (over, busy) = (AtomicBool::new(false), client::connect(address));
    let second = std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| talk(&busy, &over));
        first.signal(Signal::SIGTERM);
        first.wait_for_line("draining still_open=");
        let second = Gateway::launch_in(first.home(), program(None), Some(&config(address, off)));
        second.wait_for_line(" ready ");
        client::echo(&client::connect(address), 1, 1_000);
        second
    });
    drop(busy);
    first.stop_has_begun();
    second.stop();
}

#[test]
fn with_inherited_sockets_no_client_waits_either() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    crate::support::socket::deepen(&listener);
    let address = listener.local_addr().expect("it is bound");
    let home = Home::new();
    let status = own_address();
    let more = format!(
        "[status]\nbind = \"{status}\"\n[admin]\nsocket = \"{}\"\n",
        home.path().join("fixed.sock").display()
    );
    let config = config(address, &more);
    let first = Gateway::launch_in(home, activated_program(&[&listener]), Some(&config));
    first.wait_for_line(" ready ");
    let (over, stream, busy) =
        (AtomicBool::new(false), Stream::default(), client::connect(address));
    let (first, second) = std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| talk(&busy, &over));
        for _ in 0..4 {
            scope.spawn(|| stream.come(address, &over));
        }
        let served = || stream.served.load(Ordering::SeqCst);
        wait_until("clients to be served", || served() > 100);
        first.signal(Signal::SIGTERM);
        first.wait_for_line("draining still_open=");
        let program = activated_program(&[&listener]);
        let second = Gateway::launch_in(first.home(), program, Some(&config));
        second.wait_for_line(" ready ");
        let before = served();
        wait_until("clients to be served", || served() > before + 1_000);
        (first, second)
    });
    assert_eq!(stream.failed(), BTreeMap::new());
    drop(busy);
    first.stop_has_begun();
    assert_eq!(get(status, "/readyz").status, 200);
    second.stop();
}

/// As an ordinary user, the rings of the one that drains take nearly all locked memory.
#[test]
fn where_both_do_not_fit_the_end_is_waited_for_and_no_client_is_refused() {
    let home = Home::new();
    let address = own_address();
    let start = |home: &Arc<Home>, max_connections: &str| {
        let config = config(address, "[status]\nbind = \"off\"\n")
            .replace("max_connections = 2000", &format!("max_connections = {max_connections}"));
        let command = program_as_user(61_008, "ulimit -l 8192", home.path());
        Gateway::launch_in(Arc::clone(home), command, Some(&config))
    };
    let first = start(&home, "\"auto\"");
    first.wait_for_line(" ready ");
    let budget = first.wait_for_lines(" budget ", 1).remove(0);
    if !budget.contains("bound_by=\"RLIMIT_MEMLOCK\"") {
        return eprintln!("locked memory does not bind here: not checked");
    }
    // More than can be locked beside the first one, and less than without it.
    let most: u64 = field(&budget, "max_connections").and_then(|it| it.parse().ok()).expect("one");
    let wanted = (most * 9 / 10).to_string();
    let (over, stream, busy) =
        (AtomicBool::new(false), Stream::default(), client::connect(address));
    let enough = AtomicBool::new(false);
    let (first, second) = std::thread::scope(|scope| {
        let _ends = (Ends(&over), Ends(&enough));
        let talks = scope.spawn(|| talk(&busy, &enough));
        for _ in 0..4 {
            scope.spawn(|| stream.come(address, &over));
        }
        let served = || stream.served.load(Ordering::SeqCst);
        wait_until("clients to be served", || served() > 100);
        first.signal(Signal::SIGTERM);
        first.wait_for_line("draining still_open=");
        let second = start(&home, &wanted);
        let line = second.wait_for_lines("waits for the end of a gateway that drains", 1).remove(0);
        assert!(line.contains("RLIMIT_MEMLOCK"), "{line}");
        enough.store(true, Ordering::SeqCst);
        assert!(talks.join().expect("it ends") > 0);
        busy.shutdown(Shutdown::Both).expect("it is open");
        let first = first.stop_has_begun();
        second.wait_for_line(" ready ");
        let before = served();
        wait_until("clients to be served", || served() > before + 100);
        (first, second)
    });
    assert_eq!(stream.failed(), BTreeMap::new());
    assert_eq!(first.queue_reset, 0);
    second.stop();
}
