//! This host as the gateway's parts need it: its limits raised, workers, cores to pin to.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::GatewayError;
use super::trial::{Trial, tried};
use crate::base::{Clock, Errno};
use crate::config::{Auto, Config, Io};
use crate::doctor::{Certificate, Diagnosis, Lack, Shape, Verdict, lacks_beside_binds, thousands};
use crate::host::facts::{Facts, Given, Kernel};
use crate::host::kernel_files::KernelFiles;
use crate::host::limits;
use crate::ring::{Features, HostSays, ProbeError, RingError, lockable_bytes, probe};
use crate::tls::{ListenerMaterials, LoadError, Loaded};

/// Memory for parked bytes per worker: what thousands of peers that do not read may take of ours.
pub(super) const PARKED_BYTES_MAX: usize = 256 << 20;

/// The host's facts, and the gateway's shape that follows from them.
#[derive(Debug)]
pub(super) struct Host {
    /// How connections are divided.
    pub(super) shape: Shape,
    /// The cores to pin to, when pinning helps.
    pub(super) cores: Option<Vec<core_affinity::CoreId>>,
    pub(super) max_connections: u32,
    /// The limit that this comes from.
    pub(super) bound_by: &'static str,
    /// net.core.somaxconn and the rest of what the host says.
    pub(super) facts: Facts,
}

/// What this process on this host can hold with `config`: as many as `connections`, or as the
/// config says. And what the host lacks for it. Changes nothing.
pub fn diagnose(config: &Config, connections: Option<u64>) -> Diagnosis {
    let Trial { lacks, notes } = tried(config);
    let diagnosis =
        diagnosis(config, connections, given(config.gateway.io)).lacking(lacks).noting(&notes);
    let now = Clock::system().calendar();
    match Loaded::load(config, now) {
        Ok(loaded) => diagnosis.certified(&certificates(&loaded, now)),
        Err(errors) => diagnosis.lacking(errors.into_iter().map(lack).collect()),
    }
}

/// Why a start with this config would be refused for what this host can hold.
pub fn refused(config: &Config) -> Option<String> {
    let given = given(config.gateway.io);
    if let Some(refused) = given.kernel.refused.clone() {
        return Some(refused);
    }
    let diagnosis = diagnosis(config, None, given);
    (!diagnosis.holds()).then(|| {
        let (asked, because) = (diagnosis.asked, diagnosis.refusal());
        GatewayError::DoesNotFit { asked, because }.to_string()
    })
}

/// What this process may have, as it is.
fn given(io: Io) -> Given {
    let (files, memlock_bytes) = (limits::files(), limits::locked_memory());
    let kernel = kernel(io)
        .unwrap_or_else(|error| Kernel { refused: Some(error.to_string()), ..Kernel::default() });
    Given { files, memlock_bytes, locked_elsewhere_bytes: 0, leaving_connections: 0, kernel }
}

/// Certificates with their days.
fn certificates(loaded: &Loaded, now: SystemTime) -> Vec<Certificate> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let of_listener = |(name, tls): (&String, &Arc<ListenerMaterials>)| {
        let days = tls.certificates.facts().map(|facts| Certificate {
            key: format!("listener.{name}.tls"),
            title: facts.title().to_owned(),
            left_seconds: facts.not_after - now,
        });
        days.collect::<Vec<_>>()
    };
    loaded.listeners.iter().flat_map(of_listener).collect()
}

/// A start fails of a file that is of no use.
fn lack(error: LoadError) -> Lack {
    let LoadError { table, files, says, remedy, .. } = error;
    Lack { key: table, value: files, says, remedy }
}

/// What the user's other processes have locked, nobody says: where that bounds anything, the
/// memory that the rings would take is locked for a moment.
fn diagnosis(config: &Config, connections: Option<u64>, mut given: Given) -> Diagnosis {
    let diagnose = |given| Diagnosis::new(Facts::read(Path::new("/"), given), config, connections);
    let alone = diagnose(given.clone());
    let has_rings = given.kernel.refused.is_none() && !given.kernel.epoll;
    let limit = alone.facts.process.memlock_bytes.filter(|_| has_rings);
    let wanted = alone.locked_bytes;
    let lockable = limit.and_then(|limit| Some((limit, lockable_bytes(wanted.min(limit))?)));
    match lockable {
        Some((limit, bytes)) if bytes < wanted.min(limit) => {
            given.locked_elsewhere_bytes = limit - bytes;
            diagnose(given)
        }
        _ => alone,
    }
}

fn host_says() -> HostSays {
    let files = KernelFiles::of_this_host();
    let mode = files.field("proc/self/status", "Seccomp:");
    HostSays {
        release: files.text("proc/sys/kernel/osrelease").unwrap_or_else(|| "(unknown)".into()),
        io_uring_disabled: files.word("proc/sys/kernel/io_uring_disabled"),
        seccomp_mode: mode.and_then(|mode| mode.parse().ok()),
    }
}

