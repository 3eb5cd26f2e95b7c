//! Clients that ask for TLS in the words of their protocol: they are answered here, and their
//! servers are asked the same before they get a hello.
//!
//! A [`Request`] says how a server is asked.

use super::Worker;
use super::decoder::Request;
use super::preface::{Client, Kept, Prefaces, Read};
use super::table::ConnectTime;
use crate::base::{Chunk, ConnIndex, Errno, Side};
use crate::config::Guards;
use crate::conn::{Event, Lapse, Phase, is_pressure};
use crate::metrics::ConnectFailure;
use crate::ring::{Buffers as _, Ring};
use crate::upstream::Failure;

/// What follows our own words.
enum Next {
    /// More of what the client has said is judged.
    Judge,
    /// More is awaited.
    Receive,
    /// A handshake has ended with them.
    End,
}

impl Prefaces {
    /// What the server is asked that is to get what is kept of a client.
    pub(super) fn request(&self, index: ConnIndex) -> Option<Request> {
        match self.clients.get(&index)? {
            Client::Kept(kept) => kept.request,
            Client::Waiting(_) | Client::Read(_) | Client::Aside(_) => None,
        }
    }

    /// Whether a server has got some of what it is asked.
    pub(super) fn is_asking(&self, index: ConnIndex) -> bool {
        let client = self.clients.get(&index);
        matches!(client, Some(Client::Kept(Kept { asked_bytes: 1.., .. })))
    }

    /// What is still to be said to a client or its server by ourselves, where a server gets this
    /// header. Says also what it is to have back: a buffer that those words may need.
    fn words(&mut self, index: ConnIndex, header: &[u8]) -> (Vec<u8>, Option<Chunk>) {
        match self.clients.get_mut(&index) {
            Some(Client::Read(Read { answer, is_said: false, .. })) => (answer.to_vec(), None),
            Some(Client::Read(Read { shake: Some(shake), .. })) => (shake.words().to_vec(), None),
            Some(Client::Kept(Kept {
                from, ready, request: Some(request), asked_bytes, ..
            })) => {
                let words = [header, request.bytes].concat();
                let left = words[*asked_bytes..].to_vec();
                let held = ready.take();
                if held.is_some() {
                    *from = 0;
                }
                (left, held)
            }
            _ => (Vec::new(), None),
        }
    }

    /// What follows when all was said to a client or its server.
    fn next(&self, index: ConnIndex) -> Next {
        match self.clients.get(&index) {
            Some(Client::Read(Read { shake: Some(shake), .. })) if shake.is_over() => Next::End,
            Some(Client::Read(Read { bytes, .. })) if !bytes.is_empty() => Next::Judge,
            _ => Next::Receive,
        }
    }

    /// So many bytes of them are on their way; `None`: a server is to be asked from the start.
    fn spoke(&mut self, index: ConnIndex, bytes: Option<usize>) {
        match self.clients.get_mut(&index) {
            Some(Client::Read(Read { is_said: true, shake: Some(shake), .. })) => {
                shake.spoke(bytes.unwrap_or_default());
            }
            Some(Client::Read(read)) => read.is_said = true,
            Some(Client::Kept(kept)) => {
                kept.asked_bytes = bytes.map_or(0, |bytes| kept.asked_bytes + bytes);
            }
            Some(Client::Waiting(_) | Client::Aside(_)) | None => {}
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Says the next of our own words to one side, as much as a buffer holds. A server gets its
    /// client's header first.
    pub(super) fn say(&mut self, index: ConnIndex, sink: Side) {
        if sink == Side::Upstream && self.is_dialled(index) {
            return self.dial(index);
        }
        let (words, held) = self.prefaces.words(index, self.headers.made(index));
        if let Some(chunk) = held {
            self.ring.release(chunk.buffer);
        }
        if words.is_empty() && sink == Side::Upstream && !self.prefaces.is_asking(index) {
            return self.unasked(index);
        }
        if words.is_empty() {
            return match self.prefaces.next(index) {
                Next::Judge => self.decode_on(index),
                Next::Receive => self.apply(index, Event::Said(sink)),
                Next::End => self.shaken(index),
            };
        }
        let piece = &words[..words.len().min(self.ring.buffer_bytes() as usize)];
        let chunk = self.ring.fill(piece.len() as u32, |bytes| bytes.copy_from_slice(piece));
        if chunk.is_some() {
            self.prefaces.spoke(index, Some(piece.len()));
        }
        self.apply(index, Event::Say { sink, chunk });
    }

    /// A change has left nothing to ask a server by which it could agree, which is no fault of its.
    fn unasked(&mut self, index: ConnIndex) {
        self.count_unanswered(index, ConnectFailure::Abandoned, None);
        self.apply(index, Event::Answered { agrees: false });
    }

    /// A server has answered what it was asked.
    pub(super) fn heed(&mut self, index: ConnIndex, chunk: Chunk) {
        if self.dials.has(index) {
            return self.heed_dial(index, chunk);
        }
        let consent = self.prefaces.request(index).map(|request| request.consent);
        // More than the answer is said by somebody who cannot know that a hello comes.
        let agrees = consent == Some(self.ring.bytes(chunk));
        self.ring.release(chunk.buffer);
        if !agrees {
            self.count_unanswered(index, ConnectFailure::NoTls, Some(Failure::NoTls));
            return self.apply(index, Event::Answered { agrees });
        }
        self.agreed(index);
    }

    /// The server gets the client's bytes from here on. It has its header.
    pub(super) fn agreed(&mut self, index: ConnIndex) {
        self.headers.forget(index);
        self.count_joined(index);
        self.apply(index, Event::Answered { agrees: true });
        if self.lives.entry(index).conn.phase() == Phase::Joined {
            self.end_wait(index, true);
        }
        self.guard(index, Guards::unacknowledged);
    }

    /// It will not answer.
    pub(super) fn unanswered(&mut self, index: ConnIndex, lapse: Lapse) {
        let (kind, failure) = match lapse {
            Lapse::Late => (ConnectFailure::TimedOut, Some(Failure::Silence)),
            // The kernel would not send what it was asked, and it has done nothing wrong.
            Lapse::Gone(errno) if is_pressure(errno) || errno == Errno::EAGAIN => {
                (ConnectFailure::Pressure, None)
            }
            Lapse::Gone(errno) => (ConnectFailure::of(errno), Some(Failure::Connect(errno))),
            Lapse::Abandoned => (ConnectFailure::Abandoned, None),
        };
        self.count_unanswered(index, kind, failure);
    }

    pub(super) fn count_unanswered(
        &mut self,
        index: ConnIndex,
        kind: ConnectFailure,
        failure: Option<Failure>,
    ) {
        self.prefaces.spoke(index, None);
        self.dials.forget(index);
        let entry = self.lives.entry(index);
        entry.connect = ConnectTime::NONE;
        entry.tried.fail();
        let Some(server) = entry.server else { return };
        self.routes.place(server.id()).counters.failed[kind as usize].add(1);
        if let Some(failure) = failure {
            self.routes.failed(server.id(), failure, self.time.now());
        }
    }
}
