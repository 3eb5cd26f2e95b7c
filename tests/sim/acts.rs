//! The steps of a peer's script, one after the other.

use crate::fault::{Fault, Faults};
use crate::link::Link;
use crate::peer::Step;
use crate::random::Random;

impl Link {
    /// Takes one step of the peer's script, if it can be taken now.
    pub fn act(&mut self, now: u64, random: &mut Random, faults: &mut Faults) {
        if self.was_reset && !self.peer.closed {
            self.peer.closed = true;
            self.peer.script.clear();
        }
        let is_flushed = self.flush(now, random);
        let Some(&step) = self.peer.script.front() else { return };
        if self.secure.is_some() && !self.is_said(step, is_flushed) {
            return;
        }
        match step {
            Step::Send(_) if self.secure.is_some() => {}
            // It sees first whether it is spoken to in TLS.
            Step::Send(_)
                if self.may_secure.is_some() && self.taken_bytes == 0 && self.end.is_none() =>
            {
                return;
            }
            Step::Send(left_bytes) => return self.peer_sends(left_bytes, now, random),
            Step::Pause(millis) => {
                let until = *self.peer.paused_until.get_or_insert(now + millis);
                if now < until {
                    return self.wake_by(until);
                }
                self.peer.paused_until = None;
            }
            Step::AwaitBytes(bytes) if self.peer.read_bytes < bytes && self.end.is_none() => return,
            Step::AwaitEnd if self.end.is_none() => return,
            Step::AwaitAnswer(bytes) if self.peer.read_bytes < bytes && !self.is_on() => return,
            Step::AwaitBytes(_) | Step::AwaitAnswer(_) | Step::AwaitEnd => {}
            Step::Answer(manner) => {
                let Some(is_asked) = self.is_asked() else { return };
                self.peer.script.pop_front();
                if is_asked {
                    manner.act(&mut self.peer.script, self.peer.read_bytes);
                }
                self.progress += 1;
                return;
            }
            Step::Fin => self.peer_finishes(),
            Step::Rst => return self.abort(),
            Step::Close => {
                if self.delivered_bytes > self.peer.read_bytes {
                    faults.note(Fault::CloseUnread);
                    return self.abort();
                }
                self.peer_finishes();
                self.peer.closed = true;
            }
        }
        self.peer.script.pop_front();
        self.progress += 1;
    }

    /// What its TLS has to say goes as far as there is room; whether all of it went.
    fn flush(&mut self, now: u64, random: &mut Random) -> bool {
        let Some(end) = &self.secure else { return true };
        let left_bytes = end.wire.len() as u64 - self.sent_bytes;
        if left_bytes == 0 || self.peer.finished || self.peer.closed || self.dead() {
            return true;
        }
        if self.closed {
            self.tell_reset();
            return true;
        }
        let room = self.room_bytes - (self.sent_bytes - self.received_bytes);
        if room == 0 {
            return false;
        }
        let piece = random.between(1, room).min(left_bytes);
        if self.sent_bytes == self.received_bytes {
            self.unread_since = now;
        }
        self.sent_bytes += piece;
        self.progress += piece;
        piece == left_bytes
    }

    /// Whether a peer that speaks TLS can go on with this step.
    fn is_said(&mut self, step: Step, is_flushed: bool) -> bool {
        let (is_over, key) = (self.end.is_some() || self.dead() || self.closed, self.key);
        let end = self.secure.as_mut().expect("somebody looked whether it has any");
        match step {
            Step::Send(_) if is_over && end.is_shaking() => true,
            Step::Send(bytes) => {
                let can = !end.is_shaking();
                if can && !self.peer.finished {
                    end.say(bytes, key);
                    self.progress += 1;
                }
                can
            }
            // What nobody reads is not waited for.
            Step::Fin | Step::Close if !self.heeded && !end.is_shaking() => {
                end.is_spoiled = true;
                true
            }
            Step::Fin | Step::Close if !self.peer.finished && !is_over => {
                if end.finish() {
                    self.progress += 1;
                }
                is_flushed && end.wire.len() as u64 == self.sent_bytes
            }
            _ => true,
        }
    }

    /// A client has a server, or an end.
    fn is_on(&self) -> bool {
        self.joined || self.end.is_some()
    }

    fn peer_finishes(&mut self) {
        self.peer.finished = true;
        self.fin_in |= !self.closed && !self.dead();
    }

    fn peer_sends(&mut self, left_bytes: u64, now: u64, random: &mut Random) {
        if self.peer.finished {
            self.peer.script.pop_front();
            self.progress += 1;
            return;
        }
        if self.closed {
            // Bytes for a socket that nobody has are answered with RST.
            return self.tell_reset();
        }
        let room = self.room_bytes - (self.sent_bytes - self.received_bytes);
        if room == 0 {
            return;
        }
        let piece = random.between(1, room).min(left_bytes);
        if self.sent_bytes == self.received_bytes {
            self.unread_since = now;
        }
        self.sent_bytes += piece;
        self.progress += piece;
        match left_bytes - piece {
            0 => drop(self.peer.script.pop_front()),
            rest => self.peer.script[0] = Step::Send(rest),
        }
    }
}
