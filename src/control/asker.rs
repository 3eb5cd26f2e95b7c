//! Who asks for what the control plane does: a process at the admin socket, or a signal.
//!
//! The endpoint says it once, for a whole request, and the lines of the log that come of the
//! request have it, however deep in the code they are written. A task that goes on by itself
//! carries it along.

use tokio::net::UnixStream;
use tokio::task::futures::TaskLocalFuture;

use crate::host::holders::command_of;

tokio::task_local! {
    static ASKER: Option<Asker>;
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// A process that has connected to the admin socket.
    Process {
        /// The user that it acted as.
        uid: u32,
        /// `None`: it is in a pid namespace that this one does not see.
        pid: Option<i32>,
        /// The name of its command, which it has chosen itself.
        command: Option<String>,
    },
    /// A signal, by its name.
    Signal(&'static str),
}

impl Asker {
    /// The process at the other end, as it was when it connected (SO_PEERCRED, unix(7)); `None`:
    /// the kernel does not say.
    pub(super) fn of(stream: &UnixStream) -> Option<Asker> {
        let peer = stream.peer_cred().ok()?;
        // Pid 0 stands for a process of another namespace.
        let pid = peer.pid().filter(|pid| *pid > 0);
        Some(Asker::Process { uid: peer.uid(), pid, command: pid.and_then(command_of) })
    }
}

/// What this future does is asked for by `asker`; `None`: nobody asks, or it is not known who.
pub(super) fn with<F: Future>(
    asker: Option<Asker>,
    future: F,
) -> TaskLocalFuture<Option<Asker>, F> {
    ASKER.scope(asker, future)
}

/// The same for what is done at once.
pub(super) fn during<T>(asker: Option<Asker>, work: impl FnOnce() -> T) -> T {
    ASKER.sync_scope(asker, work)
}

/// What this future does, as a task of its own, is asked for by who asks here.
pub(super) fn carry<F: Future>(future: F) -> TaskLocalFuture<Option<Asker>, F> {
    with(present(), future)
}

/// Who asks here.
pub(super) fn present() -> Option<Asker> {
    ASKER.try_with(Clone::clone).ok().flatten()
}
