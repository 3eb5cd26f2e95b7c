//! A gateway's figures on a terminal, kept current until a key or a signal ends it.
//!
//! One thread asks for readings, one for connections, one waits for signals, and the caller's
//! draws: whatever takes its time, a key is obeyed at once, and figures do not wait for lists.

mod asks;
mod bar;
mod bottom;
mod end;
mod frame;
mod head;
mod help;
mod keys;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};

use crate::client::{Client, ClientError};
use crate::metrics::Reading;
use asks::Wanted;
use end::{end_on_signals, end_with_the_terminal};
use keys::Flow;
pub use keys::help_of_keys;
use state::{Chosen, Listed, Outcome, State};

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
    /// Of the connections that this filter means, those that moved most.
    Conns(String, Listed),
    /// A kill is over.
    Killed(Outcome),
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
    let wanted = Wanted::default();
    asks::readings(find.clone(), sender.clone());
    asks::conns(find.clone(), wanted.clone(), sender.clone());
    let kill = |chosen: Chosen| asks::kill(find.clone(), chosen, sender.clone());
    end_with_the_terminal();
    // Also puts the terminal back before the words of a panic.
    let mut terminal = ratatui::try_init().map_err(TopError::Terminal)?;
    let shown = show(&mut terminal, &messages, &wanted, kill, first);
    // Its drop would panic where the terminal is gone, and all that it does is done here.
    let _ = terminal.show_cursor();
    std::mem::forget(terminal);
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(TopError::Terminal)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    messages: &Receiver<Message>,
    wanted: &Wanted,
    kill: impl Fn(Chosen),
    first: Reading,
) -> io::Result<()> {
    let mut state = State::new(first);
    loop {
        terminal.draw(|frame| frame::draw(frame, &mut state))?;
        let filter = state.conns_have_room.then(|| state.filter.clone());
        *wanted.lock().expect("nobody panics while holding it") = filter;
        // Until something has changed. Messages are heard before each key: one that is held down
        // has always the next one ready.
        loop {
            let heard = hear(&mut state, messages)?;
            if heard == Heard::End {
                return Ok(());
            }
            let is_new = heard == Heard::News;
            if event::poll(if is_new { Duration::ZERO } else { GLANCE })? {
                if let Event::Key(key) = event::read()? {
                    match state.on_key(key) {
                        Flow::On => {}
                        Flow::End => return Ok(()),
                        Flow::Kill(chosen) => kill(chosen),
                    }
                }
                break;
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
            Ok(Message::Conns(filter, listed)) => state.on_conns(&filter, listed),
            Ok(Message::Killed(outcome)) => state.on_killed(outcome),
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
