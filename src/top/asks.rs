//! Questions to the gateway, each from a thread of its own.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::Message;
use super::state::{Chosen, Listed, Outcome};
use crate::api::conns::{Conns, DryRun, Kill, ListConns};
use crate::base::Clock;
use crate::client::{Client, ClientError};
use crate::metrics::Reading;

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The fastest are looked for among so many that moved most.
const CONNS: u32 = 100;

/// The filter of the connections that are wanted; `None`: none are.
pub(super) type Wanted = Arc<Mutex<Option<String>>>;

/// Asks for readings, until the receiver is gone.
pub(super) fn readings(
    find: impl Fn() -> Result<Client, ClientError> + Send + 'static,
    sender: Sender<Message>,
) {
    let message = |(), answer: Result<Reading, ClientError>| match answer {
        Ok(reading) => Some(Message::Reading(Box::new(reading))),
        Err(error) => Some(Message::Lost(error.to_string())),
    };
    thread::spawn(move || {
        ask(find, || Some(()), |gateway, ()| gateway.reading(), message, &sender)
    });
}

/// Asks for the connections that are wanted, until the receiver is gone.
pub(super) fn conns(
    find: impl Fn() -> Result<Client, ClientError> + Send + 'static,
    wanted: Wanted,
    sender: Sender<Message>,
) {
    let wanted = move || wanted.lock().expect("nobody panics while holding it").clone();
    let question = |gateway: &Client, filter: &String| {
        let (filter, sort) = (filter.clone(), Some("bytes".to_owned()));
        gateway.ask(&ListConns { filter, sort, limit: Some(CONNS) })
    };
    let message = |filter, answer: Result<Conns, ClientError>| {
        let listed = match answer {
            Ok(conns) => Listed::Conns(conns),
            Err(ClientError::Wrong(because)) => Listed::Wrong(because),
            Err(ClientError::Refused(_)) => Listed::Nothing,
            // The readings say so, and what was true last is still to be seen.
            Err(_) => return None,
        };
        Some(Message::Conns(filter, listed))
    };
    thread::spawn(move || ask(find, wanted, question, message, &sender));
}

/// Asks once a period, and half of the time at most: an answer may take its time. A stalled worker
/// or an earlier request delays lists of connections, and some filters ask the kernel about each.
fn ask<Q, T>(
    find: impl Fn() -> Result<Client, ClientError>,
    wanted: impl Fn() -> Option<Q>,
    question: impl Fn(&Client, &Q) -> Result<T, ClientError>,
    message: impl Fn(Q, Result<T, ClientError>) -> Option<Message>,
    sender: &Sender<Message>,
) {
    let (clock, mut client, mut pause) = (Clock::system(), None, PERIOD);
    loop {
        thread::sleep(pause);
        let Some(wanted) = wanted() else { continue };
        let begun = clock.now();
        let found = client.take().map_or_else(&find, Ok);
        let answer = found.and_then(|found| Ok((question(&found, &wanted)?, found)));
        let answer = answer.map(|(answer, answered)| {
            client = Some(answered);
            answer
        });
        pause = PERIOD.max(clock.now().since(begun));
        if message(wanted, answer).is_some_and(|message| sender.send(message).is_err()) {
            return;
        }
    }
}

/// Ends a connection, and says what came of it.
pub(super) fn kill(
    find: impl Fn() -> Result<Client, ClientError> + Send + 'static,
    chosen: Chosen,
    sender: Sender<Message>,
) {
    thread::spawn(move || {
        let outcome = find().and_then(|gateway| ended(&gateway, &chosen));
        let outcome = outcome.unwrap_or_else(|error| {
            let error = error.to_string();
            let words = format!("{} was not ended: {error}", chosen.id);
            Outcome { done: false, words: words.replace('\n', " ") }
        });
        // It may be over meanwhile, and then nobody wants to know.
        let _ = sender.send(Message::Killed(outcome));
    });
}

fn ended(gateway: &Client, chosen: &Chosen) -> Result<Outcome, ClientError> {
    let kill = Kill { ids: vec![chosen.id.clone()], ..Kill::default() };
    let not = |words: String| Ok(Outcome { done: false, words });
    // An id of one process may be another connection's in the next one.
    let would = gateway.ask(&DryRun::from(kill.clone()))?;
    if would.conns.start_time_seconds != chosen.process {
        return not("the gateway is another process now: nothing was ended".to_owned());
    }
    match gateway.kill(&kill)?.killed.killed {
        0 => not(format!("there is no {} any more", chosen.title())),
        _ => Ok(Outcome { done: true, words: format!("ended {}", chosen.title()) }),
    }
}
