//! Starts processes with the priority of the workers.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::sync::oneshot;

/// Starts processes. A nice value is a thread's own on Linux, and a new process has that of the
/// thread that starts it: the control thread's is higher than the gateway's, and nobody without a
/// privilege could lower it again. So a thread waits for this that was begun before.
#[derive(Debug)]
pub(super) struct Spawner(Sender<Work>);

type Work = (Command, oneshot::Sender<io::Result<Child>>);

impl Spawner {
    /// With the priority of this thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start() -> io::Result<Spawner> {
        let (sender, work) = channel::<Work>();
        let serve = move || {
            for (mut command, reply) in work {
                // The asker may be gone.
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new().name("spawner".to_owned()).spawn(serve)?;
        Ok(Spawner(sender))
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (reply, answer) = oneshot::channel();
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
