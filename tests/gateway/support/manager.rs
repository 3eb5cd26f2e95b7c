//! A service manager that only listens.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What was said, and the descriptor that came along.
pub(crate) type Said = (String, Option<OwnedFd>);

/// Has it listen at this path; what it hears comes out.
pub(crate) fn manager(path: &Path) -> Receiver<Said> {
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
