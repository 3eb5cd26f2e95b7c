//! Sockets that a parent hands down (LISTEN_FDS): neither a crash nor a restart loses a client.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::client::{self, Ending};
use crate::support::command::tell;
use crate::support::gateway::{Gateway, Home, activated_program, program};
use crate::support::log::field;
use crate::support::network::{free_port, has_ipv6};
use crate::support::server::finish;
use crate::support::{Ends, socket, wait_until};

/// An echo for each of these binds, with so many workers.
fn echoes(workers: usize, binds: &[&str]) -> String {
    let mut config = format!("[gateway]\nworkers = {workers}\nmax_connections = 4000\n");
    for (index, bind) in binds.iter().enumerate() {
        config += &format!("[listener.edge-{index}]\nbind = [{bind}]\nupstream = \"app\"\n");
    }
    config + "[upstream.app]\nbuiltin = \"echo\"\n"
}

fn quoted(address: SocketAddr) -> String {
    format!("\"{address}\"")
}

fn passive() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn exchange(address: SocketAddr, seed: u64) -> std::io::Result<()> {
    let mut stream = client::try_connect(address)?;
    let sent = seed.to_le_bytes();
    let mut back = [0; 8];
    std::io::Write::write_all(&mut stream, &sent)?;
    std::io::Read::read_exact(&mut stream, &mut back)?;
    assert_eq!(sent, back);
    finish(&stream);
    assert_eq!(client::ending(&stream), Ending::Fin);
    Ok(())
}

#[test]
fn fewer_sockets_than_workers_are_shared_and_more_are_spread() {
    for (workers, handed) in [(3, 1), (2, 2), (1, 2)] {
        let (one, address) = passive();
        one.set_nonblocking(true).expect("as a service manager may leave it");
        let sockets = [&one, &one];
        let home = Home::new();
        let program = activated_program(&sockets[..handed]);
        let config = echoes(workers, &[&quoted(address)]);
        let gateway = Gateway::launch_in(home, program, Some(&config));
        let line = gateway.wait_for_lines(" listening ", 1).remove(0);
        assert_eq!(field(&line, "inherited"), Some("true"), "{line}");
        assert_eq!(field(&line, "passive_sockets"), Some(&*handed.to_string()), "{line}");
        for seed in 0..100 {
            exchange(address, seed).expect("it is served");
        }
        gateway.wait_for_ended(100);
        gateway.stop().expect(&[("closed-by-client", 100)]);
    }
}

#[test]
fn a_bind_without_a_socket_is_made_and_said() {
    let (one, address) = passive();
    let config = echoes(2, &[&quoted(address), "\"127.0.0.1:0\""]);
    let gateway = Gateway::launch_in(Home::new(), activated_program(&[&one]), Some(&config));
    let lines = gateway.wait_for_lines(" listening ", 2);
    let inherited: Vec<_> = lines.iter().map(|line| field(line, "inherited")).collect();
    assert_eq!(inherited, [Some("true"), Some("false")]);
    for listener in ["edge-0", "edge-1"] {
        exchange(gateway.address(listener), 7).expect("it is served");
    }
}

#[test]
fn a_socket_that_no_bind_asks_for_is_named() {
    let ((one, address), (two, unasked)) = (passive(), passive());
    let program = activated_program(&[&one, &two]);
    let config = echoes(2, &[&quoted(address)]);
    let (status, lines) = Gateway::launch_in(Home::new(), program, Some(&config)).ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let named = |line: &String| line.contains(&unasked.to_string()) && line.contains("4 listens");
    assert!(lines.iter().any(named), "{lines:?}");
}

#[test]
fn a_descriptor_that_does_not_listen_is_named() {
    let fd = socket::bound(([127, 0, 0, 1], 0).into()).expect("a free port");
    let mut program = activated_program(&[&TcpListener::from(fd)]);
    let home = Home::new();
    let config = home.write("p.toml", &echoes(1, &["\"127.0.0.1:0\""]));
    let output = program.arg("run").arg(config).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("descriptor 3") && words.contains("does not listen"), "{words}");
}

#[test]
fn one_socket_of_both_families_serves_a_star() {
    if !has_ipv6() {
        return eprintln!("no IPv6 here: not checked");
    }
    let port = free_port();
    let both = TcpListener::bind(("::", port)).expect("a free port");
    let config = echoes(2, &[&format!("\"*:{port}\"")]);
    let gateway = Gateway::launch_in(Home::new(), activated_program(&[&both]), Some(&config));
    gateway.wait_for_lines(" ready ", 1);
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        exchange(address.parse().expect("an address"), 7).expect("it is served");
    }
    gateway.wait_for_ended(2);
    gateway.stop().expect(&[("closed-by-client", 2)]);
}

#[test]
fn a_second_gateway_may_share_the_sockets_and_not_bring_others() {
    let (one, address) = passive();
    let config = echoes(2, &[&quoted(address)]);
    let first = Gateway::launch_in(Home::new(), activated_program(&[&one]), Some(&config));
    first.wait_for_lines(" ready ", 1);
    let refused = Gateway::launch_in(first.home(), program(None), Some(&config));
    let (status, lines) = refused.ended_by_itself();
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let pid = format!("pid {}", first.pid());
    assert!(lines.iter().any(|line| line.contains(&pid)), "{pid}: {lines:?}");
    let second = Gateway::launch_in(first.home(), activated_program(&[&one]), Some(&config));
    second.wait_for_lines(" ready ", 1);
    first.stop();
    for seed in 0..100 {
        exchange(address, seed).expect("the second serves it");
    }
    second.stop();
}

