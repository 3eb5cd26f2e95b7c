//! Servers that block in their send see their clients abort, or the result says which did not.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use support::{Run, bench, echo, free_address, server};

/// What the kernel holds for sockets is looked at: these tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exit code and the result of a run.
fn abort(target: &str, servers: &str, more: &[&str]) -> (Option<i32>, Value) {
    let common = ["abort", "--target", target, "--listen", servers, "--spread", "200ms"];
    let ended = Run::begin(bench(&[&common, more].concat())).end();
    (ended.code, ended.result())
}

/// A relay to `servers` that does so with what came from the client when the client is gone.
fn relay(servers: &str, gone: fn(TcpStream, TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let servers = servers.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(&servers) else { continue };
            let (from, to) = (client.try_clone(), upstream.try_clone());
            let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || pass_back(client, upstream, gone));
        }
    });
    address
}

fn pass_back(mut client: TcpStream, mut upstream: TcpStream, gone: fn(TcpStream, TcpStream)) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = upstream.read(&mut bytes) {
        if client.write_all(&bytes[..count]).is_err() {
            return gone(client, upstream);
        }
    }
}

/// Tells the server nothing.
fn keep(client: TcpStream, upstream: TcpStream) {
    std::thread::sleep(support::PATIENCE);
    drop((client, upstream));
}

/// Hears the server out, so that it sees FIN behind all of it.
fn hear_out(client: TcpStream, mut upstream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = upstream.read(&mut bytes) {}
    drop(client);
}

#[test]
fn servers_without_anything_between_see_every_abort_as_a_reset() {
    let _turn = turn();
    let address = free_address();
    let (code, result) = abort(&address, &address, &["--count", "60", "--rounds", "2"]);
    // Socket memory is the whole machine's, where other tests may run; the generator may be the
    // bottleneck there, too.
    let failures = result["failures"].as_object().expect("failures by kind");
    assert!(failures.keys().all(|one| one.starts_with("kernel: socket memory")), "{result}");
    assert!(matches!(code, Some(0 | 3)) || !failures.is_empty(), "{result}");
    assert_eq!(result["counts"]["aborted"], 120, "{result}");
    assert_eq!(result["counts"]["servers_saw_reset"], 120, "{result}");
    let measured = &result[if result["valid"] == true { "measured" } else { "discarded" }];
    let rounds = measured["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.len(), 2, "{result}");
    for round in rounds {
        assert!(round["servers_blocked"].as_u64() > Some(0), "both directions were full: {result}");
        assert!(round["socket_memory_bytes"]["full"].as_i64() > Some(0), "{result}");
    }
}

#[test]
fn a_server_that_hears_nothing_is_counted() {
    let _turn = turn();
    let servers = free_address();
    let target = relay(&servers, keep).to_string();
    let (code, result) = abort(&target, &servers, &["--count", "10", "--within", "1s"]);
    assert_eq!((code, &result["good"]), (Some(1), &json!(false)), "{result}");
    let nothing = &result["counts"]["servers_saw_nothing"];
    assert!(nothing.as_u64() > Some(0), "{result}");
    let failures = &result["failures"];
    assert_eq!(&failures["server: nothing was seen within 1s of the aborts"], nothing, "{result}");
}

#[test]
fn an_abort_that_becomes_a_clean_end_is_counted() {
    let _turn = turn();
    let servers = free_address();
    let target = relay(&servers, hear_out).to_string();
    let (code, result) = abort(&target, &servers, &["--count", "10", "--within", "60s"]);
    assert_eq!((code, &result["good"]), (Some(1), &json!(false)), "{result}");
    let clean = &result["failures"]["server: the abort was seen as a clean end (FIN)"];
    assert_eq!(clean, 10, "{result}");
}

#[test]
fn a_target_that_leads_elsewhere_is_said() {
    let _turn = turn();
    let (target, servers) = (server(echo).to_string(), free_address());
    let more = ["--count", "4", "--within", "1s", "--fill", "2s"];
    let (code, result) = abort(&target, &servers, &more);
    assert_eq!(code, Some(1), "{result}");
    let elsewhere = &result["failures"]["server: the target leads elsewhere, not to --listen"];
    assert_eq!(elsewhere, 4, "{result}");
}

#[test]
fn a_status_address_that_does_not_answer_is_said() {
    let _turn = turn();
    let address = free_address();
    let status = free_address();
    let more = ["--count", "4", "--within", "1s", "--status", &status];
    let (code, result) = abort(&address, &address, &more);
    assert_eq!(code, Some(1), "{result}");
    let failures = result["failures"].as_object().expect("failures by kind");
    let named = |what: &String| what.starts_with("target: --status:") && what.contains(&status);
    assert!(failures.keys().any(named), "{result}");
}
