//! What must hold: of every pair of peers when a run is over, and of the books at every moment.

use std::sync::Arc;
use std::time::Duration;

use portcullis::base::OpKind;
use portcullis::budget::Budget;
use portcullis::config::AtLimit;
use portcullis::conn::Wiring;
use portcullis::ring::{ConnIndex, Operation};

use crate::ends::End as Ended;
use crate::link::{End, Link};
use crate::ring::{Op, SimRing};
use crate::scenario::Scenario;
use crate::secure;

/// Every client that a worker holds, and every credit for one more, is covered by a permit, except
/// those that are to be reset at a limit.
pub fn check_permits(
    rings: &[&SimRing],
    budget: &Budget,
    quotas: &[Option<Arc<Budget>>],
    at_limit: AtLimit,
) {
    let served = |listener: Option<usize>| -> u32 {
        rings.iter().map(|ring| ring.served(listener)).sum::<u32>()
    };
    let held = match at_limit {
        AtLimit::Reset => served(None),
        AtLimit::Queue | AtLimit::Evict => {
            rings.iter().map(|r| r.live_clients() + r.armed_credits()).sum()
        }
    };
    let leased = budget.limit() - budget.free();
    assert!(held <= leased, "{held} clients and credits on {leased} permits of {}", budget.limit());
    for (listener, quota) in quotas.iter().enumerate() {
        let Some(quota) = quota else { continue };
        let (held, limit) = (served(Some(listener)), quota.limit());
        assert!(held <= limit, "{held} clients of listener {listener}, permits for {limit}");
    }
}

/// A pause that is carried out leaves no accept that could bring a client.
pub fn check_still(rings: &[&SimRing], listener: usize) {
    let armed = |ring: &SimRing| ring.accepts.iter().any(|a| a.listener == listener && !a.over);
    assert!(!rings.iter().any(|ring| armed(ring)), "an accept is armed on a paused listener");
}

/// No receive waits on a connection that has been quiet for long. `after` is when it should go; one
/// cancel may fail, and many connections take turns.
pub fn check_quiet(ring: &SimRing, after: Duration) {
    const SLACK_MILLIS: u64 = 2500;
    let most = 2 * after.as_millis() as u64 + SLACK_MILLIS;
    for op in ring.ops.iter().filter(|op| op.operation == Operation::Receive && !op.over) {
        // A handshake has a time of its own.
        let link = ring.link_at(op.token.conn, op.token.side).map(|link| &ring.links[link]);
        if link.is_some_and(|link| link.secure.is_some() && !link.joined) {
            continue;
        }
        let quiet = is_quiet(ring, op.token.conn, op.started, most);
        assert!(!quiet, "a receive waits on a quiet connection: {:?}", op.token);
    }
    for &slot in &ring.pipes.installed {
        let conn = ConnIndex(slot);
        // A lane whose peer does not read goes on where it was when the peer reads again.
        let sends = |op: &Op| matches!(op.token.kind, OpKind::WaitWritable | OpKind::Send);
        let stalls = |op: &Op| op.token.conn == conn && sends(op);
        let stalled = ring.ops.iter().any(stalls);
        let quiet = is_quiet(ring, conn, 0, most);
        assert!(stalled || !quiet, "descriptors on a quiet connection: {slot}");
    }
}

/// Nothing has come to a connection for too long, `since` a moment at the earliest, it is not
/// ending and no reset is about to end it.
pub fn is_quiet(ring: &SimRing, conn: ConnIndex, since: u64, most_millis: u64) -> bool {
    let slot = conn.0 as usize;
    let links = ring.slots.iter().filter_map(|side| side[slot]);
    let reset = links.into_iter().any(|link| ring.links[link].rst_in);
    !reset && !ring.is_ending(conn) && ring.patient - ring.heard[slot].max(since) > most_millis
}

/// Everything that a ring lent has come back.
pub fn check_home(ring: &SimRing) {
    let buffers = &ring.buffers;
    assert_eq!(buffers.free(), buffers.all(), "pool buffers did not come home");
    assert_eq!(buffers.parked_bytes(), 0, "parked bytes did not come home");
    for (side, slots) in ring.slots.iter().enumerate() {
        let filled = slots.iter().flatten().count();
        assert_eq!(filled, 0, "slots of side {side} did not come home");
    }
    ring.pipes.check_home();
    assert!(ring.ops.is_empty(), "operations are in flight: {}", ring.dump());
}

