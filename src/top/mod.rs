//! A gateway's figures on a terminal, kept current until a key or a signal ends it.
//!
//! One thread asks, one waits for signals, and the caller's draws: whatever takes its time, a key
//! is obeyed at once.

mod frame;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event};
use serde_json::Value;

use crate::control::client::{Client, ClientError};
use crate::metrics::Reading;
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

/// What the other threads say to the one that draws.
enum Message {
    /// How it does, and the connections that moved most.
    Reading(Box<Reading>, Value),
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
    find: impl Fn() -> Result<Client, ClientError> + Send + 'static,
) -> Result<(), TopError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let first = find().and_then(|client| client.reading()).map_err(TopError::Client)?;
    let (sender, messages) = channel();
    end_on_signals(sender.clone()).map_err(TopError::Terminal)?;
    thread::spawn(move || ask(find, &sender));
    // Also puts the terminal back before the words of a panic.
    let mut terminal = ratatui::try_init().map_err(TopError::Terminal)?;
    let shown = show(&mut terminal, &messages, first);
    ratatui::restore();
    shown.map_err(TopError::Terminal)
}

/// Takes the signals that end a program, so that the terminal is put back first.
fn end_on_signals(sender: Sender<Message>) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Blocked in every thread that comes after, so that only the one that waits gets them.
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            let _ = sender.send(Message::End);
        }
    });
    Ok(())
}

/// A reading each period, until nobody listens any more.
fn ask(find: impl Fn() -> Result<Client, ClientError>, sender: &Sender<Message>) {
    let mut client = None;
    loop {
        thread::sleep(PERIOD);
        let found = client.take().map_or_else(&find, Ok);
        let message = match found.and_then(|client| Ok((client.reading()?, client))) {
            Ok((reading, answered)) => {
                // Others may be asking for connections at length; the figures do not wait for that.
                let conns = answered.list("", "bytes", CONNS).unwrap_or_default();
                client = Some(answered);
                Message::Reading(Box::new(reading), conns)
            }
            Err(error) => Message::Lost(error.to_string()),
        };
        if sender.send(message).is_err() {
            return;
        }
    }
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    messages: &Receiver<Message>,
    first: Reading,
) -> io::Result<()> {
    let mut state = State::new(first);
    loop {
        terminal.draw(|frame| frame::draw(frame, &mut state))?;
        // Until something has changed.
        loop {
            if event::poll(GLANCE)? {
                match event::read()? {
                    Event::Key(key) if state.on_key(key) == Flow::End => return Ok(()),
                    _ => break,
                }
            }
            match messages.try_recv() {
                Ok(Message::Reading(reading, conns)) => state.on_reading(*reading, conns),
                Ok(Message::Lost(because)) => state.on_lost(because),
                Ok(Message::End) => return Ok(()),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that asks has ended"));
                }
            }
            break;
        }
    }
}
