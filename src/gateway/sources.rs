//! The sources of the control plane's readings, as they are at the start.

use std::path::Path;
use std::sync::Arc;

use super::host::Host;
use crate::access_log::AccessLog;
use crate::base::Clock;
use crate::budget::Budget;
use crate::control::{Present, Sources, WorkerHandle};
use crate::host::facts::{Facts, Given};
use crate::host::usage::ProcessStart;

/// The sources of a gateway whose workers turn.
pub(super) fn open(
    host: &Host,
    with_upstream: bool,
    clock: Clock,
    budget: Arc<Budget>,
    workers: Vec<WorkerHandle>,
    access_log: Option<AccessLog>,
    present: Present,
) -> Sources {
    Sources {
        clock,
        workers: workers.into(),
        budget,
        bound_by: host.bound_by.to_owned(),
        given: given(&host.facts),
        with_upstream,
        access_log,
        process_start: ProcessStart::read(Path::new("/")),
        present,
    }
}

/// The limits that facts were read with, to read them again.
fn given(facts: &Facts) -> Given {
    let memlock_bytes = facts.process.memlock_bytes.unwrap_or(u64::MAX);
    Given {
        files: (facts.process.files_soft, facts.process.files_hard),
        memlock_bytes: (memlock_bytes, memlock_bytes),
        locked_elsewhere_bytes: facts.process.locked_elsewhere_bytes,
        kernel: facts.kernel.clone(),
    }
}
