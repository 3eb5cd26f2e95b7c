//! What all scenarios share: their flags, and how they divide connections over threads.

use std::io;
use std::time::Duration;

use clap::Args;

use super::plan::{Plan, Reach, Size};
use super::secure::Secure;
use crate::engine::{Job, NetSetup, Phase, Until, hold_signals};
use crate::flags;

#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    secure: Secure,
    /// Threads of the generator, each with its own rings; one for each core by default
    #[arg(long, value_parser = flags::threads)]
    threads: Option<usize>,
    /// How long anything may take before it counts as hung
    #[arg(long, default_value = "20s", value_parser = flags::duration)]
    pub(crate) patience: Duration,
    /// How long a thread of the generator may be kept from its connections while it measures,
    /// before the run counts as invalid
    #[arg(long, default_value = "250ms", value_parser = flags::duration)]
    pub(crate) max_lag: Duration,
    /// Processes of the target (their children count, too), to report CPU and memory
    #[arg(long, value_delimiter = ',')]
    pub(crate) target_pid: Vec<u32>,
    /// Sets the sysctls that so many connections need, which are told in any case, and puts the
    /// old values back at the end. Not for two runs at one time
    #[arg(long)]
    apply_sysctls: bool,
    /// The result as one line of JSON also on a terminal, where it is a table else
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a buffer takes at least where there are handshakes: a hello of either side takes 1.5 KB.
const HANDSHAKE_BYTES: u32 = 4_096;

/// What a thread's pool is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    pub(crate) bytes: u32,
    pub(crate) count: u32,
}

impl Buffers {
    /// For messages of so many bytes.
    pub(crate) fn for_messages(bytes: u32) -> Buffers {
        let bytes = bytes.next_power_of_two().max(512);
        Buffers { bytes, count: ((64 << 20) / bytes).clamp(512, 16_384) }
    }

    /// The same where handshakes come first.
    fn for_handshakes(self) -> Buffers {
        Buffers { bytes: self.bytes.max(HANDSHAKE_BYTES), ..self }
    }
}

impl Common {
    /// Threads for so many connections.
    pub(crate) fn threads(&self, connections: u64) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(cores).clamp(1, connections.clamp(1, 256) as usize)
    }

    /// The plan for a run, printed.
    pub(crate) fn plan(&self, size: Size) -> io::Result<Plan> {
        if self.apply_sysctls {
            // From here on a signal waits until the run hears it, so that nothing stays set.
            hold_signals()?;
        }
        let towards = self.secure.towards()?;
        let mut plan = Plan::make(&self.reach, size, self.apply_sysctls)?;
        plan.towards = towards;
        Ok(plan)
    }

    /// A run through these phases.
    pub(crate) fn job(
        &self,
        plan: &Plan,
        phases: Vec<(Phase, Until)>,
        threads: usize,
        goal: u64,
    ) -> Job {
        Job {
            phases,
            threads,
            target_pids: self.target_pid.clone(),
            goal,
            talks: true,
            secured: plan.towards.is_some(),
            applied: plan.applied.clone(),
        }
    }

    /// One thread's setup.
    pub(crate) fn setup(&self, plan: &Plan, connections: u32, buffers: Buffers) -> NetSetup {
        let Buffers { bytes, count } =
            if plan.towards.is_some() { buffers.for_handshakes() } else { buffers };
        NetSetup {
            connections,
            buffer_bytes: bytes,
            buffer_count: count,
            listeners: Vec::new(),
            servers: plan.servers(),
            patience: self.patience,
            towards: plan.towards.clone(),
        }
    }
}

/// The share of `total` that thread `index` of `threads` has.
pub(crate) fn share(total: u64, index: usize, threads: usize) -> u64 {
    let (index, threads) = (index as u64, threads as u64);
    total / threads + u64::from(index < total % threads)
}
