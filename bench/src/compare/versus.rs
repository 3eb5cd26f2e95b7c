//! `compare upgrade`: proxies that are upgraded while connections are held, in turns.

use std::io;
use std::process::ExitCode;

use clap::Args;

use super::series::Series;
use super::target::choose_upgrading;
use super::upgrade::PAUSE;
use super::work::{UPGRADE_CONNECTIONS, Work};
use super::{Options, about, fitting, notes, usage};
use crate::flags;

#[derive(Args)]
#[command(after_help = "Examples: all that are there; and two of them, three times:
  portcullis-bench compare upgrade --out upgrade.jsonl
  portcullis-bench compare upgrade --targets portcullis,haproxy --rounds 3

Each is upgraded in its own way, while connections are held and others come: portcullis by
`portcullis upgrade`, HAProxy by a reload of its master, nginx by a second master (USR2, then WINCH
and QUIT to the old one), Envoy by a hot restart. The old process ends when it has no connection any
more, or after --grace, as hard-stop-after, worker_shutdown_timeout and --parent-shutdown-time-s
have it. Counted are held connections that are right after its end, newcomers that were refused or
reset meanwhile, and the longest time in which none was served.")]
pub(crate) struct Versus {
    /// What to upgrade: portcullis, haproxy, nginx, envoy [default: all of these]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    targets: Vec<String>,
    /// Connections that are held [default: 9000, or as many as all hold]
    #[arg(long, value_parser = flags::connections)]
    connections: Option<u64>,
    /// New connections per second
    #[arg(long, default_value_t = 200, value_parser = flags::count_to::<100_000>)]
    churn: u64,
    /// How long an old process may keep its connections
    #[arg(long, default_value = "10s", value_parser = flags::whole_seconds::<3_600>)]
    grace: u64,
    #[command(flatten)]
    options: Options,
}

impl Versus {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let chosen = choose_upgrading(&self.targets, &self.options.programs);
        let (targets, mut skipped) = chosen.map_err(usage)?;
        let room = self.options.room();
        let mut notes = notes(&targets);
        let connections = self.connections.unwrap_or(UPGRADE_CONNECTIONS);
        let seconds = self.grace + (PAUSE * 2).as_secs();
        let work = Work::upgrade(connections, self.churn, seconds);
        let works = fitting(vec![work], &targets, room, &mut skipped, &mut notes);
        let mut rig = self.options.rig(room, &mut notes)?;
        rig.grace_seconds = self.grace;
        for one in &skipped {
            eprintln!("skipped: {}: {}: {}", one.name, one.because, one.install);
        }
        if targets.is_empty() || works.is_empty() {
            return Err(usage("there is nothing to upgrade".to_owned()));
        }
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        let line = about::line("compare", &targets, &skipped, &notes);
        Series::new(rig, &targets, &works, self.options.rounds, self.options.out()?).run(&line)
    }
}
