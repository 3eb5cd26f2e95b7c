//! A killed gateway's listeners outlive it: the next one says so, and waits for them.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};

use crate::support::client;
use crate::support::crowd::crowd;
use crate::support::gateway::{Gateway, Home, program};
use crate::support::network::free_port;
use crate::support::{Ends, wait_until};

const WAITS: &str = "dead predecessor's listeners still take clients";
const GONE: &str = "dead predecessor's listeners are gone";

/// Enough for the kernel to be at it for a while, where this process may have as many open.
fn crowd_size() -> usize {
    let (open_files, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of open files");
    open_files.saturating_sub(2_000).clamp(500, 12_000) as usize
}

/// With room for a crowd, and for some more clients.
fn echo_on(address: SocketAddr) -> String {
    let most = crowd_size() + 1_000;
    format!(
        "[gateway]\nworkers = 2\nmax_connections = {most}\n[listener.edge]\n\
         bind = [\"{address}\"]\nupstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n"
    )
}

fn exchange(address: SocketAddr) -> Result<(), Error> {
    let mut stream = client::try_connect(address)?;
    stream.write_all(b"hello")?;
    stream.read_exact(&mut [0; 5])
}

/// Keeps a socket open though no process has a descriptor of it: it is on its way through a pair
/// of sockets.
fn open_by_nobody(listener: TcpListener) -> (OwnedFd, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .expect("a pair of sockets");
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let bytes = [IoSlice::new(b"x")];
    sendmsg::<()>(ours.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).expect("it is sent");
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fds[0])).expect("a descriptor");
    drop(listener);
    // A program that another test is starting has all descriptors until it is executed.
    wait_until("no process to have it open", || !is_open_somewhere(&link));
    (ours, theirs)
}

fn is_open_somewhere(link: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let folders = processes.filter_map(|entry| std::fs::read_dir(entry.path().join("fd")).ok());
    let mut descriptors = folders.flat_map(|folder| folder.flatten());
    descriptors.any(|entry| std::fs::read_link(entry.path()).is_ok_and(|found| found == link))
}

#[test]
fn listeners_that_no_process_has_open_are_named_and_waited_for() {
    let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let way = open_by_nobody(listener);
    let gateway = Gateway::launch_in(Home::new(), program(None), Some(&echo_on(address)));
    let line = gateway.wait_for_lines(WAITS, 1).remove(0);
    assert!(line.contains(&format!("address={address} listeners=1 inodes=[")), "{line}");
    assert!(!gateway.lines().iter().any(|line| line.contains(" ready ")));
    drop(way);
    gateway.wait_for_lines(GONE, 1);
    gateway.wait_for_lines(" ready ", 1);
    exchange(address).expect("it is served");
    gateway.wait_for_ended(1);
    gateway.stop().expect(&[("closed-by-client", 1)]);
}

#[test]
fn a_start_that_waits_is_ended_by_none_but_the_signals_that_end() {
    let launch = || {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let way = open_by_nobody(listener);
        let gateway = Gateway::launch_in(Home::new(), program(None), Some(&echo_on(address)));
        gateway.wait_for_lines(WAITS, 1);
        (gateway, way)
    };
    let (gateway, way) = launch();
    for signal in [Signal::SIGUSR1, Signal::SIGHUP] {
        gateway.signal(signal);
    }
    drop(way);
    gateway.wait_for_lines(" ready ", 1);
    // Held back, not lost.
    for said in ["no log file to reopen", "nothing differs from the config file"] {
        gateway.wait_for_lines(said, 1);
    }
    gateway.stop();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (gateway, _way) = launch();
        gateway.signal(signal);
        let (status, lines) = gateway.ended_by_itself();
        assert_eq!(status.signal(), Some(signal as i32), "{lines:?}");
    }
}

/// Clients one after the other, and what became of them.
#[derive(Default)]
struct Stream {
    over: AtomicBool,
    ready: AtomicBool,
    served_when_ready: AtomicUsize,
    /// Failures of clients that began before the successor was ready, by kind.
    failed: Mutex<BTreeMap<String, usize>>,
}

impl Stream {
    fn run(&self, address: SocketAddr) {
        while !self.over.load(Ordering::SeqCst) {
            let ready = self.ready.load(Ordering::SeqCst);
            match exchange(address) {
                Ok(()) if ready => _ = self.served_when_ready.fetch_add(1, Ordering::SeqCst),
                Ok(()) => {}
                Err(error) if ready => panic!("a client was lost after `ready`: {error}"),
                Err(error) => {
                    *self.failed.lock().unwrap().entry(kind(&error)).or_default() += 1;
                    // Refused clients would otherwise take both cores.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        }
    }
}

fn kind(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".to_owned(),
        ErrorKind::UnexpectedEof => "closed".to_owned(),
        _ => error.to_string(),
    }
}

#[test]
fn no_client_is_lost_once_the_successor_is_ready() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let config = echo_on(address);
    let first = Gateway::start(&config);
    let held: Mutex<Vec<TcpStream>> = Mutex::default();
    crowd(crowd_size(), 8, |_| {
        let stream = client::connect(address);
        held.lock().unwrap().push(stream);
    });
    let stream = Stream::default();
    let second = std::thread::scope(|scope| {
        let _ends = Ends(&stream.over);
        for _ in 0..8 {
            scope.spawn(|| stream.run(address));
        }
        let second = Gateway::launch_in(first.kill(), program(None), Some(&config));
        second.wait_for_lines(" ready ", 1);
        stream.ready.store(true, Ordering::SeqCst);
        wait_until("clients to be served", || {
            stream.served_when_ready.load(Ordering::SeqCst) > 5_000
        });
        second
    });
    let lines = second.lines();
    let said = |fragment| lines.iter().filter(|line| line.contains(fragment)).count();
    assert_eq!(said(WAITS).min(1), said(GONE), "a wait begins and ends in the log: {lines:?}");
    let served = stream.served_when_ready.into_inner();
    eprintln!(
        "{served} served and 0 lost after `ready`; failed before: {:?}; waits: {}",
        stream.failed.into_inner().unwrap(),
        said(GONE)
    );
    second.stop();
}
