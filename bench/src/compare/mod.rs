//! Portcullis and its rivals at the same works, in turns; and one config key at many values.

mod about;
mod certificate;
mod cgroup;
mod port;
mod process;
mod rig;
mod series;
mod setting;
mod sweep;
mod target;
mod upgrade;
mod versus;
mod work;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use portcullis::doctor::thousands;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::flags;
use crate::result::OURS;
use crate::rivals::{Programs, Room};
use rig::{Manner, Rig};
use series::Series;
use target::{Skipped, Target};
use work::Work;

pub(crate) use sweep::Sweep;
pub(crate) use upgrade::Upgrade;
#[cfg(test)]
pub(crate) use work::command_lines;

/// Open files that a process is given where we may: enough for 100,000 proxied connections.
const DESCRIPTORS: u64 = 202_000;
/// Threads of a proxy when nobody says how many.
const WORKERS: u64 = 2;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, flatten_help = false)]
#[command(after_help = "Examples: everything, five times, into a file that `report` reads; and \
two rivals at two works; and TLS
beside plain connections:
  portcullis-bench compare --out results.jsonl
  portcullis-bench compare --targets portcullis,haproxy --works pingpong-1000,churn --rounds 3
  portcullis-bench compare --targets portcullis,portcullis-tls,haproxy-tls --works handshakes

Works: pingpong-N, rate-N, churn-N, handshakes-N, bulk-up-N, bulk-down-N, storm-N, idle-N, kept-N
(connections, or messages per second), reset-N, halfclose-N, halfclose-server-N (connections in
all); without -N, each family's own number. Every measurement has a target of its own, started for
it and ended after it: nobody else runs meanwhile. A target that is not installed, or does not hold
as many connections here, is named with the command that changes it.

Exit codes: 0 done, 1 a target failed or it was interrupted, 2 wrong usage, 3 some figures are
invalid, because the generator was the bottleneck three times over.")]
pub(crate) struct Compare {
    #[command(subcommand)]
    what: Option<What>,
    /// What to measure: portcullis, portcullis-batch, portcullis-epoll, haproxy, haproxy-splice,
    /// nginx, envoy, direct (no proxy) [default: all of these]; portcullis-tls, haproxy-tls,
    /// nginx-tls, envoy-tls (the same where the clients' TLS ends, with one certificate); floor,
    /// floor-multi (the least that a proxy's system calls take, if it copies; compiled with cc)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    targets: Vec<String>,
    /// What to do with it [default: pingpong-100, -1000 and -8000, rate-20000, churn, bulk-up,
    /// storm-8000, idle, kept, reset, halfclose]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    works: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// What is compared beside works.
#[derive(Subcommand)]
enum What {
    /// What outlives the old process when each is upgraded in its own way
    Upgrade(versus::Versus),
}

/// What `compare` and `sweep` share.
#[derive(Args)]
struct Options {
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = flags::count_u32::<1_000>)]
    rounds: u32,
    /// How long each measurement lasts, where its work does not say itself when it is done
    #[arg(long, default_value_t = 5, value_parser = flags::whole_seconds::<3_600>)]
    seconds: u64,
    /// Threads of every proxy (nginx: processes) [default: 2]
    #[arg(long, value_parser = flags::count_to::<64>)]
    workers: Option<u64>,
    /// Threads of the generator; one for each core by default
    #[arg(long, value_parser = flags::threads)]
    threads: Option<usize>,
    /// How long a thread of the generator may be kept from its connections, before a measurement
    /// is invalid
    #[arg(long, default_value = "250ms", value_parser = flags::duration)]
    max_lag: Duration,
    /// Ports to listen on: FIRST-LAST [default: free ones outside of ip_local_port_range]
    #[arg(long, value_parser = port::parse_range)]
    ports: Option<RangeInclusive<u16>>,
    /// Where results go, one line of JSON each; a file that is there is not touched
    /// [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

