//! Many binds and few descriptors: the gateway works with what its arithmetic gives it, or refuses
//! before it listens.

use std::io::{Read, Write};

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::procfs::descriptors;
use crate::support::wait_until;

const OPEN_FILES: u64 = 256;

fn echo_on(binds: usize) -> String {
    let binds = vec!["\"127.0.0.1:0\""; binds].join(", ");
    format!(
        "[gateway]\nworkers = 2\ndrain_timeout = \"5s\"\n[ring]\nbuffer_count = 512\n\
         [listener.edge]\nbind = [{binds}]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"echo\"\n\
         [status]\nbind = \"127.0.0.1:0\"\n"
    )
}

#[test]
fn a_start_with_few_descriptors_works_to_its_end_or_is_refused_at_once() {
    let mut outcomes = [0, 0];
    for binds in [1, 10, 20, 30, 36, 37, 40, 50] {
        let gateway = Gateway::launch(Some(&echo_on(binds)), Some(OPEN_FILES));
        wait_until("a start or a refusal", || {
            let lines = gateway.lines();
            lines.iter().any(|line| line.contains(" ready ") || line.contains("portcullis: "))
        });
        let lines = gateway.lines().join("\n");
        if !lines.contains(" ready ") {
            let (status, lines) = gateway.ended_by_itself();
            assert_eq!(status.code(), Some(1), "{binds} binds: {lines:?}");
            let lines = lines.join("\n");
            let (arithmetic, locks) = ("256 descriptors", format!("− {binds} of locks"));
            assert!(lines.contains(arithmetic) && lines.contains(&locks), "{binds}: {lines}");
            assert!(
                !lines.contains("panicked") && !lines.contains("listening listener="),
                "{lines}"
            );
            outcomes[1] += 1;
            continue;
        }
        for address in gateway.addresses("edge") {
            client::echo(&client::connect(address), 1, 100);
        }
        // Who asks for the status has descriptors, too.
        let askers: Vec<_> = (0..20).map(|_| client::connect(gateway.status())).collect();
        for mut asker in &askers {
            asker.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").expect("it takes bytes");
            assert!(asker.read(&mut [0; 512]).expect("it answers") > 0);
        }
        let before = descriptors(gateway.pid()) as u64;
        assert!(before + 2 * binds as u64 <= OPEN_FILES, "{before} of {OPEN_FILES}, {binds} binds");
        gateway.signal(Signal::SIGTERM);
        gateway.wait_for_line("draining");
        gateway.wait_for_line("stopped accepted=");
        let lines = gateway.lines().join("\n");
        assert!(!lines.contains("cannot be dropped"), "{binds} binds: {lines}");
        gateway.stop_has_begun();
        outcomes[0] += 1;
    }
    assert!(outcomes.iter().all(|&many| many > 1), "{outcomes:?}");
}
