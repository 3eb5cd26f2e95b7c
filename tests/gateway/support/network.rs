//! A network of a test's own, where nobody else's sockets count.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own, with loopback only. Making one needs a privilege;
/// without it the test runs where it is and is told `false`.
pub(crate) fn in_own_network(test: impl FnOnce(bool) + Send) {
    let outcome = std::thread::scope(|scope| {
        // Only this thread moves, and with it the threads and the programs that it starts.
        let moved = scope.spawn(|| {
            // Without `ip` (package iproute2) its loopback would stay down.
            let ip = Command::new("ip").arg("-V").output().is_ok();
            let own = ip && unshare(CloneFlags::CLONE_NEWNET).is_ok();
            if own {
                let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
                assert!(up.is_ok_and(|up| up.success()), "`ip link set lo up` failed");
            } else {
                eprintln!(
                    "no privilege or no `ip` for a network of its own: checks in the shared one"
                );
            }
            test(own);
        });
        moved.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A port that nobody uses in either family and that the kernel gives to nobody by itself: it lies
/// below the range of the ports it chooses.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 10_000;
    for _ in 0..10_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start + step) % 10_000;
        let free = TcpListener::bind(("0.0.0.0", port)).is_ok()
            && (!has_ipv6() || TcpListener::bind(("::", port)).is_ok());
        if free {
            return port;
        }
    }
    panic!("no free port between 20000 and 29999");
}

/// Whether this machine speaks IPv6 with itself.
pub(crate) fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}