impl Compare {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        if let Some(What::Upgrade(versus)) = &self.what {
            return versus.run();
        }
        let names = target::default_names().into_iter().map(str::to_owned).collect();
        let names = if self.targets.is_empty() { names } else { self.targets.clone() };
        let (mut targets, mut skipped) =
            target::choose(&names, &self.options.programs).map_err(usage)?;
        if let Some(ours) = skipped.iter().find(|one| one.name == OURS) {
            return Err(usage(format!("{OURS}: {}: {}", ours.because, ours.install)));
        }
        let works = if self.works.is_empty() {
            work::DEFAULT.map(str::to_owned).to_vec()
        } else {
            self.works.clone()
        };
        let parse = |name: &String| Work::parse(name, self.options.seconds);
        let works: Vec<Work> = works.iter().map(parse).collect::<Result<_, _>>().map_err(usage)?;
        let room = self.options.room();
        let mut notes = notes(&targets);
        let works = fitting(works, &targets, room, &mut skipped, &mut notes);
        let mut rig = self.options.rig(room, &mut notes)?;
        targets.retain(|target| {
            let Some(proxy) = &target.proxy else { return true };
            let refused = rig.check(proxy, 1).err();
            skipped.extend(refused.clone().map(|because| Skipped {
                name: target.name.to_owned(),
                because: format!("it refuses {}: {because}", proxy.config),
                install: proxy.found.rival.install.to_owned(),
            }));
            refused.is_none()
        });
        for one in &skipped {
            eprintln!("skipped: {}: {}: {}", one.name, one.because, one.install);
        }
        if targets.is_empty() || works.is_empty() {
            return Err(usage("there is nothing to measure".to_owned()));
        }
        for target in &targets {
            let proxy = target.proxy.as_ref();
            let version = proxy.map_or("no proxy", |proxy| &proxy.found.version);
            let config = proxy.map_or(String::new(), |proxy| format!(", {}", proxy.config));
            eprintln!("{}: {version}{config}", target.name);
        }
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        let line = about::line("compare", &targets, &skipped, &notes);
        Series::new(rig, &targets, &works, self.options.rounds, self.options.out()?).run(&line)
    }
}

impl Options {
    fn room(&self) -> Room {
        room(self.workers.unwrap_or(WORKERS))
    }

    fn rig(&self, room: Room, notes: &mut Vec<String>) -> io::Result<Rig> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        // Programs that we start would inherit what is blocked, and not hear when to end.
        SigSet::all().thread_unblock()?;
        let manner = Manner { threads: self.threads, max_lag: self.max_lag };
        let mut rig = Rig::new(room, manner, self.ports.clone(), interrupted)?;
        if let Err(why) = rig.use_cgroups() {
            notes.push(format!("no memory cgroup for each target, so no kernel memory: {why}"));
        }
        Ok(rig)
    }

    fn out(&self) -> io::Result<Box<dyn Write>> {
        let Some(path) = &self.out else { return Ok(Box::new(io::stdout())) };
        let file = File::create_new(path).map_err(|error| {
            let remedy = if error.kind() == ErrorKind::AlreadyExists {
                "; give another name, or move it away"
            } else {
                ""
            };
            usage(format!("--out {}: {error}{remedy}", path.display()))
        })?;
        Ok(Box::new(file))
    }
}

/// What proxies are given, raised as far as we may.
fn room(workers: u64) -> Room {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && hard < DESCRIPTORS
    {
        // Without the right to raise it, it stays, and works are fitted to it.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS);
    }
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1_024, |(_, hard)| hard);
    Room { descriptors, workers }
}

fn usage(words: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, words)
}

/// What is to be known about these targets before their figures are read.
fn notes(targets: &[Target]) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = format!(
        "generator, target and backend share {cores} cores: what a target costs per unit of work \
         is the figure to compare"
    );
    let ages = targets.iter().filter_map(|target| target.proxy.as_ref()?.found.age());
    let mut notes: Vec<String> = std::iter::once(shared).chain(ages).collect();
    // One program may be there twice.
    notes.dedup();
    notes
}

/// The works as this host can do them: with as many connections as every target holds where the
/// number is ours to choose; a target that does not hold what was asked for is skipped there.
fn fitting(
    works: Vec<Work>,
    targets: &[Target],
    room: Room,
    skipped: &mut Vec<Skipped>,
    notes: &mut Vec<String>,
) -> Vec<Work> {
    let mut fit = Vec::new();
    for work in works {
        let of_work = || targets.iter().filter(|target| target.suits(&work));
        let most = of_work().map(|target| target.holds(room)).min().unwrap_or(0);
        let wanted = work.connections;
        let limit = format!("with {} open files", thousands(room.descriptors));
        let name = work.name.clone();
        let small = work.clone().shrunk(most);
        if small.connections < wanted {
            notes.push(format!(
                "{name} has {} connections, not {}: {limit} not every target holds more",
                thousands(small.connections),
                thousands(wanted)
            ));
        }
        for target in of_work().filter(|target| target.holds(room) < small.connections) {
            skipped.push(Skipped {
                name: target.name.to_owned(),
                because: format!(
                    "{name}: it holds {} connections {limit}",
                    thousands(target.holds(room))
                ),
                install: format!("ulimit -Hn {}", small.connections * 3),
            });
        }
        if targets.iter().any(|one| one.suits(&small) && one.holds(room) >= small.connections) {
            fit.push(small);
        }
    }
    fit
}
