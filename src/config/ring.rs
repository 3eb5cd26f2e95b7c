//! `[ring]`: the sizes of each worker's ring.

use std::time::Duration;

use crate::base::limits::{
    BUFFER_BYTES, BUFFERS, COMPLETION_ENTRIES_ASKED, PIPES_MAX, SUBMISSION_ENTRIES,
};
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::form::{Number, OrOff, PowerOfTwo, Size, Span, wide};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;

pub(super) const RING: SectionKeys = SectionKeys {
    section: "ring",
    about: "These are per worker, and divided among its kernel rings where it needs several.",
    keys: &[RingConfig::KEYS],
    later: &[],
};

keys! {
    /// Sizes per worker, divided among its kernel rings when it has several.
    RingConfig;

    /// Operations handed to the kernel in one go.
    ///
    /// Raise it when workers enter the kernel many times per turn under bursts.
    "submission_entries" submission_entries: u32 = 4096, Restart,
        PowerOfTwo(wide(SUBMISSION_ENTRIES)), "write the default, 4096";

    /// Results that may wait for a worker, at least twice submission_entries. It is also the most
    /// clients that one burst can bring, and that much room is kept free near the limit.
    ///
    /// Raise it when completions overflow; lower it when small tables should be filled to the last
    /// slot at full speed.
    "completion_entries" completion_entries: u32 = 16384, Restart,
        PowerOfTwo(wide(COMPLETION_ENTRIES_ASKED)), "write the default, 16384";

    /// One receive brings at most this much. buffer_size x buffer_count, and 192 bytes more for
    /// each, is the memory of a worker for bytes on their way; an idle connection holds none of it,
    /// and what nobody needed for a second goes back to the system.
    ///
    /// Raise it when few connections move bulk data; lower it when many move small messages.
    "buffer_size" buffer_bytes: u32 = "16KiB", Restart,
        Size(wide(BUFFER_BYTES)), "write the default, \"16KiB\"";

    /// Buffers that a worker's connections share.
    ///
    /// Raise it when connections wait for a free buffer; it should exceed the connections of a
    /// worker that have bytes on their way at the same moment.
    "buffer_count" buffer_count: u32 = 1024, Restart,
        Number(wide(BUFFERS)), "write how many connections may have bytes on their way at once";

    /// How long a worker that has nothing to do waits for a batch of results before the first one
    /// will do (Linux 6.12). What comes alone, after a longer silence, is not kept waiting. Over
    /// epoll there are no batches, and a warning says that it is without effect.
    ///
    /// Set it to 100us to 400us when many connections trickle and CPU matters more than some
    /// hundred microseconds: a message is read twice on its way there and back.
    "batch_wait" batch_wait: Option<Duration> = "off", Live,
        OrOff(Span::Of(Duration::from_micros(10)..=Duration::from_millis(10))),
        "write the default, \"off\", or 200us where CPU is short";

    /// A connection without a byte in either direction for this long waits without a receive: 1220
    /// bytes of kernel memory less for one to a server, and a wait before each of the next 8
    /// receives of a side.
    ///
    /// Lower it when memory binds and clients speak seldom; raise it above the interval of your
    /// clients' heartbeats when CPU binds.
    "quiet_after" quiet_after: Duration = "10s", Live,
        Span::Any, "write the default, \"10s\"";

    /// Pipes for bulk, and connections that use them at once. A connection whose receives keep
    /// filling their buffer goes over to splices, which never copy; beyond this many, and before
    /// Linux 6.8, bulk is copied. A pipe holds up to 1MiB of the kernel's memory, which counts
    /// against what connections may take, and fs.pipe-user-pages-soft makes pipes smaller for a
    /// user with many. It takes two of the process's descriptors, and so does a connection that
    /// splices; slots come first where those are short. A connection whose reader stops keeps its
    /// pipe.
    ///
    /// Raise it when portcullis_worker_splices_refused grows and CPU binds, and raise
    /// fs.pipe-user-pages-soft where `portcullis doctor` says so; write 0 when memory binds.
    "splice_pipes" splice_pipes: u32 = 64, Restart,
        Number(0..=PIPES_MAX as u64), "write how many connections may move bulk uncopied at once";
}

pub(super) fn ring(section: &Section<'_>, problems: &mut Vec<ConfigError>) -> RingConfig {
    let ring = RingConfig::read(section, problems);
    if ring.completion_entries < 2 * ring.submission_entries {
        let rule = format!(
            "completion_entries ({}) must be at least twice submission_entries ({})",
            ring.completion_entries, ring.submission_entries
        );
        let value = section.get("completion_entries").or_else(|| section.get("submission_entries"));
        problems.extend(value.map(|value| value.error(rule, "raise the one or lower the other")));
    }
    ring
}