/// What connections go over on this host.
fn kernel(io: Io) -> Result<Kernel, ProbeError> {
    if io == Io::Epoll {
        return Ok(Kernel::over_epoll(None));
    }
    match probe(&host_says()) {
        Ok(Features { addresses, source_addresses, unrestricted, confines, .. }) => {
            let unrestricted = unrestricted.map(|errno| errno.to_string());
            Ok(Kernel { addresses, source_addresses, unrestricted, confines, ..Kernel::default() })
        }
        Err(error) if io == Io::Auto && error.is_lasting() => {
            Ok(Kernel::over_epoll(Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

impl Host {
    /// Raises the limits of this process, and refuses what the host lacks or cannot hold. What
    /// `leaving` connections of others take will be free.
    pub(super) fn prepare(config: &Config, leaving: u64) -> Result<Host, GatewayError> {
        let kernel = kernel(config.gateway.io).map_err(GatewayError::IoUring)?;
        let lacks = lacks_beside_binds(config);
        if !lacks.is_empty() {
            return Err(GatewayError::Lacks(lacks));
        }
        let given = Given {
            files: limits::raise_files(),
            memlock_bytes: limits::raise_locked_memory(),
            locked_elsewhere_bytes: 0,
            leaving_connections: leaving,
            kernel,
        };
        let diagnosis = diagnosis(config, None, given);
        if !diagnosis.holds() {
            let asked = diagnosis.asked;
            return Err(GatewayError::DoesNotFit { asked, because: diagnosis.refusal() });
        }
        let host = Host {
            shape: diagnosis.shape,
            cores: cores(config, &diagnosis),
            max_connections: diagnosis.max_connections(),
            bound_by: match diagnosis.asked {
                Some(_) => "gateway.max_connections",
                None => diagnosis.binding().name,
            },
            facts: diagnosis.facts.clone(),
        };
        host.report(&diagnosis);
        Ok(host)
    }

    /// Connections go over epoll.
    pub(super) fn is_over_epoll(&self) -> bool {
        self.facts.kernel.epoll
    }

    pub(super) fn workers(&self) -> usize {
        self.shape.workers as usize
    }

    /// Logs a few lines at the start: how much the gateway may hold and why, and the remedies.
    fn report(&self, diagnosis: &Diagnosis) {
        let Shape {
            workers,
            rings_per_worker,
            table_entries,
            slots_per_worker,
            pipes_per_worker,
            descriptors_per_worker: _,
        } = self.shape;
        tracing::info!(
            io = if self.is_over_epoll() { "epoll" } else { "io_uring" },
            workers,
            pinned = self.cores.is_some(),
            rings_per_worker,
            table_entries,
            slots_per_worker,
            pipes_per_worker,
            kernel = %self.facts.release,
            "rings"
        );
        let arithmetic = diagnosis.equation();
        let (max_connections, bound_by) = (self.max_connections, self.bound_by);
        tracing::info!(max_connections, bound_by, arithmetic, "budget");
        if diagnosis.asked.is_none() {
            let limit = diagnosis.binding();
            tracing::info!(scope = limit.scope.word(), arithmetic = limit.arithmetic, "bound");
        }
        for limit in diagnosis.exceeded() {
            tracing::warn!(
                limit = limit.name,
                connections = %thousands(limit.connections),
                arithmetic = limit.arithmetic,
                "the budget exceeds what this allows"
            );
        }
        let container = self.facts.process.container;
        for check in diagnosis.checks.iter().filter(|one| one.verdict == Verdict::Warning) {
            let remedies = check.remedies.iter().map(|remedy| remedy.command(container));
            let remedy = remedies.collect::<Vec<_>>().join("; ");
            tracing::warn!(of = check.name, value = check.value, remedy, "{}", check.says);
        }
    }
}

/// The same error, or the arithmetic behind it: where rings found no memory although it was there a
/// moment before, another process of this user has locked it meanwhile.
pub(super) fn explained(error: GatewayError, config: &Config, facts: &Facts) -> GatewayError {
    let GatewayError::Ring(RingError { errno: Some(Errno::ENOMEM), .. }) = &error else {
        return error;
    };
    let memlock_bytes = limits::locked_memory();
    let Facts { kernel, leaving_connections, .. } = facts.clone();
    let files = limits::files();
    let given =
        Given { files, memlock_bytes, locked_elsewhere_bytes: 0, leaving_connections, kernel };
    let diagnosis = diagnosis(config, None, given);
    if diagnosis.holds() {
        return error;
    }
    GatewayError::DoesNotFit { asked: diagnosis.asked, because: diagnosis.refusal() }
}

/// The cores to pin to: none where a quota below the cores, or more workers than cores, makes
/// pinning harmful.
fn cores(config: &Config, diagnosis: &Diagnosis) -> Option<Vec<core_affinity::CoreId>> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let workers = diagnosis.shape.workers as usize;
    let pinned = match config.gateway.pin_workers {
        Auto::Auto => workers == cores.len() && diagnosis.facts.cores() as usize == cores.len(),
        Auto::Fixed(pinned) => pinned && !cores.is_empty(),
    };
    pinned.then_some(cores)
}
