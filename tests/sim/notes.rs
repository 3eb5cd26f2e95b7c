//! What a worker noted for the access log must be what it counted, once everything is over.

use std::collections::BTreeSet;

use portcullis::conn::Reason;
use portcullis::worker::{AccessEvent, AccessNote, AccessQueue};

use crate::fault::{Fault, Faults};
use crate::scenario::Access;
use crate::tally::Tally;

/// Compares a worker's notes with its counters.
pub fn judge(access: &Access, queue: &AccessQueue, counters: &Tally, faults: &mut Faults) {
    let notes: Vec<AccessNote> = std::iter::from_fn(|| queue.take()).collect();
    let openings: BTreeSet<String> = ids(&notes, |event| event == AccessEvent::Opened);
    let ends: BTreeSet<String> = ids(&notes, |event| event != AccessEvent::Opened);
    assert_eq!(openings.len() + ends.len(), notes.len(), "a connection was noted twice");
    assert!(access.openings || openings.is_empty(), "openings were noted: {openings:?}");
    if queue.dropped() > 0 {
        assert_eq!(notes.len(), access.notes, "notes were dropped though there was room");
        return faults.note(Fault::NotesDropped);
    }
    let [mut to_upstream, mut to_client, mut carried] = [0; 3];
    let mut ended = [0; Reason::ALL.len()];
    for note in &notes {
        let AccessEvent::Ended { opened, to_upstream_bytes, to_client_bytes, reason, connect } =
            note.event
        else {
            continue;
        };
        assert!(opened <= note.at, "{note:?} ended before it began");
        assert!(
            connect.is_none() || note.parties.server.is_some(),
            "{note:?} was joined to nobody"
        );
        to_upstream += to_upstream_bytes;
        to_client += to_client_bytes;
        carried += u64::from(to_upstream_bytes + to_client_bytes > 0);
        ended[reason as usize] += 1;
    }
    let counted = |reason: Reason| counters.over_listeners(|one| one.closed[reason as usize].get());
    for reason in Reason::ALL {
        let probes =
            matches!(reason, Reason::ClosedByClient | Reason::ClientReset) && !access.empty;
        let (noted, counted) = (ended[reason as usize], counted(reason));
        assert!(noted == counted || (probes && noted < counted), "{noted} of {counted} {reason:?}");
    }
    assert_eq!(to_upstream, counters.over_listeners(|one| one.to_upstream_bytes.get()));
    assert_eq!(to_client, counters.over_listeners(|one| one.to_client_bytes.get()));
    if access.empty {
        assert!(openings.is_subset(&ends), "an opening has no end");
    }
    if !openings.is_empty() && carried > 0 {
        faults.note(Fault::Noted);
    }
}

fn ids(notes: &[AccessNote], of: impl Fn(AccessEvent) -> bool) -> BTreeSet<String> {
    notes.iter().filter(|note| of(note.event)).map(|note| note.id.to_string()).collect()
}
