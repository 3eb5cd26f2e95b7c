//! HAProxy in the foreground, with its log in a file and its statistics at a socket.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::program::{Daemon, folder, program};

pub(crate) struct HaProxy {
    _daemon: Daemon,
    folder: PathBuf,
}

impl HaProxy {
    /// Starts one with these sections; what they do not say is as everywhere here.
    pub(crate) fn start(sections: &str) -> HaProxy {
        let folder = folder("haproxy");
        let statistics = folder.join("statistics");
        let config = format!(
            "global\n maxconn 200\n stats socket {}\n log stderr format raw daemon\n\
             defaults\n mode tcp\n log global\n option tcplog\n timeout connect 60s\n \
             timeout client 60s\n timeout server 60s\n{sections}",
            statistics.display()
        );
        std::fs::write(folder.join("config"), config).expect("a config");
        let mut command = program("haproxy");
        command.arg("-db").arg("-f").arg(folder.join("config"));
        command.stderr(File::create(folder.join("log")).expect("a log"));
        // It answers when it listens everywhere; the socket alone may be there before the others.
        let is_ready = || ask(&statistics, "show info").is_ok();
        let daemon = Daemon::start_until(&mut command, folder.clone(), is_ready);
        HaProxy { _daemon: daemon, folder }
    }

    /// Its address with this port.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).expect("a log")
    }

    /// A line of values for each of its proxies and servers.
    pub(crate) fn statistics(&self) -> String {
        ask(&self.folder.join("statistics"), "show stat").expect("an answer")
    }
}

/// What it answers to a command.
fn ask(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(socket)?;
    writeln!(socket, "{command}")?;
    std::io::read_to_string(socket)
}
