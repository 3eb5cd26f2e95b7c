//! Upgrades under load: of one gateway, looked at closely, and of rivals beside it.

mod changing;
mod crowd;
mod gateway;
mod handing;
mod summary;
mod watch;

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::SigSet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::rig::{Manner, Rig, Serving, Stop};
use super::setting::{self, Setting};
use super::target::{self, Proxy};
use super::work::Backend;
use super::{WORKERS, port, room, usage};
use crate::flags::{self, Beside};
use crate::rivals::Programs;
use crowd::Crowd;
use gateway::Gateway;
use handing::Handing;

pub(crate) use changing::{PAUSE, measure};

/// Connections of a gateway to one port of a server: less than half of what a port has.
const PER_PORT: u64 = 10_000;
/// Ports of the server, at least and at most.
const PORTS: RangeInclusive<u64> = 16..=512;
/// Clients that the server takes beyond those that were asked for, and times how many.
const SPARE: u64 = 20_000;

#[derive(Args)]
#[command(after_help = "Examples: three upgrades while 200,000 connections are held; the same \
where each successor is killed first;
and of a gateway that runs, in front of an echo:
  portcullis-bench upgrade --connections 200000 --upgrades 3 \\
      --beside pingpong:1000@20000,churn:300,bulk:16,slow:100,halfclose:100
  portcullis-bench upgrade --connections 20000 --beside churn:300 --kill-at probation
  portcullis-bench upgrade --target 127.0.0.1:7000 --admin /run/portcullis/admin.sock

It starts a server and a gateway, unless there is a --target. Every connection's bytes are checked
before and after each upgrade, and whatever goes on beside. Nothing may be lost, refused or wrong:
the exit code is 1 then, with words. Where a successor is killed, no held connection may be lost
that was not asked meanwhile; others that are lost with it are counted, and an upgrade that must
succeed follows.

--beside: see `portcullis-bench crowd --help`. Latencies are of the messages of its pingpong, from
when each was due: of those due from the request for an upgrade to its end (in the window), of those
of them due until all connections had moved, and of all others but those due in a check.")]
pub(crate) struct Upgrade {
    /// Connections that are held
    #[arg(long, default_value_t = 10_000, value_parser = flags::connections)]
    connections: u64,
    /// What goes on beside them
    #[arg(long, value_name = "LIST", value_parser = flags::beside)]
    beside: Option<Beside>,
    /// How often it is upgraded, one after the other
    #[arg(long, default_value_t = 1, value_parser = flags::count_u32::<1_000>)]
    upgrades: u32,
    /// How long a successor serves before the old process ends
    #[arg(long, default_value = "2s", value_parser = flags::duration)]
    probation: Duration,
    /// Between upgrades, before the first and after the last, nothing is done to the gateway for
    /// so long
    #[arg(long, default_value = "3s", value_parser = flags::duration)]
    pause: Duration,
    /// Where each successor is killed before the upgrade that must succeed: when it has so many
    /// percent of the connections, or on its probation
    #[arg(long, value_name = "PERCENT|probation", value_parser = kill_at)]
    #[arg(conflicts_with = "target")]
    kill_at: Option<KillAt>,
    /// The program of successors [default: that of the gateway]
    #[arg(long, value_name = "PATH")]
    successor: Option<PathBuf>,
    /// A gateway that runs, in front of an echo, instead of one that is started
    #[arg(long, value_name = "HOST:PORT", value_parser = flags::parse_address, requires = "admin")]
    target: Option<SocketAddr>,
    /// Its admin socket, which must not be the "auto" one: that has the name of a process
    #[arg(long, value_name = "PATH", requires = "target")]
    admin: Option<PathBuf>,
    /// The gateway's program [default: beside this one]
    #[arg(long, value_name = "PATH")]
    portcullis: Option<PathBuf>,
    /// A config for the gateway that is started. Its one listener and its one upstream lead from
    /// the crowd to the server; everything else stays
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    config: Option<PathBuf>,
    /// Threads of the gateway that is started [default: 2]
    #[arg(long, value_parser = flags::count_to::<64>, conflicts_with = "target")]
    workers: Option<u64>,
    /// Threads of the crowd; one for each core by default
    #[arg(long, value_parser = flags::threads)]
    threads: Option<usize>,
    /// How long anything may take before it counts as hung
    #[arg(long, default_value = "20s", value_parser = flags::duration)]
    patience: Duration,
    /// How long a thread of the crowd may be kept from its connections, before latencies are
    /// invalid
    #[arg(long, default_value = "250ms", value_parser = flags::duration)]
    max_lag: Duration,
    /// Ports to listen on: FIRST-LAST [default: free ones outside of ip_local_port_range]
    #[arg(long, value_parser = port::parse_range)]
    ports: Option<RangeInclusive<u16>>,
    /// The result as one line of JSON also on a terminal
    #[arg(long)]
    json: bool,
}

/// Where a successor is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillAt {
    /// When it has so many percent of the connections.
    Percent(u64),
    /// When it serves them, before the old process ends.
    Probation,
}

/// Reads `50` or `probation`.
fn kill_at(text: &str) -> Result<KillAt, String> {
    match (text, flags::count_to::<100>(text)) {
        ("probation", _) => Ok(KillAt::Probation),
        (_, Ok(percent)) => Ok(KillAt::Percent(percent)),
        _ => Err(format!("{text:?}: write a percentage from 1 to 100, or probation")),
    }
}

