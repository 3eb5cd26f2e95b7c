//! One work over Portcullis with one key of its config at many values.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::series::Series;
use super::setting::{self, Setting};
use super::target::{self, Target};
use super::work::Work;
use super::{Options, about, notes, usage};
use crate::result::OURS;

#[derive(Args)]
#[command(
    after_help = "Example: how large a buffer should be, for messages over 1,000 connections:
  portcullis-bench sweep --set ring.buffer_size=4KiB,16KiB,64KiB --work pingpong-1000 --rounds 3

A value that TOML reads as one (16, true, \"16\") is that; any other (4KiB, off) is text. Every
value is checked by `portcullis check` before anything starts. One key at a time: for two, sweep one
of them for each --config that has the other."
)]
pub(crate) struct Sweep {
    /// The key, and its values
    #[arg(long, value_name = "KEY=VALUE,VALUE,…")]
    set: String,
    /// What to do: one of `compare`'s works
    #[arg(long, default_value = "pingpong-1000")]
    work: String,
    /// The config that the values are written into. Its one listener and its one upstream lead from
    /// the generator to the backend; everything else stays [default: what `compare` gives it]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Sweep {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let settings = setting::parse(&self.set).map_err(|why| usage(format!("--set {why}")))?;
        let works = [Work::parse(&self.work, self.options.seconds).map_err(usage)?];
        let (found, missing) =
            target::choose(&[OURS.to_owned()], &self.options.programs).map_err(usage)?;
        let Some(base) = found.into_iter().next() else {
            let words = missing.iter().map(|one| format!("{}: {}", one.because, one.install));
            return Err(usage(format!("{OURS}: {}", words.collect::<Vec<_>>().join("; "))));
        };
        let base = self.based(base)?;
        let targets: Vec<Target> =
            settings.iter().map(|setting| with(base.clone(), setting.clone())).collect();
        let room = self.options.room();
        let mut notes = notes(&targets[..1]);
        let mut rig = self.options.rig(room, &mut notes)?;
        for target in &targets {
            if let Some(proxy) = &target.proxy
                && let Err(why) = rig.check(proxy, works[0].connections)
            {
                return Err(usage(format!("--set {}:\n{why}", target.row())));
            }
        }
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        let line = about::line("sweep", &targets, &[], &notes);
        Series::new(rig, &targets, &works, self.options.rounds, self.options.out()?).run(&line)
    }

    /// With the config that the user gives.
    fn based(&self, mut base: Target) -> io::Result<Target> {
        if let (Some(path), Some(proxy)) = (&self.config, &mut base.proxy) {
            let mut template = setting::template_of(path).map_err(usage)?;
            if let Some(workers) = self.options.workers {
                let workers = Setting { key: "gateway.workers".into(), value: workers.to_string() };
                template = workers.written_into(&template).map_err(usage)?;
            }
            let name = path.file_name().unwrap_or_default();
            (proxy.config, proxy.template) = (name.to_string_lossy().into_owned(), template);
        }
        Ok(base)
    }
}

fn with(mut target: Target, setting: Setting) -> Target {
    if let Some(proxy) = &mut target.proxy {
        proxy.setting = Some(setting);
    }
    target
}
