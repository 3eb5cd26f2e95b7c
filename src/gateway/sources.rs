//! The sources of the control plane's readings, as they are at the start.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::host::Host;
use crate::access_log::AccessLogs;
use crate::base::Clock;
use crate::budget::Budget;
use crate::checks::Checks;
use crate::control::{Drains, Events, Present, Searching, Sources, WorkerHandle};
use crate::host::facts::{Facts, Given};
use crate::host::usage::ProcessStart;

/// The sources of a gateway whose workers turn, without an access log and searches.
pub(super) fn open(
    host: &Host,
    with_upstream: bool,
    (clock, events): (Clock, Arc<Events>),
    budget: Arc<Budget>,
    workers: Vec<WorkerHandle>,
    present: Present,
) -> Sources {
    Sources {
        checks: Mutex::new(Checks::new(clock.clone())),
        clock,
        workers: workers.into(),
        budget,
        bound_by: host.bound_by.to_owned(),
        given: given(&host.facts),
        with_upstream,
        log: None,
        access_log: AccessLogs::default(),
        drains: Drains::default(),
        searches: Mutex::new(Searching::nothing(&events).searches),
        events,
        process_start: ProcessStart::read(Path::new("/")),
        present,
        sentry: Mutex::default(),
        connects: Mutex::default(),
    }
}

/// The limits that facts were read with, to read them again.
fn given(facts: &Facts) -> Given {
    let memlock_bytes = facts.process.memlock_bytes.unwrap_or(u64::MAX);
    Given {
        files: (facts.process.files_soft, facts.process.files_hard),
        memlock_bytes: (memlock_bytes, memlock_bytes),
        locked_elsewhere_bytes: facts.process.locked_elsewhere_bytes,
        // They have left when this is read again.
        leaving_connections: 0,
        kernel: facts.kernel.clone(),
    }
}