impl fmt::Display for KillAt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KillAt::Percent(percent) => write!(out, "{percent} %"),
            KillAt::Probation => out.write_str("probation"),
        }
    }
}

impl Upgrade {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        SigSet::all().thread_unblock()?;
        let room = room(self.workers.unwrap_or(WORKERS));
        let manner = Manner { threads: self.threads, max_lag: self.max_lag };
        let mut rig = Rig::new(room, manner, self.ports.clone(), interrupted.clone())?;
        let done = self.hand_over(&mut rig, &interrupted);
        let result = match done {
            Ok(result) => result,
            Err(Stop::Broken(error)) => return Err(error),
            Err(Stop::Interrupted) => {
                eprintln!("interrupted before anything was measured");
                return Ok(ExitCode::from(1));
            }
        };
        eprint!("\n{}", summary::table(&result));
        if self.json || !io::stdout().is_terminal() {
            println!("{result}");
        }
        Ok(match (result["good"] == true, result["valid"] == true) {
            (false, _) => ExitCode::from(1),
            (true, false) => ExitCode::from(3),
            (true, true) => ExitCode::SUCCESS,
        })
    }

    /// Starts all that is needed, upgrades, and ends it; the result.
    fn hand_over(
        &self,
        rig: &mut Rig,
        interrupted: &AtomicBool,
    ) -> Result<serde_json::Value, Stop> {
        let (address, gateway, _serving) = self.stage(rig)?;
        let arguments = self.crowd(&address);
        eprintln!("crowd: portcullis-bench {}", arguments.join(" "));
        let crowd = Crowd::start(&arguments, true)?;
        let handing = Handing::new(self, gateway, crowd, interrupted);
        handing.carry_out().map_err(Stop::Broken)
    }

    /// The gateway, where it is reached, and the server behind it if that is ours.
    fn stage(&self, rig: &mut Rig) -> Result<(String, Gateway, Option<Serving>), Stop> {
        let programs = Programs { portcullis: self.portcullis.clone(), ..Programs::default() };
        let (found, missing) =
            target::choose_upgrading(&[crate::result::OURS.to_owned()], &programs)
                .map_err(usage)?;
        let Some(proxy) = found.into_iter().next().and_then(|target| target.proxy) else {
            let words = missing.iter().map(|one| format!("{}: {}", one.because, one.install));
            return Err(usage(words.collect::<Vec<_>>().join("; ")).into());
        };
        let program = proxy.found.program.clone();
        if let (Some(target), Some(admin)) = (self.target, &self.admin) {
            let gateway = Gateway::new(program, admin.clone(), None);
            let gateway = gateway.map_err(|why| usage(format!("--admin: {why}")))?;
            return Ok((target.to_string(), gateway, None));
        }
        let proxy = self.based(proxy)?;
        let connections = self.connections + self.beside.unwrap_or_default().connections();
        let ports = connections.div_ceil(PER_PORT).clamp(*PORTS.start(), *PORTS.end()) as u16;
        let serving = rig.serve(Backend::Echo, connections * 2 + SPARE, ports)?;
        let running = rig.start(&proxy, connections, Backend::Echo, &serving.servers())?;
        let running = running.map_err(|why| io::Error::other(format!("the gateway: {why}")))?;
        eprintln!(
            "gateway: {} at {}, pid {}",
            proxy.found.version,
            running.listen,
            running.process.id()
        );
        let (address, admin) = (running.listen.to_string(), running.folder.join("admin.sock"));
        let gateway = Gateway::new(program, admin, Some(running)).map_err(io::Error::other)?;
        Ok((address, gateway, Some(serving)))
    }

    /// With the config that the user gives, in which what an upgrade needs is set.
    fn based(&self, mut proxy: Proxy) -> io::Result<Proxy> {
        let Some(path) = &self.config else { return Ok(proxy) };
        let mut template = setting::template_of(path).map_err(usage)?;
        let workers = self.workers.map(|workers| ("gateway.workers", workers.to_string()));
        let more = [
            ("admin.socket", "@run_folder@/admin.sock".to_owned()),
            ("log.level", "info".to_owned()),
        ];
        for (key, value) in more.into_iter().chain(workers) {
            let setting = Setting { key: key.to_owned(), value };
            template = setting.written_into(&template).map_err(usage)?;
        }
        let name = path.file_name().unwrap_or_default();
        (proxy.config, proxy.template) = (name.to_string_lossy().into_owned(), template);
        Ok(proxy)
    }

    fn crowd(&self, address: &str) -> Vec<String> {
        let span = |span: Duration| humantime::format_duration(span).to_string().replace(' ', "");
        let mut arguments: Vec<String> = vec![
            "crowd".into(),
            format!("--target={address}"),
            format!("--connections={}", self.connections),
            format!("--patience={}", span(self.patience)),
            format!("--max-lag={}", span(self.max_lag)),
            "--told".into(),
            "--json".into(),
        ];
        arguments.extend(self.beside.map(|beside| format!("--beside={beside}")));
        arguments.extend(self.threads.map(|threads| format!("--threads={threads}")));
        arguments
    }
}
