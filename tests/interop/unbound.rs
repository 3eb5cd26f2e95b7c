//! A DNS server of Debian, whose records a test changes while it answers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::program::{Daemon, folder, output, program};
use crate::support::network::free_port;
use crate::support::wait_until;

/// A zone `test.` of records, and a zone `failing.` whose questions all end in SERVFAIL.
pub(crate) struct Unbound {
    daemon: Daemon,
    folder: PathBuf,
    address: SocketAddr,
}

impl Unbound {
    /// Answers these records, lines of a zone file, by UDP and by TCP.
    pub(crate) fn start(records: &[&str]) -> Unbound {
        Unbound::with("", records)
    }

    /// The same, with more lines for the server's section.
    pub(crate) fn with(keys: &str, records: &[&str]) -> Unbound {
        let (folder, port) = (folder("unbound"), free_port());
        let home = folder.display();
        let config = format!(
            "server:\n directory: \"{home}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
             use-syslog: no\n do-daemonize: no\n verbosity: 0\n num-threads: 1\n \
             interface: 127.0.0.1\n port: {port}\n module-config: \"iterator\"\n \
             minimal-responses: yes\n rrset-roundrobin: yes\n do-not-query-localhost: yes\n \
             local-zone: \"test.\" static\n local-zone: \"failing.\" typetransparent\n \
             {keys}\n include: \"{home}/records\"\n\
             forward-zone:\n name: \"failing.\"\n forward-addr: 127.0.0.1@1\n\
             remote-control:\n control-enable: yes\n control-use-cert: no\n \
             control-interface: \"{home}/control\"\n"
        );
        std::fs::write(folder.join("config"), config).expect("the folder is ours");
        write_records(&folder, records);
        let mut command = program("unbound");
        command.arg("-d").arg("-c").arg(folder.join("config")).stderr(Stdio::inherit());
        let mut probe = control(&folder);
        probe.arg("status");
        let daemon = Daemon::start_until(&mut command, folder.clone(), || {
            let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        });
        Unbound { daemon, folder, address: (Ipv4Addr::LOCALHOST, port).into() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has these records and no others, at once: the server reads its files again.
    pub(crate) fn reload(&self, records: &[&str]) {
        write_records(&self.folder, records);
        output(control(&self.folder).arg("reload"));
    }

    /// Takes all records of a name away, and has these in their place, if any.
    pub(crate) fn replace(&self, name: &str, records: &[&str]) {
        output(control(&self.folder).args(["local_data_remove", name]));
        if records.is_empty() {
            return;
        }
        let mut command = control(&self.folder);
        let command = command.arg("local_datas").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("it is installed");
        let mut lines = child.stdin.take().expect("it is a pipe");
        writeln!(lines, "{}", records.join("\n")).expect("it reads them");
        drop(lines);
        assert!(child.wait().expect("it is our child").success());
    }

    /// Answers every question for a name so, as `unbound.conf` names it: "always_refuse". Names
    /// beside it get no answer from here on (unbound 1.17 looks for their zone in the wrong place).
    pub(crate) fn answer(&self, name: &str, so: &str) {
        output(control(&self.folder).args(["local_zone", name, so]));
    }

    /// Answers questions for a name by its records again.
    pub(crate) fn answer_again(&self, name: &str) {
        output(control(&self.folder).args(["local_zone_remove", name]));
    }

    /// Questions so far.
    pub(crate) fn questions(&self) -> u64 {
        let figures = output(control(&self.folder).arg("stats_noreset"));
        let line = figures.lines().find_map(|line| line.strip_prefix("total.num.queries="));
        line.expect("it counts questions").parse().expect("a number")
    }

    /// It takes questions and answers none, until [`Unbound::resume`].
    pub(crate) fn stop(&self) {
        kill(self.daemon.pid(), Signal::SIGSTOP).expect("it is our child");
    }

    pub(crate) fn resume(&self) {
        kill(self.daemon.pid(), Signal::SIGCONT).expect("it is our child");
        wait_until("the DNS server to go on", || {
            let mut probe = control(&self.folder);
            probe.arg("status").stdout(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        });
    }
}

fn control(folder: &std::path::Path) -> Command {
    let mut command = program("unbound-control");
    command.arg("-c").arg(folder.join("config"));
    command
}

fn write_records(folder: &std::path::Path, records: &[&str]) {
    let mut text = String::from("server:\n");
    for record in records {
        writeln!(text, " local-data: '{record}'").expect("a text grows");
    }
    std::fs::write(folder.join("records"), text).expect("the folder is ours");
}
