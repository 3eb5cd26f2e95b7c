//! An upgrade of clients and servers in TLS: their sessions go on in the new process.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::HandshakeKind;

use crate::support::gateway::{Home, program};
use crate::support::lineage::{Lineage, runs, signal};
use crate::support::secured::{End, LISTENERS, Stage, secure_echo};
use crate::support::server;
use crate::support::tls::{self, ANY, Authority, Ended, VERSIONS};
use crate::support::{Ends, wait_until};

/// Echoes until it is over.
fn talk(client: &mut End, over: &AtomicBool, said: &AtomicUsize) {
    while !over.load(Ordering::SeqCst) {
        let number = said.fetch_add(1, Ordering::SeqCst);
        client.echo(number as u64, 1 + number * 977 % 60_000);
    }
}

#[test]
fn idle_and_busy_clients_in_tls_do_not_notice_two_in_a_row() {
    let (plain, secure) = (server::echo(), secure_echo());
    let stage = Stage::new(plain.address, secure.address, "");
    let (mut idle, mut busy) = (stage.clients(8), stage.clients(2));
    idle.iter_mut().for_each(|client| client.echo(1, 10));
    let (over, said) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        busy.iter_mut().for_each(|client| _ = scope.spawn(|| talk(client, &over, &said)));
        let go_on = || {
            let before = said.load(Ordering::SeqCst);
            wait_until("the busy to go on", || said.load(Ordering::SeqCst) > before + 100);
        };
        let mut pids = vec![stage.lineage.first.pid()];
        for _ in 0..2 {
            go_on();
            pids.push(stage.lineage.upgrade(&[]));
            let former = pids[pids.len() - 2];
            wait_until("the predecessor's end", || !runs(former));
        }
        go_on();
        pids.dedup();
        assert_eq!(pids.len(), 3, "each is another process: {pids:?}");
    });
    idle.iter_mut().for_each(|client| client.echo(2, 50_000));
    assert_eq!(stage.lineage.status()["budget"]["used"], 80);
    for client in idle.iter_mut().chain(&mut busy) {
        client.finish();
        assert_eq!(client.read_all(0), 0);
    }
    assert_eq!(secure.outcomes(40), [Ended::Clean; 40]);
}

#[test]
fn sessions_of_which_no_record_has_passed_survive_a_successor_that_dies() {
    let (plain, secure) = (server::echo(), secure_echo());
    let stage = Stage::new(plain.address, secure.address, "[ring]\nquiet_after = \"100ms\"\n");
    let mut idle = stage.clients(5);
    idle.iter_mut().for_each(|client| client.echo(1, 10));
    // One has sent half of a record, and another one sends a byte while the successor has it.
    let mut cut = stage.clients(1).swap_remove(0);
    cut.echo(1, 10);
    let record = cut.record(b"cut in its middle");
    cut.send_raw(&record[..9]);
    let mut stale = stage.clients(1);
    stale.iter_mut().for_each(|client| client.echo(1, 10));
    for how in [Signal::SIGKILL, Signal::SIGSTOP] {
        let socket = stage.lineage.first.home().path().join("fixed.sock");
        let mut command = program(None);
        command.args(["upgrade", "--probation", "10m", "--admin"]).arg(socket);
        command.stdout(Stdio::piped());
        let before = stage.lineage.successors().len();
        let upgrade = command.spawn().expect("the program starts");
        let pid = stage.lineage.wait_for_probation(before + 1);
        let lost = stale.len();
        stale.iter_mut().for_each(|client| client.echo(3, 2_000));
        // By then nothing of them is in the successor's hands; but their numbers are used.
        std::thread::sleep(Duration::from_millis(500));
        signal(pid, how);
        let output = upgrade.wait_with_output().expect("it is our child");
        let said = String::from_utf8_lossy(&output.stdout);
        let words = if lost > 0 { format!("{lost} lost") } else { "nobody was lost".to_owned() };
        assert!(said.starts_with("taken back: ") && said.contains(&words), "{said}");
        for mut client in stale.drain(..) {
            let gone = client.write_all(b"x").and_then(|()| client.flush());
            let ended = gone.and_then(|()| std::io::Read::read(&mut client, &mut [0]));
            assert!(ended.is_err(), "a cut looks like one: {ended:?}");
        }
        assert_eq!(stage.lineage.pid(), stage.lineage.first.pid());
        idle.iter_mut().for_each(|client| client.echo(2, 5_000));
    }
    cut.send_raw(&record[9..]);
    let mut back = [0; 17];
    std::io::Read::read_exact(&mut cut, &mut back).expect("it comes back");
    assert_eq!(&back, b"cut in its middle");
    stage.lineage.upgrade(&[]);
    idle.iter_mut().for_each(|client| client.echo(2, 5_000));
    cut.echo(2, 10);
}

#[test]
fn a_client_resumes_its_session_in_the_new_process() {
    let (plain, secure) = (server::echo(), secure_echo());
    let stage = Stage::new(plain.address, secure.address, "");
    let address = stage.address(LISTENERS[0]);
    let configs = VERSIONS.map(|version| stage.config(version));
    let come = |expected: HandshakeKind| {
        for config in &configs {
            let mut client = tls::shaken(config, "a.example", address);
            assert_eq!(client.conn.handshake_kind(), Some(expected));
            // A ticket comes behind the handshake.
            tls::echo(&mut client, 1, 100);
        }
    };
    come(HandshakeKind::Full);
    for _ in 0..2 {
        let former = stage.lineage.pid();
        stage.lineage.upgrade(&[]);
        wait_until("the predecessor's end", || !runs(former));
        come(HandshakeKind::Resumed);
    }
}

#[test]
fn who_waits_to_shake_hands_has_the_time_for_that_in_the_new_process() {
    let (home, authority) = (Home::new(), Authority::new());
    let files = [authority.issue(&["a.example"], 2090).write(&home, "edge")];
    let rest = "[upstream.app]\nbuiltin = \"echo\"\n";
    let keys = "preamble_timeout = \"1s\"\n";
    let config = tls::edge(&files, ", handshakes = 1", keys, rest);
    let lineage = Lineage::start(&config.replace("workers = 2", "workers = 1"));
    let address = lineage.first.address("edge");
    // Each of these has the only place for a second, in one process or the other.
    let stalled: Vec<_> = (0..5).map(|_| tls::says_hello(&authority, address)).collect();
    let waiting = || tls::metric(&lineage.first, "portcullis_worker_tls_waiting", "");
    wait_until("all but one to wait", || waiting() == 4);
    std::thread::scope(|scope| {
        let last = scope.spawn(|| tls::shaken(&ANY.client(&authority), "a.example", address));
        // By then the last has waited for longer than its handshake may take.
        wait_until("three to have had their turn", || waiting() == 2);
        lineage.upgrade(&[]);
        tls::echo(&mut last.join().expect("its turn comes"), 1, 10_000);
    });
    drop(stalled);
}
