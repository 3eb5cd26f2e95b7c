//! Metrics of workers and their rings.

use super::{Family, Sink, Value};
use crate::metrics::reading::{Reading, Worker};

const WORKER: &[&str] = &["worker"];

pub(super) const FAMILIES: &[Family] = &[
    Family::gauge(
        "portcullis_worker_silent_seconds",
        WORKER,
        "Since the worker's last turn began; an idle worker turns once a second",
        |reading, out| {
            each(reading, out, |worker| Value::Number(worker.silent_seconds));
        },
    )
    .in_seconds(),
    Family::gauge(
        "portcullis_worker_slots",
        WORKER,
        "Connections that the worker has slots for",
        |reading, out| count(reading, out, |worker| worker.slots),
    ),
    Family::gauge(
        "portcullis_worker_slots_used",
        WORKER,
        "Slots that connections have; unequal workers show here",
        |reading, out| count(reading, out, |worker| worker.open),
    ),
    Family::counter(
        "portcullis_worker_turns",
        WORKER,
        "Turns of the loop; completions by turns is how much a turn brings",
        |reading, out| count(reading, out, |worker| worker.turns),
    ),
    Family::gauge(
        "portcullis_worker_timers",
        WORKER,
        "Connections with a deadline",
        |reading, out| count(reading, out, |worker| worker.timers),
    ),
    Family::counter(
        "portcullis_worker_timers_expired",
        WORKER,
        "Deadlines that came: timeouts, and looks again at what takes its time",
        |reading, out| count(reading, out, |worker| worker.timers_expired),
    ),
    Family::gauge(
        "portcullis_worker_buffers",
        WORKER,
        "Buffers in the worker's pool",
        |reading, out| count(reading, out, |worker| worker.buffers),
    ),
    Family::gauge(
        "portcullis_worker_buffers_free",
        WORKER,
        "Buffers that no connection holds",
        |reading, out| count(reading, out, |worker| worker.free_buffers),
    ),
    Family::counter(
        "portcullis_worker_buffers_starved",
        WORKER,
        "Receives that found no buffer (ENOBUFS) and waited for one",
        |reading, out| count(reading, out, |worker| worker.buffers_starved),
    ),
    Family::gauge(
        "portcullis_worker_starved_lanes",
        WORKER,
        "Places in the queue for a buffer",
        |reading, out| count(reading, out, |worker| worker.starved_lanes),
    ),
    Family::counter(
        "portcullis_worker_chunks_parked",
        WORKER,
        "Chunks moved out of the pool because their peer does not read",
        |reading, out| count(reading, out, |worker| worker.chunks_parked),
    ),
    Family::gauge(
        "portcullis_worker_parked_bytes",
        WORKER,
        "Memory that such chunks take",
        |reading, out| count(reading, out, |worker| worker.parked_bytes),
    )
    .in_bytes(),
    Family::counter(
        "portcullis_worker_spliced_bytes",
        WORKER,
        "Bytes of bulk that went through pipes and were never copied, as they left their source",
        |reading, out| count(reading, out, |worker| worker.spliced_bytes),
    )
    .in_bytes(),
    Family::counter(
        "portcullis_worker_splices_refused",
        WORKER,
        "Times that a lane of bulk found no pipe or descriptor and went on copying",
        |reading, out| count(reading, out, |worker| worker.splices_refused),
    ),
    Family::gauge(
        "portcullis_worker_splicing",
        WORKER,
        "Connections that have descriptors for splices",
        |reading, out| count(reading, out, |worker| worker.splicing),
    ),
    Family::counter(
        "portcullis_worker_accepts_rearmed",
        WORKER,
        "Accepts armed anew because they stayed silent while clients waited",
        |reading, out| count(reading, out, |worker| worker.accepts_rearmed),
    ),
    Family::counter(
        "portcullis_worker_accepts_pressed",
        WORKER,
        "Times that the kernel had no file, memory or port for a socket; accepting then rests",
        |reading, out| count(reading, out, |worker| worker.accepts_pressed),
    ),
    Family::counter(
        "portcullis_worker_overshoot",
        WORKER,
        "Clients accepted without a permit: never expected",
        |reading, out| count(reading, out, |worker| worker.overshoot),
    ),
    Family::counter(
        "portcullis_worker_cancels_repeated",
        WORKER,
        "Cancels asked for again because an operation had not ended",
        |reading, out| count(reading, out, |worker| worker.cancels_repeated),
    ),
    Family::counter(
        "portcullis_worker_quieted",
        WORKER,
        "Times that a connection went quiet: its receives gave way to waits without a buffer",
        |reading, out| count(reading, out, |worker| worker.quieted),
    ),
    Family::gauge(
        "portcullis_worker_rings",
        WORKER,
        "Kernel rings that the worker drives",
        |reading, out| count(reading, out, |worker| worker.rings),
    ),
    Family::counter(
        "portcullis_ring_enters",
        WORKER,
        "Calls into the kernel; submissions by enters is how well they are batched",
        |reading, out| count(reading, out, |worker| worker.ring_enters),
    ),
    Family::counter(
        "portcullis_ring_submissions",
        WORKER,
        "Operations handed to the kernel",
        |reading, out| count(reading, out, |worker| worker.submissions),
    ),
    Family::counter("portcullis_ring_completions", WORKER, "Completions read", |reading, out| {
        count(reading, out, |worker| worker.completions)
    }),
    Family::counter(
        "portcullis_ring_overflows",
        WORKER,
        "Turns in which a completion queue was full and the kernel kept completions back",
        |reading, out| count(reading, out, |worker| worker.queue_overflows),
    ),
    Family::counter(
        "portcullis_ring_completions_lost",
        WORKER,
        "Completions that the kernel lost for want of memory: operations that will never end",
        |reading, out| count(reading, out, |worker| worker.lost_completions),
    ),
    Family::counter(
        "portcullis_ring_completions_unknown",
        WORKER,
        "Completions of operations that were never started: never expected",
        |reading, out| count(reading, out, |worker| worker.unknown_completions),
    ),
    Family::counter(
        "portcullis_ring_completions_stale",
        WORKER,
        "Completions of an earlier life of their slot: never expected",
        |reading, out| count(reading, out, |worker| worker.stale_completions),
    ),
    Family::counter(
        "portcullis_ring_receive_retries",
        WORKER,
        "Receives that found a ring's buffer group empty while the pool was not, started again",
        |reading, out| count(reading, out, |worker| worker.receive_retries),
    ),
];

fn each(reading: &Reading, out: &mut Sink<'_>, value: fn(&Worker) -> Value<'_>) {
    for (index, worker) in reading.workers.iter().enumerate() {
        out(&[&index.to_string()], value(worker));
    }
}

fn count(reading: &Reading, out: &mut Sink<'_>, value: fn(&Worker) -> u64) {
    for (index, worker) in reading.workers.iter().enumerate() {
        out(&[&index.to_string()], Value::Count(value(worker)));
    }
}
