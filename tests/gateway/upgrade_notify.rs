//! What a service manager hears of an upgrade, and in which order.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Home, program};
use crate::support::lineage::{Lineage, runs};
use crate::support::{PATIENCE, client, wait_until};

/// What was said, and the descriptor that came along.
type Said = (String, Option<OwnedFd>);

/// A service manager that only listens.
fn manager(path: &Path) -> Receiver<Said> {
    let socket = UnixDatagram::bind(path).expect("a socket");
    let (sender, said) = channel();
    std::thread::spawn(move || {
        loop {
            let mut text = [0; 4096];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [std::io::IoSliceMut::new(&mut text)];
            let received = recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::empty());
            let bytes = received.expect("a message").bytes;
            let fds = ancillary.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fd = fds.flatten().next();
            let text = String::from_utf8_lossy(&text[..bytes]).trim_end().to_owned();
            if sender.send((text, fd)).is_err() {
                return;
            }
        }
    });
    said
}

#[test]
fn the_main_process_is_named_before_the_old_one_ends_and_only_at_the_commit() {
    let home = Home::new();
    let path = home.path().join("notify");
    let said = manager(&path);
    let next = || said.recv_timeout(PATIENCE).expect("the manager hears");
    let mut command = program(None);
    command.env("NOTIFY_SOCKET", &path);
    let lineage = Lineage::start_with(home, command, OWN_ECHO);
    assert_eq!(next().0, "READY=1");
    let stream = client::connect(lineage.first.address("edge"));
    client::echo(&stream, 1, 100);
    let bad = lineage.ask(&["upgrade", "--binary", "/bin/false"]);
    assert_eq!(bad.code, Some(1));
    let first = lineage.first.pid();
    std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| lineage.upgrade(&[]));
        let mut heard = Vec::new();
        let barrier = loop {
            match next() {
                (text, Some(fd)) => {
                    heard.push(text);
                    break fd;
                }
                (text, None) => heard.push(text),
            }
        };
        // Until the manager has taken what came before, the old process is there.
        assert!(runs(first), "{heard:?}");
        drop(barrier);
        let pid = upgrade.join().expect("it is committed");
        heard.retain(|text| text != "READY=1");
        assert_eq!(heard, [format!("MAINPID={pid}"), "BARRIER=1".to_owned()]);
    });
    wait_until("the predecessor's end", || !runs(first));
    client::echo(&stream, 2, 100);
}
