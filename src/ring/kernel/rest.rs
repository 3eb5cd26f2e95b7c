//! Memory that a set of rings gives back once a second, and the completions it awaits before.

use super::KernelRing;
use super::memory::Memory;
use crate::base::Errno;

/// What lost completions end a turn with: operations and buffers are gone with them for good, their
/// connections would wait for ever, and no memory of theirs could be used again.
const LOST: Errno = Errno::EOVERFLOW;

/// Refuses to go on once the kernel has lost a completion.
pub(super) fn require_all(lost_completions: u64) -> Result<(), Errno> {
    if lost_completions == 0 {
        return Ok(());
    }
    tracing::error!(
        lost_completions,
        "the kernel had no memory for completions and lost them; their connections would wait for \
         ever, so the worker ends; give the host or its memory cgroup more memory"
    );
    Err(LOST)
}

impl KernelRing {
    /// Takes back what lies in groups without need.
    ///
    /// Not while a completion is unread: it may tell of a buffer that the group seems to have. Nor
    /// while the kernel has a receive of one piece: an io-wq thread may run one that no poll could
    /// be armed for, and take a buffer meanwhile. Receives that go on never run there.
    pub(super) fn rest_groups(&mut self) {
        let Memory { pool, groups, .. } = &mut *self.memory;
        for (table, group) in self.tables.iter_mut().zip(groups) {
            let receives = table.receives.armed();
            if table.queue.is_read() && !table.receives.may_run_elsewhere() {
                group.rest(pool, &mut table.queue, receives);
            }
        }
    }
}