#[test]
fn clients_that_come_between_a_stop_and_the_next_start_wait() {
    let (one, address) = passive();
    let config = echoes(2, &[&quoted(address)]);
    let first = Gateway::launch_in(Home::new(), activated_program(&[&one]), Some(&config));
    first.wait_for_lines(" ready ", 1);
    exchange(address, 1).expect("it is served");
    let home = first.home();
    first.wait_for_ended(1);
    first.stop().expect(&[("closed-by-client", 1)]);
    let waiting: Vec<TcpStream> = (0..50).map(|_| client::connect(address)).collect();
    let second = Gateway::launch_in(home, activated_program(&[&one]), Some(&config));
    for stream in &waiting {
        client::echo(stream, 2, 1_000);
    }
    drop(waiting);
    second.wait_for_ended(50);
    second.stop().expect(&[("closed-by-client", 50)]);
}

/// What became of the clients of a steady stream.
#[derive(Default)]
struct Stream {
    over: AtomicBool,
    /// Whether a client that begins now may be cut: the gateway that accepts it may be killed.
    danger: AtomicBool,
    served: AtomicUsize,
    cut: AtomicUsize,
}

impl Stream {
    /// One client after the other. A client that may have been accepted by a gateway that was then
    /// killed may be cut; every other must be served.
    fn run(&self, address: SocketAddr) {
        while !self.over.load(Ordering::SeqCst) {
            let danger = self.danger.load(Ordering::SeqCst);
            match exchange(address, self.served.load(Ordering::Relaxed) as u64) {
                Ok(()) => self.served.fetch_add(1, Ordering::SeqCst),
                Err(_) if danger => self.cut.fetch_add(1, Ordering::SeqCst),
                Err(error) => panic!("a client was lost: {error}"),
            };
        }
    }

    fn serves_more(&self) {
        let before = self.served.load(Ordering::SeqCst);
        wait_until("more clients to be served", || {
            self.served.load(Ordering::SeqCst) > before + 500
        });
    }
}

#[test]
fn neither_a_kill_nor_a_restart_loses_a_client() {
    const CLIENTS: usize = 8;
    const KILLS: usize = 3;
    let (one, address) = passive();
    socket::deepen(&one);
    let config = echoes(2, &[&quoted(address)]);
    let start = |home| {
        let gateway = Gateway::launch_in(home, activated_program(&[&one, &one]), Some(&config));
        gateway.wait_for_lines(" ready ", 1);
        gateway
    };
    let first = start(Home::new());
    // Connections that a killed process leaves to the kernel to close, while the next one accepts.
    let _held: Vec<TcpStream> = (0..2_000).map(|_| client::connect(address)).collect();
    let stream = Stream::default();
    let last = std::thread::scope(|scope| {
        let _ends = Ends(&stream.over);
        for _ in 0..CLIENTS {
            scope.spawn(|| stream.run(address));
        }
        let kill_and_start = |gateway: Gateway, _| {
            stream.danger.store(true, Ordering::SeqCst);
            stream.serves_more();
            let home = gateway.kill();
            stream.danger.store(false, Ordering::SeqCst);
            let next = start(home);
            stream.serves_more();
            next
        };
        (0..KILLS).fold(first, kill_and_start)
    });
    let (served, cut) = (stream.served.into_inner(), stream.cut.into_inner());
    eprintln!("{served} clients served, {cut} cut by {KILLS} kills");
    assert!(cut <= KILLS * CLIENTS, "{cut} clients cut: only those in flight at a kill can be");
    last.stop();
}

#[test]
fn a_drain_leaves_the_queue_to_others_and_its_cancel_serves_it_again() {
    let (one, address) = passive();
    let config = echoes(2, &[&quoted(address)]);
    let gateway = Gateway::launch_in(Home::new(), activated_program(&[&one]), Some(&config));
    gateway.wait_for_line("ready");
    let early = client::connect(address);
    client::echo(&early, 1, 100);
    tell(&gateway, &["drain", "--over", "1h"]);
    // The first may come before the workers have heard of it.
    let mut streams: Vec<TcpStream> = Vec::new();
    wait_until("a client that waits for the next gateway", || {
        let stream = client::connect(address);
        std::io::Write::write_all(&mut &stream, b"?").expect("who waits may send");
        streams.push(stream);
        client::is_silent(&streams[streams.len() - 1])
    });
    let waiting = streams.pop().expect("it is the last");
    tell(&gateway, &["drain", "--cancel"]);
    std::io::Read::read_exact(&mut &waiting, &mut [0]).expect("it is served by this one");
    client::echo(&early, 2, 100);
    exchange(address, 3).expect("and so is the next");
    let clients = streams.len() + 3;
    drop((early, waiting, streams));
    gateway.wait_for_ended(clients);
    assert_eq!(gateway.stop().accepted, clients as u64);
}
