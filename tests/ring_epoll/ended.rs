//! A wait for bytes tells of the end that came in their place, also in the moment when the kernel
//! has counted the FIN and not yet said that the peer has ended.

use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::sync_channel;

use nix::libc::POLLRDHUP;
use portcullis::base::{GateId, Side};
use portcullis::ring::{AcceptMode, Accepts, Operation};

use crate::harness::Rig;

const CLIENTS: usize = 6_000;

#[test]
fn a_fin_without_bytes_is_never_told_as_bytes() {
    let mut rig = Rig::v4(100);
    rig.ring.accept(GateId(0), AcceptMode::Multishot);
    let address = rig.listeners[0];
    // Few are ahead, so that a FIN comes while its socket is looked at.
    let (says, hears) = sync_channel(4);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..CLIENTS {
                let stream = TcpStream::connect(address).expect("a client");
                stream.shutdown(Shutdown::Write).expect("a FIN");
                if says.send(stream).is_err() {
                    break;
                }
            }
        });
        for client in 0..CLIENTS {
            let (_, conn, _) = rig.accepted();
            let bits = rig.run(conn, Side::Client, Operation::WaitReadable).expect("bits");
            assert!(bits & POLLRDHUP as u32 != 0, "client {client}: {bits:#x}");
            rig.run(conn, Side::Client, Operation::Close).expect("closed");
            drop(hears.recv());
        }
    });
}
