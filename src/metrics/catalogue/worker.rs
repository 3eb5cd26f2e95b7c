//! The numbers of workers and their rings.

use crate::metrics::Counter;
use crate::metrics::catalogue::{Reading, Show};
use crate::metrics::declare::counters;
use crate::metrics::told::Leaving;

counters! {
    /// The counters of the worker itself. Gauges of the present state are set once a turn.
    storage WorkerOwnCounters;
    /// A worker and its ring.
    reading Worker;
    labels ["worker"], each by each, and of RingCounters;

    kept beat_millis: Counter,
        "When the last turn began, in milliseconds of the gateway's clock: the heartbeat";
    kept leaving: Counter,
        "The stage of its farewell: 0 none, 1 it drains, 2 it ends the remaining connections";
    kept drained: Counter,
        "1 from when its drain has left it no connection and no accept, until a cancel or its end";
    told leaving: Leaving, "The stage of its farewell";
    told silent_seconds: f64,
        "Since the worker's last turn began; an idle worker turns once a second"
        => Gauge "portcullis_worker_silent_seconds";
    counted generation: Counter, "Which config the worker goes by: one more at each reload"
        => Gauge "portcullis_worker_config_generation";
    counted slots: Counter, "Connections that the worker has slots for"
        => Gauge "portcullis_worker_slots";
    counted open: Counter, "Slots that connections have; unequal workers show here"
        => Gauge "portcullis_worker_slots_used";
    counted turns: Counter, "Turns of the loop; completions by turns is how much a turn brings"
        => Counter "portcullis_worker_turns";
    counted timers: Counter, "Connections with a deadline"
        => Gauge "portcullis_worker_timers";
    counted timers_expired: Counter,
        "Deadlines that passed: timeouts, and periodic checks of slow steps"
        => Counter "portcullis_worker_timers_expired";
    counted buffers: Counter, "Buffers in the worker's pool"
        => Gauge "portcullis_worker_buffers";
    counted free_buffers: Counter, "Buffers that no connection holds"
        => Gauge "portcullis_worker_buffers_free";
    counted buffers_starved: Counter, "Receives that found no buffer (ENOBUFS) and waited for one"
        => Counter "portcullis_worker_buffers_starved";
    counted held: Counter, "Clients that wait or sit in a tarpit, as their source is at a limit"
        => Gauge "portcullis_worker_held_clients";
    counted handshaking: Counter, "Handshakes of TLS with clients that are under way"
        => Gauge "portcullis_worker_tls_handshakes";
    counted handshakes_waiting: Counter, "Clients that wait until their handshake may begin"
        => Gauge "portcullis_worker_tls_waiting";
    counted sessions: Counter, "Sides of connections that speak TLS"
        => Gauge "portcullis_worker_tls_sessions";
    counted sessions_awake: Counter, "Those among them whose keys are expanded; the others sleep"
        => Gauge "portcullis_worker_tls_awake";
    counted gathered_bytes: Counter, "Bytes of TLS records that are not whole, or not taken yet"
        => Gauge "portcullis_worker_tls_gathered_bytes";
    counted starved_lanes: Counter, "Places in the queue for a buffer"
        => Gauge "portcullis_worker_starved_lanes";
    ring chunks_parked, "Chunks moved out of the pool because their peer does not read"
        => Counter "portcullis_worker_chunks_parked";
    ring parked_bytes, "Memory that such chunks take"
        => Gauge "portcullis_worker_parked_bytes";
    ring spliced_bytes,
        "Bytes of bulk that went through pipes and were never copied, as they left their source"
        => Counter "portcullis_worker_spliced_bytes";
    counted splices_refused: Counter,
        "Times that a lane of bulk found no pipe or descriptor and went on copying"
        => Counter "portcullis_worker_splices_refused";
    ring splicing, "Connections that have descriptors for splices"
        => Gauge "portcullis_worker_splicing";
    counted accepts_rearmed: Counter,
        "Accepts armed again because they stayed silent while clients waited"
        => Counter "portcullis_worker_accepts_rearmed";
    counted accepts_pressed: Counter,
        "Times that the kernel had no file, memory or port for a socket; accepting then rests"
        => Counter "portcullis_worker_accepts_pressed";
    counted overshoot: Counter, "Clients accepted without a permit: never expected"
        => Counter "portcullis_worker_overshoot";
    counted cancels_repeated: Counter,
        "Cancels asked for again because an operation had not ended"
        => Counter "portcullis_worker_cancels_repeated";
    counted quieted: Counter,
        "Times that a connection went quiet: its receives gave way to waits without a buffer"
        => Counter "portcullis_worker_quieted";
    counted cut_short: Counter,
        "Resets passed on before all bytes ahead of them: the receiver took none for 5 seconds"
        => Counter "portcullis_worker_cut_short";
    ring rings, "Kernel rings that the worker drives"
        => Gauge "portcullis_worker_rings";
    ring ring_enters,
        "Calls into the kernel; submissions by enters is how well they are batched"
        => Counter "portcullis_ring_enters";
    ring submissions, "Operations handed to the kernel"
        => Counter "portcullis_ring_submissions";
    ring completions, "Completions read"
        => Counter "portcullis_ring_completions";
    ring queue_overflows,
        "Turns in which a completion queue was full and the kernel kept completions back"
        => Counter "portcullis_ring_overflows";
    ring lost_completions,
        "Completions that the kernel lost for want of memory: operations that will never end"
        => Counter "portcullis_ring_completions_lost";
    ring unknown_completions, "Completions of operations that were never started: never expected"
        => Counter "portcullis_ring_completions_unknown";
    counted stale_completions: Counter,
        "Completions of an earlier life of their slot: never expected"
        => Counter "portcullis_ring_completions_stale";
    ring receive_retries,
        "Receives that found a ring's buffer group empty while the pool was not, started again"
        => Counter "portcullis_ring_receive_retries";
}

fn each(reading: &Reading, show: &mut Show<'_, Worker>) {
    for (index, worker) in reading.workers.iter().enumerate() {
        show(&[&index.to_string()], worker);
    }
}
