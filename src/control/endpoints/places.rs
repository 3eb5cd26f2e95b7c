//! The bounded places of an endpoint's connections, and the choice of the one that leaves when all
//! are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The places of one endpoint.
///
/// A new connection gets a place although all are taken: another leaves for it. That is the one
/// whose last answer is longest ago among those between two requests. Without such a one it is the
/// oldest that has sent no request, as long as these hold more than their share of the places, and
/// else the one whose request is the oldest. So a flood of silent connections ends no answer, and
/// a flood of slow readers leaves a new connection the time to ask.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
    /// Places that connections without a request keep, whatever the others do.
    unasked: usize,
}

/// The part of the places that belongs to connections without a request: a quarter.
const UNASKED_SHARE: usize = 4;

#[derive(Debug, Default)]
struct Taken {
    /// Counts what happens here: an order in time without a clock.
    events: u64,
    /// By the event of the connection's arrival.
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    stage: Stage,
    /// The event that began the stage.
    since: u64,
    /// Ends the connection; `None`: it has been told to leave.
    leave: Option<oneshot::Sender<()>>,
}

/// In the order of leaving, between equals of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Every request is answered, and no further one is complete.
    Idle,
    /// No request has come.
    Unasked,
    /// A request is being answered.
    Asked,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(super) struct Asking {
    taken: Arc<Mutex<Taken>>,
    id: u64,
}

impl Places {
    pub(super) fn new(places: usize) -> Places {
        Places {
            free: Arc::new(Semaphore::new(places)),
            taken: Arc::default(),
            unasked: places / UNASKED_SHARE,
        }
    }

    /// A place for a new connection, and what resolves when the connection must leave.
    pub(super) async fn take(&self) -> (Place, oneshot::Receiver<()>) {
        if self.free.available_permits() == 0 {
            self.taken.lock().expect(UNPOISONED).make_room(self.unasked);
        }
        let permit = self.free.clone().acquire_owned().await.expect("it is never closed");
        let (leave, leaves) = oneshot::channel();
        let id = self.taken.lock().expect(UNPOISONED).arrive(leave);
        (Place { taken: self.taken.clone(), id, _permit: permit }, leaves)
    }
}

const UNPOISONED: &str = "no code that holds the lock panics";

impl Taken {
    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn arrive(&mut self, leave: oneshot::Sender<()>) -> u64 {
        let id = self.event();
        let connection = Connection { stage: Stage::Unasked, since: id, leave: Some(leave) };
        self.connections.insert(id, connection);
        id
    }

    fn enter(&mut self, id: u64, stage: Stage) {
        let since = self.event();
        // An answer may outlive its connection for a moment.
        if let Some(connection) = self.connections.get_mut(&id) {
            (connection.stage, connection.since) = (stage, since);
        }
    }

    /// Tells a connection to leave, unless one that was told is still on its way.
    fn make_room(&mut self, unasked: usize) {
        if self.connections.values().any(|connection| connection.leave.is_none()) {
            return;
        }
        let in_stage = |stage| self.connections.values().filter(move |one| one.stage == stage);
        let stage = if in_stage(Stage::Idle).next().is_some() {
            Stage::Idle
        } else if in_stage(Stage::Unasked).count() > unasked {
            Stage::Unasked
        } else {
            Stage::Asked
        };
        let connections = self.connections.values_mut();
        let longest = connections.filter(|one| one.stage == stage).min_by_key(|one| one.since);
        if let Some(leave) = longest.and_then(|one| one.leave.take()) {
            // A connection that ends by itself at this moment makes room, too.
            let _ = leave.send(());
        }
    }
}

impl Place {
    /// A request's head has come; the answer is under way until what this returns is dropped.
    pub(super) fn ask(&self) -> Asking {
        self.taken.lock().expect(UNPOISONED).enter(self.id, Stage::Asked);
        Asking { taken: self.taken.clone(), id: self.id }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.lock().expect(UNPOISONED).connections.remove(&self.id);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.taken.lock().expect(UNPOISONED).enter(self.id, Stage::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const COUNT: usize = 8;

    struct Guest {
        place: Place,
        leaves: oneshot::Receiver<()>,
    }

    impl Guest {
        fn must_leave(&mut self) -> bool {
            self.leaves.try_recv().is_ok()
        }
    }

    /// A place that is there at once.
    fn take(places: &Places) -> Option<Guest> {
        let future = pin!(places.take());
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((place, leaves)) => Some(Guest { place, leaves }),
            Poll::Pending => None,
        }
    }

    fn full(places: &Places) -> Vec<Guest> {
        (0..COUNT).map(|_| take(places).expect("a free place")).collect()
    }

    /// Which one leaves for another.
    fn leaving(places: &Places, guests: &mut [Guest]) -> Vec<usize> {
        assert!(take(places).is_none(), "no place is free before somebody has left");
        // A second one that waits makes no second one leave.
        assert!(take(places).is_none());
        (0..guests.len()).filter(|index| guests[*index].must_leave()).collect()
    }

    #[test]
    fn the_longest_between_two_requests_leaves_first() {
        let places = Places::new(COUNT);
        let mut guests = full(&places);
        let asking = guests[2].place.ask();
        drop(guests[6].place.ask());
        drop(guests[4].place.ask());
        assert_eq!(leaving(&places, &mut guests), [6]);
        drop(guests.remove(6));
        assert!(take(&places).is_some());
        drop(asking);
    }

    #[test]
    fn the_oldest_without_a_request_leaves_before_one_that_is_answered() {
        let places = Places::new(COUNT);
        let mut guests = full(&places);
        let _answers = [guests[0].place.ask(), guests[1].place.ask()];
        assert_eq!(leaving(&places, &mut guests), [2]);
    }

    #[test]
    fn requests_leave_a_share_to_those_that_have_yet_to_ask() {
        let places = Places::new(COUNT);
        let mut guests = full(&places);
        let _answers: Vec<_> = [3, 4, 5, 0, 1, 2].map(|index| guests[index].place.ask()).into();
        assert_eq!(leaving(&places, &mut guests), [3]);
    }
}
