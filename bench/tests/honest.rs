//! What goes wrong at the target is reported as exactly that.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use support::{Run, echo, server};

/// Closing with unread bytes sends RST.
fn reset(client: TcpStream) {
    let _ = client.peek(&mut [0; 1]);
}

fn end(mut client: TcpStream) {
    let _ = client.read(&mut [0; 4096]);
}

fn hang(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = client.read(&mut bytes) {}
}

fn corrupt(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        bytes[count / 2] ^= 1;
        if client.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// Gives back all but the last byte, once it has everything.
fn end_late(mut client: TcpStream) {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    let _ = client.write_all(&bytes[..bytes.len().saturating_sub(1)]);
}

/// The first message comes back as it was.
fn corrupt_later(mut client: TcpStream) {
    let mut bytes = [0; 32];
    let first = client.read_exact(&mut bytes).and_then(|()| client.write_all(&bytes));
    if first.is_ok() {
        corrupt(client);
    }
}

/// Leaves out three bytes in the middle of what comes first.
fn lose(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    let Ok(count @ 1..) = client.read(&mut bytes) else { return };
    let middle = count / 2;
    if client.write_all(&[&bytes[..middle], &bytes[middle + 3..count]].concat()).is_ok() {
        echo(client);
    }
}

/// Gives back the two halves of what comes first in the wrong order.
fn reorder(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    let Ok(count @ 1..) = client.read(&mut bytes) else { return };
    let (first, second) = bytes[..count].split_at(count / 2);
    if client.write_all(&[second, first].concat()).is_ok() {
        echo(client);
    }
}

/// A server that gives each of two clients what came first from the other.
fn swapping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut clients = listener.incoming().flatten();
        while let (Some(mut one), Some(mut two)) = (clients.next(), clients.next()) {
            std::thread::spawn(move || {
                let (mut from_one, mut from_two) = ([0; 4096], [0; 4096]);
                let Ok(first) = one.read(&mut from_one) else { return };
                let Ok(second) = two.read(&mut from_two) else { return };
                let _ = one.write_all(&from_two[..second]);
                let _ = two.write_all(&from_one[..first]);
                // Who closes with bytes unread resets, and what was sent may be lost.
                let _ = one.read_to_end(&mut Vec::new());
                let _ = two.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

fn repeat(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        if client.write_all(&bytes[..count].repeat(2)).is_err() {
            return;
        }
    }
}

/// Bytes that `count` has seen.
static COUNTED: AtomicU64 = AtomicU64::new(0);

fn count(mut client: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        COUNTED.fetch_add(count as u64, Ordering::Relaxed);
        if client.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// The exit code and the result.
#[track_caller]
fn bench(scenario: &str, target: SocketAddr, more: &[&str]) -> (Option<i32>, Value) {
    let mut command = support::bench(&[scenario, "--threads", "1", "--patience", "2s"]);
    command.args(["--max-lag", "1m", "--target", &target.to_string()]).args(more);
    let ended = Run::begin(command).end();
    (ended.code, ended.result())
}

#[track_caller]
fn expect(scenario: &str, treat: fn(TcpStream), more: &[&str], failure: Option<&str>) -> Value {
    let (code, result) = bench(scenario, server(treat), more);
    let failures = result["failures"].as_object().expect("failures by kind");
    match failure {
        Some(failure) => {
            assert!(failures.keys().any(|one| one.contains(failure)), "{result}");
            assert_eq!((code, &result["good"]), (Some(1), &Value::Bool(false)), "{result}");
        }
        None => {
            assert!(failures.is_empty(), "{result}");
            // On a machine that is busy with other tests, the generator may be the bottleneck.
            assert!(matches!(code, Some(0 | 3)) && result["good"] == true, "{result}");
        }
    }
    result
}

const HOLD: &[&str] = &["--connections", "20", "--hold", "200ms", "--linger", "0s"];
const WARM: &[&str] = &["--warm", "100KiB", "--settle", "0s", "--probes", "0"];
const PINGPONG: &[&str] = &["--connections", "4", "--seconds", "1"];
const OPEN_LOOP: &[&str] = &["--connections", "4", "--seconds", "1", "--rate", "200"];
const CHURN: &[&str] = &["--connections", "4", "--seconds", "1"];
const STORM: &[&str] = &["--connections", "20"];
const ENDS: &[&str] = &["--count", "40", "--connections", "4"];
const RESTART: &[&str] = &["--connections", "4", "--seconds", "1", "--interval", "100ms"];
const BULK: &[&str] = &["--connections", "2", "--seconds", "1"];

#[test]
fn an_echo_is_good_in_every_scenario() {
    let held = expect("hold", echo, HOLD, None);
    for count in ["opened", "checked", "closed_clean"] {
        assert_eq!(held["counts"][count], 20, "{held}");
    }
    expect("pingpong", echo, PINGPONG, None);
    let open = expect("pingpong", echo, OPEN_LOOP, None);
    let answered = open["counts"]["answered"].as_u64().expect("a count");
    // However long a busy machine made the second; as fast as answers come it would be thousands.
    let due = 200.0 * measured(&open)["phase_seconds"]["run"].as_f64().expect("seconds");
    assert!(answered >= 150 && answered as f64 <= due + 200.0, "{due} were due: {open}");
    expect("churn", echo, CHURN, None);
    let storm = expect("storm", echo, STORM, None);
    assert_eq!(storm["counts"]["returned"], 20, "{storm}");
    let restart = expect("restart", echo, RESTART, None);
    assert_eq!(restart["counts"]["kept"], 4, "{restart}");
    let ends = expect("halfclose", echo, ENDS, None);
    assert_eq!(ends["counts"]["half_closed"], 40, "{ends}");
    let ends = expect("reset", echo, ENDS, None);
    assert_eq!(ends["counts"]["aborted"], 40, "{ends}");
    assert_eq!(ends["counts"]["half_closed"], 4, "the target still serves: {ends}");
    let bulk = expect("bulk", echo, BULK, None);
    assert!(bulk["counts"]["down"].as_u64() > Some(0), "{bulk}");
    let slow = expect("slow", echo, BULK, None);
    assert_eq!(slow["counts"]["down"], Value::Null, "nothing is read in the run: {slow}");
}

/// What was measured; a machine that is busy with other tests may have made it invalid.
fn measured(result: &Value) -> &Value {
    &result[if result["valid"] == true { "measured" } else { "discarded" }]
}

#[test]
fn what_is_warmed_exchanges_exactly_so_much_and_costs_are_told_apart() {
    let own_pid = std::process::id().to_string();
    let target = ["--target-pid", &own_pid];
    let result = expect("hold", count, &[HOLD, WARM, &target].concat(), None);
    assert_eq!(result["counts"]["warmed"], 20, "{result}");
    // Everybody says 32 bytes when it is opened, and again when it is checked.
    assert_eq!(COUNTED.load(Ordering::Relaxed), 20 * ((100 << 10) + 2 * 32), "{result}");
    let figures = measured(&result);
    let keys = |of: &str| -> Vec<_> {
        figures[of].as_object().expect("figures").keys().cloned().collect()
    };
    let fresh = keys("memory_bytes_per_connection");
    assert_eq!(fresh, keys("memory_bytes_per_connection_warm"), "{result}");
    for of in ["memory_bytes_per_connection", "memory_bytes_per_connection_warm"] {
        assert!(figures[of]["target_user_pss"].is_f64(), "{result}");
    }
    let ends = &figures["sockets_per_connection"];
    assert!(ends["generator_ends"] == 1.0 && ends["other_ends"].is_f64(), "{result}");
    assert!(figures["kept_after_close"]["target_user_pss_bytes"].is_i64(), "{result}");
    expect("hold", corrupt_later, &[HOLD, WARM].concat(), Some("warm: wrong bytes"));
}

#[test]
fn a_result_has_the_run_over_time() {
    let hold = ["--connections", "20", "--hold", "1s", "--linger", "0s"];
    let result = expect("hold", echo, &hold, None);
    let timeline = &measured(&result)["timeline"];
    assert_eq!(timeline["every_ms"], 250, "{result}");
    let points = timeline["points"].as_array().expect("points");
    let seconds = |point: &Value| point["at_seconds"].as_f64().expect("seconds");
    assert!(points.is_sorted_by(|a, b| seconds(a) < seconds(b)), "{timeline}");
    let run: Vec<_> = points.iter().filter(|point| point["phase"] == "run").collect();
    // Of the four or so that are due, a busy machine may have missed some.
    assert!(!run.is_empty() && run.len() <= 5, "{timeline}");
    for point in run {
        assert_eq!((&point["open"], &point["failed"]), (&json!(20), &json!(0)), "{timeline}");
        assert!(point["done"].is_u64(), "{timeline}");
    }
}

#[test]
fn who_writes_a_few_bytes_now_and_then_gets_each_of_them_back() {
    for (who, reads) in [("writer", true), ("both", false)] {
        let slow = ["--who", who, "--bytes", "3", "--interval", "20ms"];
        let result = expect("slow", echo, &[BULK, &slow].concat(), None);
        let up = result["counts"]["up"].as_u64().expect("a count");
        // In a second each of the two is due 50 times; without a pause it would be megabytes.
        assert!(up.is_multiple_of(3) && (6..30_000).contains(&up), "{who}: {result}");
        assert_eq!(result["counts"]["down"].is_null(), !reads, "{who}: {result}");
        expect("slow", corrupt, &[BULK, &slow].concat(), Some("transfer: wrong byte"));
        expect("slow", end_late, &[BULK, &slow].concat(), Some("transfer: bytes were lost"));
    }
}

#[test]
fn a_reset_is_a_reset() {
    expect("hold", reset, HOLD, Some("first message: reset (RST)"));
    expect("pingpong", reset, PINGPONG, Some("message: reset (RST)"));
    expect("churn", reset, CHURN, Some("message: reset (RST)"));
    expect("storm", reset, STORM, Some("message: reset (RST)"));
    expect("restart", reset, RESTART, Some("new, after its handshake: reset (RST)"));
    expect("slow", reset, BULK, Some("transfer: reset (RST)"));
    expect("bulk", reset, BULK, Some("transfer: reset (RST)"));
}

#[test]
fn an_early_end_is_an_early_end() {
    expect("hold", end, HOLD, Some("first message: ended early (FIN)"));
    expect("pingpong", end, PINGPONG, Some("message: ended early (FIN)"));
    expect("churn", end, CHURN, Some("message: ended early (FIN)"));
    let early = ["--count", "40", "--bytes", "100"];
    expect("halfclose", end, &early, Some("exchange: FIN before all bytes had come back"));
}

#[test]
fn a_hang_is_a_hang() {
    expect("hold", hang, HOLD, Some("first message: no answer in time (hung)"));
    expect("pingpong", hang, PINGPONG, Some("message: no answer in time (hung)"));
    expect("churn", hang, CHURN, Some("message: no answer in time (hung)"));
}

#[test]
fn a_wrong_byte_is_found() {
    expect("hold", corrupt, HOLD, Some("first message: wrong bytes"));
    expect("pingpong", corrupt, PINGPONG, Some("message: wrong bytes"));
    expect("churn", corrupt, CHURN, Some("message: wrong bytes"));
    expect("halfclose", corrupt, ENDS, Some("exchange: wrong bytes"));
    expect("bulk", corrupt, BULK, Some("transfer: wrong byte"));
}

/// Every failure is of this kind, and there is one.
#[track_caller]
fn expect_only(scenario: &str, target: SocketAddr, more: &[&str], kind: &str) {
    let (code, result) = bench(scenario, target, more);
    let failures = result["failures"].as_object().expect("failures by kind");
    assert!(code == Some(1) && !failures.is_empty(), "{scenario}: {result}");
    assert!(failures.keys().all(|one| one.contains(kind)), "{scenario}, {kind}: {result}");
}

#[test]
fn what_is_wrong_with_bytes_is_told_apart() {
    for (scenario, flags) in [("pingpong", PINGPONG), ("hold", HOLD), ("bulk", BULK)] {
        // The message of a hold is 32 bytes, that of a pingpong 64, what a bulk sends is more.
        let middle = match scenario {
            "hold" => "16",
            "pingpong" => "32",
            _ => "2048",
        };
        for (treat, kind) in [
            (lose as fn(TcpStream), "wrong bytes: lost from byte MIDDLE to"),
            (reorder, "wrong bytes: out of order at byte 0: MIDDLE comes first"),
            (corrupt, "wrong bytes: corrupted at byte MIDDLE"),
        ] {
            let kind = kind.replace("MIDDLE", middle);
            expect_only(scenario, server(treat), flags, &kind);
        }
    }
    let asked = "bytes that nobody asked for: repeated at byte 32: 0 comes again";
    expect_only("hold", server(repeat), HOLD, asked);
    let late = ["--connections", "2", "--seconds", "1"];
    expect_only("bulk", server(repeat), &late, "wrong bytes: repeated at byte ");
}

#[test]
fn a_mix_up_names_the_other_connection() {
    for (scenario, flags) in
        [("pingpong", &["--connections", "2", "--seconds", "1"][..]), ("hold", &HOLD[2..])]
    {
        let flags = if scenario == "hold" {
            [flags, &["--connections", "2"]].concat()
        } else {
            flags.to_vec()
        };
        let (code, result) = bench(scenario, swapping(), &flags);
        let failures = result["failures"].as_object().expect("failures by kind");
        assert_eq!((code, failures.len()), (Some(1), 2), "{scenario}: {result}");
        for other in [0, 1] {
            let words =
                format!("wrong bytes: another's at byte 0: of connection {other} from byte 0");
            assert!(failures.keys().any(|one| one.contains(&words)), "{scenario}: {result}");
        }
    }
}

#[test]
fn bytes_too_many_are_found() {
    expect("hold", repeat, HOLD, Some("bytes that nobody asked for"));
    expect("pingpong", repeat, PINGPONG, Some("bytes that nobody asked for"));
}

#[test]
fn everybody_at_a_limit_is_in_one_class() {
    let settle = ["--connections", "20", "--settle", "300ms"];
    for (treat, class) in [
        (echo as fn(TcpStream), "served"),
        (hang, "waiting"),
        (end, "closed_by_fin"),
        (reset, "closed_by_reset"),
    ] {
        let result = expect("limit", treat, &settle, None);
        assert_eq!(result["counts"][class], 20, "{class}: {result}");
    }
}

#[test]
fn nobody_listening_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let (code, result) = bench("hold", address, HOLD);
    assert_eq!(code, Some(1));
    let refused = &result["failures"]["open: not connected: ECONNREFUSED: nobody listens"];
    assert_eq!(refused, 20, "{result}");
}

#[test]
fn a_target_that_does_not_echo_is_called_so() {
    for (scenario, flags) in
        [("hold", HOLD), ("pingpong", PINGPONG), ("churn", CHURN), ("storm", STORM), ("bulk", BULK)]
    {
        for treat in [hang as fn(TcpStream), corrupt] {
            let (_, result) = bench(scenario, server(treat), flags);
            let hint = result["hint"].as_str().unwrap_or("none");
            assert!(hint.contains("the target does not echo"), "{scenario}: {result}");
        }
    }
    // One that answers rightly once is an echo, whatever it does then.
    let (_, result) = bench("hold", server(corrupt_later), &[HOLD, WARM].concat());
    assert_eq!(result["hint"], Value::Null, "{result}");
    // Nor is one that refuses a target that does not echo.
    let (_, result) = bench("pingpong", server(reset), PINGPONG);
    assert_eq!(result["hint"], Value::Null, "{result}");
}

#[test]
fn a_number_beyond_the_addresses_is_wrong_usage() {
    let arguments = ["--connections", "100000", "--sources", "127.0.0.1"];
    let mut command = support::bench(&["hold", "--target", "127.0.0.1:9"]);
    command.args(arguments);
    let ended = Run::begin(command).end();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.errors.contains("100000 connections do not fit"), "{ended:?}");
}
