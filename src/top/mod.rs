//! A gateway's figures on a terminal, kept current until a key or a signal ends it.
//!
//! One thread asks for readings, one for connections, one waits for signals, and the caller's
//! draws: whatever takes its time, a key is obeyed at once, and figures do not wait for lists.

mod end;
mod frame;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};

use crate::api::conns::{Conns, ListConns};
use crate::client::{Client, ClientError};
use crate::metrics::Reading;
use end::{end_on_signals, end_with_the_terminal};
use state::{Flow, State};

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// The fastest are looked for among so many that moved most.
const CONNS: u32 = 100;
/// How long a message may lie until it is looked at; keys are heard at once.
const GLANCE: Duration = Duration::from_millis(100);

/// Why there is nothing to look at.
#[derive(Debug)]
pub enum TopError {
    /// It was not a person who asked.
    NoTerminal,
    /// There is no gateway.
    Client(ClientError),
    /// The terminal cannot be used.
    Terminal(io::Error),
}

impl fmt::Display for TopError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopError::NoTerminal => {
                write!(out, "top needs a terminal; portcullis status answers anywhere")
            }
            TopError::Client(error) => write!(out, "{error}"),
            TopError::Terminal(error) => write!(out, "the terminal cannot be used: {error}"),
        }
    }
}

impl std::error::Error for TopError {}

/// Messages of the other threads to the one that draws.
enum Message {
    /// How it does.
    Reading(Box<Reading>),
    /// The connections that moved most; nothing, where the gateway cannot say.
    Conns(Option<Conns>),
    /// The gateway does not answer, for this reason.
    Lost(String),
    /// A signal asks for the end.
    End,
}

/// Shows the gateway that `find` finds until somebody ends it. A gateway that goes away is looked
/// for again: its successor may have another socket.
///
/// # Errors
/// When there is no terminal, or no gateway to begin with.
pub fn run(
    find: impl Fn() -> Result<Client, ClientError> + Clone + Send + 'static,
) -> Result<(), TopError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let first = find().and_then(|client| client.reading()).map_err(TopError::Client)?;
    let (sender, messages) = channel();
    end_on_signals(sender.clone()).map_err(TopError::Terminal)?;
    let wants_conns = Arc::new(AtomicBool::new(false));
    let (find_again, conns_sender, wanted) = (find.clone(), sender.clone(), wants_conns.clone());
    thread::spawn(move || {
        let reading = |answer: Result<Reading, ClientError>| match answer {
            Ok(reading) => Some(Message::Reading(Box::new(reading))),
            Err(error) => Some(Message::Lost(error.to_string())),
        };
        ask(find, || true, Client::reading, reading, &sender);
    });
    thread::spawn(move || {
        let wanted = || wanted.load(Ordering::Relaxed);
        let conns = |answer: Result<Conns, ClientError>| match answer {
            Ok(conns) => Some(Message::Conns(Some(conns))),
            Err(ClientError::Refused(_)) => Some(Message::Conns(None)),
            // The readings say so, and what was true last is still to be seen.
            Err(_) => None,
        };
        let sort = Some("bytes".to_owned());
        let request = ListConns { filter: String::new(), sort, limit: Some(CONNS) };
        ask(find_again, wanted, |client| client.ask(&request), conns, &conns_sender);
    });
    end_with_the_terminal();
    // Also puts the terminal back before the words of a panic.
    let mut terminal = ratatui::try_init().map_err(TopError::Terminal)?;
    let shown = show(&mut terminal, &messages, &wants_conns, first);
    // Its drop would panic where the terminal is gone, and all that it does is done here.
    let _ = terminal.show_cursor();
    std::mem::forget(terminal);
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(TopError::Terminal)
}

/// Asks once a period, until the receiver is gone. An answer may take its time: a stalled worker or
/// an earlier request delays lists of connections.
fn ask<T>(
    find: impl Fn() -> Result<Client, ClientError>,
    wanted: impl Fn() -> bool,
    question: impl Fn(&Client) -> Result<T, ClientError>,
    message: impl Fn(Result<T, ClientError>) -> Option<Message>,
    sender: &Sender<Message>,
) {
    let mut client = None;
    loop {
        thread::sleep(PERIOD);
        if !wanted() {
            continue;
        }
        let found = client.take().map_or_else(&find, Ok);
        let answer = found.and_then(|found| Ok((question(&found)?, found)));
        let answer = answer.map(|(answer, answered)| {
            client = Some(answered);
            answer
        });
        if message(answer).is_some_and(|message| sender.send(message).is_err()) {
            return;
        }
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    messages: &Receiver<Message>,
    wants_conns: &AtomicBool,
    first: Reading,
) -> io::Result<()> {
    let mut state = State::new(first);
    loop {
        terminal.draw(|frame| frame::draw(frame, &mut state))?;
        wants_conns.store(state.conns_have_room, Ordering::Relaxed);
        // Until something has changed. Messages are heard before each key: one that is held down
        // has always the next one ready.
        loop {
            let heard = hear(&mut state, messages)?;
            if heard == Heard::End {
                return Ok(());
            }
            let is_new = heard == Heard::News;
            if event::poll(if is_new { Duration::ZERO } else { GLANCE })? {
                match event::read()? {
                    Event::Key(key) if state.on_key(key) == Flow::End => return Ok(()),
                    _ => break,
                }
            }
            if is_new {
                break;
            }
        }
    }
}

/// The state that messages have led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    News,
    End,
}

/// Takes all messages that are there.
fn hear(state: &mut State, messages: &Receiver<Message>) -> io::Result<Heard> {
    let mut heard = Heard::Nothing;
    loop {
        match messages.try_recv() {
            Ok(Message::Reading(reading)) => state.on_reading(*reading),
            Ok(Message::Conns(conns)) => state.on_conns(conns),
            Ok(Message::Lost(because)) => state.on_lost(because),
            Ok(Message::End) => return Ok(Heard::End),
            Err(TryRecvError::Empty) => return Ok(heard),
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::other("the threads that ask have ended"));
            }
        }
        heard = Heard::News;
    }
}