/// What became of every client of a ring whose worker has returned; `held`: some were held by their
/// peers until the stop.
pub fn judge(ring: &SimRing, scenario: &Scenario, held: bool) {
    for (&client, &listener) in &ring.origin {
        let ordered = ring.ends.ordered_for(listener, scenario.wirings[listener]);
        let name = format!("client {client}");
        let link = &ring.links[client];
        assert!(link.closed, "{name} was accepted and neither served nor reset");
        let end = ring.ends.of(client);
        let end = end.unwrap_or_else(|| panic!("{name} has no end in its slot"));
        let is_secured = scenario.is_any_secured(listener);
        end.check(&name, scenario, listener, ordered);
        let outside = end.is_from_outside();
        match scenario.wirings[listener] {
            _ if !link.served => {
                // Nothing is asked of a client before it is met.
                let unmet = end.is_unmet() && ring.meets(client);
                let resets = scenario.at_limit == AtLimit::Reset || outside || unmet;
                assert!(resets, "{name} was refused though it should have waited");
                judge_unjoined(&name, link, outside);
            }
            _ if is_secured => match (scenario.wirings[listener], ring.joined.get(&client)) {
                (Wiring::Pair, Some(&upstream)) => {
                    let name = &format!("{name} with server link {upstream}");
                    secure::judge(name, end, [link, &ring.links[upstream]]);
                }
                (Wiring::Echo, _) if !end.is_before_join() => {
                    secure::judge(&name, end, [link, link]);
                }
                _ => secure::judge_unjoined(&name, end, link),
            },
            Wiring::Pair => match ring.joined.get(&client) {
                Some(&upstream) => {
                    let name = format!("{name} with server link {upstream}");
                    let upstream = &ring.links[upstream];
                    let cut = if outside {
                        Cut::Anywhere
                    } else if link.given_up
                        || upstream.given_up
                        || end.may_cut_last_bytes(scenario, ordered)
                    {
                        Cut::LastBytes
                    } else {
                        Cut::Nowhere
                    };
                    judge_our_end(&format!("{name}, up"), end, link, upstream);
                    judge_our_end(&format!("{name}, down"), end, upstream, link);
                    judge_direction(&format!("{name}, up"), link, upstream, cut);
                    judge_direction(&format!("{name}, down"), upstream, link, cut);
                }
                None => {
                    judge_unjoined(&name, link, outside || ring.may_leave(client));
                }
            },
            Wiring::Echo | Wiring::Discard | Wiring::Hold if end.is_before_join() => {
                judge_unjoined(&name, link, outside || ring.may_leave(client));
            }
            Wiring::Echo => {
                judge_our_end(&name, end, link, link);
                let cut = if outside { Cut::Anywhere } else { Cut::Nowhere };
                judge_direction(&name, link, link, cut);
            }
            Wiring::Discard => judge_discarded(&name, link, outside),
            Wiring::Hold => judge_told(&name, link),
        }
    }
    if !scenario.ends_from_outside() && !held {
        let forgotten = ring.listeners.iter().any(|listener| !listener.queue.is_empty());
        assert!(!forgotten, "clients wait in a queue for ever");
    }
}

/// An end that the gateway made looks cut to the one that `source` sends to, unless its stream had
/// ended before, or nothing had moved for long and nothing is owed.
fn judge_our_end(name: &str, end: Ended, source: &Link, sink: &Link) {
    if sink.peer_aborted || sink.is_shut() {
        return;
    }
    if end.is_abrupt() {
        assert!(sink.was_reset, "{name}: our own end in mid-stream looks like a FIN: {end:?}");
    }
    let told_bytes = source.told_bytes();
    let [taken_bytes, _] = sink.passed_bytes();
    let paid = source.sent_bytes == told_bytes && taken_bytes == told_bytes && !source.waits;
    let paid = paid && !sink.heading.is_cut() && !sink.heading.is_due();
    let read = sink.sent_bytes == sink.told_bytes();
    if end.is_orderly() && paid && read {
        assert!(!sink.is_disconnected(), "{name}: reset at rest, owed nothing: {end:?}");
    }
}

pub fn judge_told(name: &str, link: &Link) {
    assert!(link.end.is_some() || link.peer_aborted, "{name} never learnt of its end");
}

pub fn judge_unjoined(name: &str, client: &Link, outside: bool) {
    judge_told(name, client);
    let own_bytes = client.heading.own_bytes();
    assert!(client.delivered_bytes <= own_bytes, "{name} got bytes from nowhere");
    let refused = client.was_reset || client.peer_aborted || outside;
    assert!(refused, "{name} had no server and was not reset");
}

pub fn judge_discarded(name: &str, client: &Link, outside: bool) {
    judge_told(name, client);
    if client.end == Some(End::Fin) && !client.peer_aborted && !outside {
        assert!(client.fin_in, "{name} was ended for no reason");
        assert_eq!(client.told_bytes(), client.sent_bytes, "{name} was not read to its end");
    }
}

/// What an end that the gateway made may have cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: only the peers ended it.
    Nowhere,
    /// What a peer had sent before its reset, which is passed on all the same.
    LastBytes,
    /// Whatever was under way.
    Anywhere,
}

/// The bytes from `source` to `sink` and their ending. That they are a prefix is checked byte by
/// byte as they arrive.
pub fn judge_direction(name: &str, source: &Link, sink: &Link, cut: Cut) {
    let [_, delivered] = sink.passed_bytes();
    assert!(delivered <= source.told_bytes(), "{name}: {delivered} bytes from nowhere");
    if sink.peer_aborted {
        return;
    }
    judge_told(name, sink);
    // One that woke for nothing is read for what goes with its header.
    let is_due = sink.heading.is_due() && !source.woken;
    let is_headless = sink.end == Some(End::Fin) && (is_due || sink.heading.is_cut());
    assert!(!is_headless, "{name}: a clean end without all of a header");
    let complete = delivered == source.sent_bytes;
    let outside = cut == Cut::Anywhere;
    match sink.end {
        Some(End::Fin) if outside && !complete => {
            let taken = source.told_bytes();
            assert!(delivered == taken, "{name}: a cut stream looks whole, {delivered} of {taken}");
            assert!(!source.waits, "{name}: a cut stream looks whole, more was known to wait");
        }
        Some(End::Fin) if source.fin_in => {
            let sent = source.sent_bytes;
            assert!(complete, "{name}: a clean end after {delivered} of {sent} bytes");
        }
        Some(End::Fin) => {
            assert!(outside, "{name}: a clean end that the source did not send");
        }
        Some(End::Rst) if !outside => {
            assert!(source.rst_in, "{name}: a reset that the source did not send");
            let sent = source.sent_bytes;
            let whole = complete || cut == Cut::LastBytes;
            assert!(whole, "{name}: the reset overtook bytes, {delivered} of {sent}");
        }
        Some(End::Rst) | None => {}
    }
    let both_finished = source.fin_in && sink.fin_in;
    if source.rst_in && !both_finished && !outside {
        assert!(sink.was_reset, "{name}: the source's reset was not passed on");
    }
}
