//! Sets the access log up: its file, a queue of each worker, the thread that writes.

use std::sync::Arc;

use super::GatewayError;
use crate::access_log::{AccessLog, Sink, Writing};
use crate::base::Clock;
use crate::config::{AccessPath, Config};
use crate::worker::{AccessPlan, AccessQueue};

/// Whether there is an access log.
pub(super) fn is_on(config: &Config) -> bool {
    config.access_log.path != AccessPath::Off
}

/// Opens its file, before anybody is served: what is wrong is said at once.
pub(super) fn open(config: &Config) -> Result<Option<Sink>, GatewayError> {
    Sink::open(&config.access_log.path).map_err(failed(config))
}

/// A queue for each worker.
pub(super) fn queues(config: &Config, workers: usize) -> Vec<Arc<AccessQueue>> {
    let workers = if is_on(config) { workers } else { 0 };
    let lines = config.access_log.queue_lines as usize;
    (0..workers).map(|_| Arc::new(AccessQueue::new(lines))).collect()
}

/// A worker's part in the access log.
pub(super) fn plan(
    config: &Config,
    queues: &[Arc<AccessQueue>],
    worker: usize,
) -> Option<AccessPlan> {
    let (openings, empty) = (config.access_log.openings, config.access_log.empty);
    queues.get(worker).map(|queue| AccessPlan { notes: queue.clone(), openings, empty })
}

/// Starts to write.
pub(super) fn start(
    config: &Config,
    sink: Option<Sink>,
    queues: Vec<Arc<AccessQueue>>,
    clock: &Clock,
) -> Result<(Option<AccessLog>, Option<Writing>), GatewayError> {
    let Some(sink) = sink else { return Ok((None, None)) };
    let started = AccessLog::start(sink, &config.access_log, queues, clock.clone());
    let (log, writing) = started.map_err(failed(config))?;
    Ok((Some(log), Some(writing)))
}

fn failed(config: &Config) -> impl Fn(std::io::Error) -> GatewayError {
    |error| GatewayError::AccessLog(config.access_log.path.clone(), error)
}
