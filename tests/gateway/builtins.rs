//! The upstreams that the gateway answers itself: echo, discard, hold.

use crate::support::client::{self, Ending};
use crate::support::crowd::crowd;
use crate::support::gateway::Gateway;
use crate::support::log::field;
use crate::support::pattern::Pattern;
use crate::support::server::finish;

fn builtin(name: &str) -> Gateway {
    Gateway::start(&format!(
        "[gateway]\nworkers = 2\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
         [upstream.app]\nbuiltin = \"{name}\"\n"
    ))
}

#[test]
fn echo_sends_back_what_comes() {
    let gateway = builtin("echo");
    let address = gateway.address("edge");
    crowd(50, 10, |index| {
        let stream = client::connect(address);
        let mut out = Pattern::new(index as u64);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                client::send(&stream, &mut out, 300_007).expect("all is sent");
                finish(&stream);
            });
            let brought = client::receive_all(&stream, &mut Pattern::new(index as u64));
            assert_eq!((brought.bytes, brought.ending), (300_007, Ending::Fin));
        });
    });
    let lines = gateway.wait_for_ended(50);
    let serverless = |line: &String| field(line, "server") == Some("-");
    assert!(lines.iter().all(serverless), "no server in {lines:?}");
    gateway.stop().expect(&[("closed-by-client", 50)]);
}

#[test]
fn discard_reads_everything_and_says_nothing() {
    let gateway = builtin("discard");
    let address = gateway.address("edge");
    crowd(20, 10, |index| {
        let stream = client::connect(address);
        client::send(&stream, &mut Pattern::new(index as u64), 30_000_000).expect("all is read");
        finish(&stream);
        assert_eq!(client::ending(&stream), Ending::Fin);
    });
    gateway.wait_for_ended(20);
    gateway.stop().expect(&[("closed-by-client", 20)]);
}

#[test]
fn hold_keeps_a_client_and_says_nothing() {
    let gateway = builtin("hold");
    let address = gateway.address("edge");
    crowd(20, 20, |index| {
        let stream = client::connect(address);
        client::send(&stream, &mut Pattern::new(index as u64), 100).expect("a little is sent");
        assert!(client::is_silent(&stream));
    });
    gateway.wait_for_ended(20);
    assert_eq!(gateway.stop().accepted, 20);
}
