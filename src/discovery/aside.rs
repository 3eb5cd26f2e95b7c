//! Work that may hang, on threads that nobody waits for.
//!
//! A runtime that ends waits for the threads of its pool. A thread that is stuck in a file system
//! of the network would hold the end of the gateway up; these threads end with the process.

use std::thread::Builder;

use tokio::sync::oneshot::{Receiver, channel};

/// Begins work on a thread of this name, of 15 bytes at most; its result comes out of the receiver.
///
/// # Errors
/// When there is no thread to be had, in words for an operator. The work is dropped then.
pub(super) fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>, String> {
    let (sender, result) = channel();
    let work = move || {
        // Nobody waits for it when the search has ended meanwhile.
        let _ = sender.send(work());
    };
    let thread = Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|error| {
        format!(
            "a thread could not be started: {error}; raise the limit on processes (ulimit -u, or \
             TasksMax= of the service)"
        )
    })?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::discovery::heard::on_a_local_set;

    /// It only turns a wait without end into a failure.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn work_is_done_by_a_thread_of_its_name() {
        on_a_local_set(async {
            let name = || std::thread::current().name().map(str::to_owned);
            let result = aside("look", name).expect("a thread");
            assert_eq!(result.await.expect("it is done"), Some("look".to_owned()));
        });
    }

    #[test]
    fn work_that_hangs_does_not_hold_the_end_of_the_runtime_up() {
        let (release, hangs) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            on_a_local_set(async {
                drop(aside("look", move || hangs.recv()).expect("a thread"));
            });
            ended.send(()).expect("the test waits");
        });
        end.recv_timeout(PATIENCE).expect("the runtime ends");
        drop(release);
    }
}
