//! Child processes of this program: each holds only as many sockets as a process may.

use std::io::{self, BufRead};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sockets in one process: below the usual hard limit of 20,000 files, with room for the rest.
pub(crate) const MAX_SOCKETS: usize = 15_000;

/// Raises the soft limit of open files to the hard one.
pub(crate) fn allow_many_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// A child process; dropping it ends it.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program again with these arguments. Its stdin and stdout are ours.
pub(crate) fn start(arguments: &[String]) -> io::Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(Running { child: command.spawn()? })
}

/// In a child: the parent's commands, a line each. The child ends with its parent, whatever it is
/// doing: then stdin ends.
pub(crate) fn commands() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(1);
    });
    receiver
}
