//! The workers and pipes that a gateway does without where memory or descriptors are scarce.
//!
//! Both are for speed alone: another worker moves the bytes as well, and bulk that finds no pipe is
//! copied. In a small container all of them together would leave nothing for connections.

use super::limits::{buffers_bytes, connection_bytes, memory_bytes};
use super::shape::Means;
use crate::base::PIPE_BYTES;
use crate::config::{Auto, Config};
use crate::host::facts::Facts;

/// The means that fit: if the number of workers is "auto", as many as have buffers in three
/// quarters of the memory, and descriptors for a passive socket at every address; then pipes in a
/// quarter of the rest, or in what the number of connections that is asked for leaves.
pub(super) fn fitted(means: Means, facts: &Facts, config: &Config, asked: Option<u64>) -> Means {
    let room = memory_bytes(facts, config, &means);
    let wanted = means.splice_pipes;
    let mut fitted = means;
    fitted.splice_pipes = 0;
    if config.gateway.workers == Auto::Auto {
        let each = buffers_bytes(config, &fitted) / u64::from(fitted.workers);
        let most = u32::try_from(room / 4 * 3 / each.max(1)).unwrap_or(u32::MAX);
        fitted.workers = fitted.workers.min(most.max(1));
        while fitted.workers > 1 && fitted.held_by_descriptors() == 0 {
            fitted.workers -= 1;
        }
    }
    let rest = room.saturating_sub(buffers_bytes(config, &fitted));
    let for_pipes = match asked {
        Some(asked) => rest.saturating_sub(asked.saturating_mul(connection_bytes(&fitted))),
        None => rest / 4,
    };
    let each = for_pipes / u64::from(fitted.workers);
    fitted.splice_pipes = wanted.min(each / PIPE_BYTES as u64);
    fitted
}
