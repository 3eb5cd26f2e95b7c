//! What this host gives: cores, table sizes, and how many connections fit.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::GatewayError;
use crate::config::{Auto, Config, UpstreamKind};

/// Most entries of a ring's table of files, whatever the limit on open files (io_uring/rsrc.c).
const LARGEST_TABLE: u64 = 1 << 20;
/// Kernel memory of one established TCP socket, in slab: 3,860 bytes, and a poll armed on it: 260.
/// Measured on Linux 6.18.
const SOCKET_BYTES: u64 = 3_860 + 260;
/// Our own memory per connection.
const ENTRY_BYTES: u64 = 128;
/// Files that the rest of the host keeps to itself.
const FILES_RESERVED: u64 = 4_096;
/// Memory for parked bytes per worker: what thousands of peers that do not read may take of ours.
const PARKED_BYTES_MAX: usize = 256 << 20;

/// What was found, and what follows for the gateway.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) workers: usize,
    /// The cores to pin to, when pinning helps.
    pub(super) cores: Option<Vec<core_affinity::CoreId>>,
    /// Files in one ring's table.
    pub(super) table_entries: u32,
    pub(super) max_connections: u32,
}

impl Host {
    pub(super) fn read(config: &Config) -> Result<Host, GatewayError> {
        // Counts the CPU quota of the cgroup and the affinity mask in.
        let parallel = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let workers = match config.gateway.workers {
            Auto::Auto => parallel,
            Auto::Fixed(workers) => usize::from(workers),
        };
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let pinned = match config.gateway.pin_workers {
            // A quota below the cores, or more workers than cores, makes pinning harmful.
            Auto::Auto => workers == cores.len() && parallel == cores.len(),
            Auto::Fixed(pinned) => pinned && !cores.is_empty(),
        };
        Ok(Host {
            workers,
            cores: pinned.then_some(cores),
            table_entries: raise_file_limit(),
            max_connections: connections(config)?,
        })
    }

    /// Slots of each worker. The kernel spreads clients evenly but not exactly, so a worker has
    /// an eighth and a few more than its share, and never more than all. One that is full all the
    /// same has its clients served by the others.
    pub(super) fn slots_per_worker(&self) -> u32 {
        let share = self.max_connections.div_ceil(self.workers as u32);
        (share + share / 8 + 32).min(self.max_connections)
    }

    pub(super) fn parked_bytes_max(&self) -> usize {
        PARKED_BYTES_MAX
    }
}

/// Raises the soft limit on open files to the hard one, and says how large a table may be.
fn raise_file_limit() -> u32 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
    raised.min(LARGEST_TABLE) as u32
}

/// The limit on connections: what fits, or what was asked for if that fits.
fn connections(config: &Config) -> Result<u32, GatewayError> {
    let paired = config
        .upstreams
        .iter()
        .any(|upstream| matches!(upstream.kind, UpstreamKind::Servers { .. }));
    let sockets = if paired { 2 } else { 1 };
    let files = free_files().saturating_sub(FILES_RESERVED) / sockets;
    let memory_bytes = available_memory_bytes();
    let each_bytes = sockets * SOCKET_BYTES + ENTRY_BYTES;
    let memory = memory_bytes / 10 * 8 / each_bytes;
    let fits = u32::try_from(files.min(memory)).unwrap_or(u32::MAX).clamp(1, 100_000_000);
    let because = format!(
        "min({files} by fs.file-max at {sockets} files each, \
         {memory} by 80 % of {memory_bytes} bytes of memory at {each_bytes} bytes each)"
    );
    match config.gateway.max_connections {
        Auto::Auto => {
            tracing::info!(max_connections = fits, because, "the host decides");
            Ok(fits)
        }
        Auto::Fixed(asked) if asked > fits => {
            Err(GatewayError::TooManyConnections { asked, fits, because })
        }
        Auto::Fixed(asked) => Ok(asked),
    }
}

/// Files that the host may still open: fs.file-max less those in use.
fn free_files() -> u64 {
    let numbers = std::fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let mut numbers = numbers.split_whitespace().filter_map(|number| number.parse::<u64>().ok());
    match (numbers.next(), numbers.nth(1)) {
        (Some(used), Some(max)) => max.saturating_sub(used),
        _ => u64::from(u32::MAX),
    }
}

fn available_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).map_or(1 << 30, |kib| kib << 10)
}

/// The host's bound on every backlog.
pub(super) fn somaxconn() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    text.trim().parse().unwrap_or(4096)
}
