//! What completions mean to a connection, and which operations they bring on.

use portcullis::base::{CUT_OFF, Chunk, Errno, InFlight, OpKind};
use portcullis::ring::{Buffers, Completion, ConnIndex, Done, Operation};

use super::link::{Deadline, Ending};
use super::{End, Event, Net, Stage};

impl Net {
    /// The event in a completion, if it is one.
    pub(super) fn translate(&mut self, completion: Completion) -> Option<(ConnIndex, Event)> {
        match completion {
            Completion::Accepted { gate: listener, conn, more } => {
                self.accepts.accepted(listener, more);
                let link = &mut self.links[conn.0 as usize];
                if link.stage == Stage::Closing {
                    // The slot was free before the completion of its close was seen.
                    link.vacate();
                }
                assert_eq!(link.stage, Stage::Vacant, "{conn:?} is accepted");
                link.stage = Stage::Open;
                self.open += 1;
                Some((conn, Event::Accepted(listener)))
            }
            Completion::AcceptEnded { gate: listener, .. } => {
                self.accepts.ended(listener);
                None
            }
            Completion::QueueReady { .. }
            | Completion::GateRemoved { .. }
            | Completion::Lent { .. }
            | Completion::Adopted { .. } => None,
            Completion::Done(done) => {
                let conn = done.token.conn;
                let link = &mut self.links[conn.0 as usize];
                if link.generation != done.token.generation {
                    assert_eq!(done.token.kind, OpKind::Close, "{conn:?}: a stale completion");
                    return None;
                }
                if !done.more {
                    link.in_flight.retire(done.token.kind);
                }
                let event = match link.stage {
                    Stage::Closing => self.closing(conn, done),
                    Stage::Shaking => {
                        self.living(conn, done).and_then(|event| self.shake(conn, event))
                    }
                    _ => self.living(conn, done),
                };
                event.map(|event| (conn, event))
            }
        }
    }

    fn living(&mut self, conn: ConnIndex, done: Done) -> Option<Event> {
        let link = &mut self.links[conn.0 as usize];
        match (done.token.kind, done.result) {
            (OpKind::Open, Ok(_)) => {
                let connect = Operation::Connect(link.server);
                self.start(conn, OpKind::Connect, connect);
                None
            }
            (OpKind::Open, Err(error)) => {
                link.stage = Stage::Failed;
                Some(Event::Ended(End::NotOpened(error)))
            }
            (OpKind::Connect, Ok(_)) => self.connected(conn),
            (OpKind::Connect, Err(error)) => Some(Event::Ended(End::NotConnected(error))),
            (OpKind::WaitReadable, _) => {
                self.receive(conn);
                None
            }
            (OpKind::Receive, _) => self.received(conn, done),
            (OpKind::Send, result) => self.sent(conn, result),
            (OpKind::WaitWritable, _) => {
                let chunk = link.sending?;
                self.start(conn, OpKind::Send, Operation::Send(chunk));
                None
            }
            _ => None,
        }
    }

    /// It is ready for the script.
    pub(super) fn opened(&mut self, conn: ConnIndex) -> Event {
        let link = &mut self.links[conn.0 as usize];
        link.stage = Stage::Open;
        link.deadline = Deadline::NEVER;
        self.open += 1;
        self.established += 1;
        Event::Opened
    }

    fn received(&mut self, conn: ConnIndex, done: Done) -> Option<Event> {
        let link = &mut self.links[conn.0 as usize];
        let reset = link.ending == Ending::AwaitsReceive;
        match done.result {
            Ok(0) if link.in_flight.has(OpKind::Send) => {
                link.ending = Ending::AwaitsSend;
                None
            }
            Ok(0) if reset => Some(Event::Ended(End::Reset)),
            Ok(0) => Some(Event::Ended(End::Fin)),
            Ok(length_bytes) => {
                let buffer = done.buffer.expect("received bytes lie in a buffer");
                Some(Event::Received(Chunk { buffer, start_bytes: 0, length_bytes }))
            }
            Err(Errno::ENOBUFS) => {
                let generation = link.generation;
                self.starved_receives.push_back((conn, generation));
                None
            }
            Err(error) => Some(Event::Ended(end_of(error))),
        }
    }

    fn sent(&mut self, conn: ConnIndex, result: Result<u32, Errno>) -> Option<Event> {
        let link = &mut self.links[conn.0 as usize];
        let chunk = link.sending?;
        match result {
            Ok(sent_bytes) => {
                link.sending = chunk.after(sent_bytes);
                if let Some(rest) = link.sending {
                    self.start(conn, OpKind::Send, Operation::Send(rest));
                    return None;
                }
                // Told once: what is sent after it is no end.
                let ended = link.ending == Ending::AwaitsSend;
                link.ending = if ended { Ending::None } else { link.ending };
                let finish = link.finished;
                self.ring.release(chunk.buffer);
                if finish {
                    self.start(conn, OpKind::Shutdown, Operation::Shutdown);
                }
                Some(if ended { Event::Ended(End::Fin) } else { Event::Sent })
            }
            Err(Errno::EAGAIN) => {
                if let Some(parked) = self.ring.park(chunk) {
                    link.sending = Some(parked);
                }
                self.start(conn, OpKind::WaitWritable, Operation::WaitWritable);
                None
            }
            Err(error) => {
                link.sending = None;
                let waits = link.in_flight.has(OpKind::Receive);
                self.ring.release(chunk.buffer);
                if waits && end_of(error) == End::Reset {
                    self.links[conn.0 as usize].ending = Ending::AwaitsReceive;
                    return None;
                }
                Some(Event::Ended(end_of(error)))
            }
        }
    }

    fn closing(&mut self, conn: ConnIndex, done: Done) -> Option<Event> {
        if let Some(buffer) = done.buffer {
            self.ring.release(buffer);
        }
        let link = &mut self.links[conn.0 as usize];
        match done.token.kind {
            OpKind::Close => {
                link.vacate();
                return Some(Event::Closed);
            }
            OpKind::Open if done.result.is_err() => {
                link.vacate();
                return Some(Event::Closed);
            }
            // One between two states may have escaped.
            OpKind::Cancel if !link.in_flight.and(InFlight::WAITING).is_empty() => {
                self.escaped.push(conn);
            }
            _ => {}
        }
        self.close_when_quiet(conn);
        None
    }

    pub(super) fn cancel(&mut self, conn: ConnIndex) {
        let link = &self.links[conn.0 as usize];
        let waiting = link.in_flight.and(InFlight::WAITING);
        if !waiting.is_empty() && !link.in_flight.has(OpKind::Cancel) {
            self.start(conn, OpKind::Cancel, Operation::Cancel(waiting));
        }
    }

    pub(super) fn close_when_quiet(&mut self, conn: ConnIndex) {
        let link = &mut self.links[conn.0 as usize];
        if link.stage != Stage::Closing || !link.in_flight.is_empty() {
            return;
        }
        if let Some(chunk) = link.sending.take() {
            self.ring.release(chunk.buffer);
        }
        self.start(conn, OpKind::Close, Operation::Close);
    }
}

/// An error of a connected socket: the peer's reset, which a send after it hears of as EPIPE.
fn end_of(error: Errno) -> End {
    match error {
        Errno::ECONNRESET | Errno::EPIPE => End::Reset,
        CUT_OFF => End::CutOff,
        error => End::Error(error),
    }
}
