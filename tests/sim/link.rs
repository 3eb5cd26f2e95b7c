//! One TCP connection of the simulated network, from the gateway's socket to the peer.

use std::collections::VecDeque;

use portcullis::base::Errno;

use crate::ahead::Ahead;
use crate::ends::LAST_BYTES_MILLIS;
use crate::fault::{Fault, Faults};
use crate::heading::Heading;
use crate::moves::Holds;
use crate::peer::{Peer, Reading};
use crate::random::{Random, pattern};
use crate::secure;

/// poll(2) bits.
pub const IN: u32 = 0x0001;
pub const OUT: u32 = 0x0004;
pub const ERR: u32 = 0x0008;
pub const HUP: u32 = 0x0010;
pub const RDHUP: u32 = 0x2000;

/// How the gateway's bytes ended, as the peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Rst,
}

/// What a receive would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Bytes(u64),
    Zero,
    Failed(Errno),
}

/// The gateway's socket, the wire and the peer behind it.
#[derive(Debug)]
pub struct Link {
    /// Names the bytes that the peer sends.
    pub key: u64,
    /// Names the bytes that the peer is to get.
    pub expects: Option<u64>,
    /// The first of them that it is to get.
    pub begins_at: u64,
    /// What the peer gets before them.
    pub heading: Heading,
    /// The peer is a server.
    pub server: bool,
    /// Its addresses could not be had once.
    pub unnamed: bool,
    /// A wait for its bytes ended although there were none.
    pub woken: bool,
    /// No port was found for the connect of its client.
    pub portless: bool,
    /// When a connect is answered, and how.
    pub answer: Option<(u64, Result<(), Errno>)>,
    /// The handshake is done.
    pub established: bool,
    /// The gateway's connection was joined to it.
    pub joined: bool,
    /// The worker knows that bytes wait which it has not taken.
    pub waits: bool,
    /// A client that the gateway did not merely reset.
    pub served: bool,
    /// The gateway has begun to give it up.
    pub abandoned: bool,
    /// Its receive alone was cancelled.
    pub quieted: bool,
    /// It is probed while it is silent.
    pub probed: bool,

    /// Bytes that arrived from the peer while the gateway's socket was open.
    pub sent_bytes: u64,
    /// How many of them the gateway took.
    pub received_bytes: u64,
    pub room_bytes: u64,
    /// The peer's FIN arrived while the socket was open.
    pub fin_in: bool,
    /// The peer's RST arrived while the socket was open.
    pub rst_in: bool,
    /// The socket's error, delivered once.
    error: Option<Errno>,
    /// What the gateway took before anybody asked.
    pub ahead: Ahead,
    /// Slots and references that it is in.
    pub holds: Holds,

    /// What the gateway's sends put into the queue.
    pub taken_bytes: u64,
    queue: VecDeque<u8>,
    queue_bytes: usize,
    /// What was not acknowledged when a reset came; the kernel goes on saying so.
    unacknowledged_at_reset: u64,
    pub delivered_bytes: u64,
    fin_queued: bool,
    /// The gateway shut its direction down.
    shut: bool,
    /// The gateway reset it.
    disconnected: bool,
    /// The gateway closed it.
    pub closed: bool,
    /// And the peer had not taken all that was sent before.
    pub closed_full: bool,
    /// The first end that the peer saw.
    pub end: Option<End>,
    /// The peer saw RST, perhaps after a FIN.
    pub was_reset: bool,
    /// When the worker last saw bytes of its make way towards the peer.
    made_way: u64,
    /// For how long none had before that.
    stood: u64,
    /// What it was told that the peer had not acknowledged.
    asked: u64,
    /// The gateway reset it when that was long ago.
    pub given_up: bool,

    pub peer: Peer,
    /// It speaks TLS if that is what comes first.
    pub may_secure: Option<secure::Dialect>,
    /// Its TLS, if it speaks that.
    pub secure: Option<Box<secure::End>>,
    /// Somebody reads what the peer sends.
    pub heeded: bool,
    /// The peer sent RST, whenever.
    pub peer_aborted: bool,
    /// When something is to happen next without the gateway.
    pub wake: u64,
    /// When the first byte arrived that the gateway has not taken, or later.
    pub unread_since: u64,
    /// The gateway waits for bytes since then, and nothing of ours has kept it from them.
    pub reads_since: Option<u64>,
    /// Counts what moved, for whoever looks for standstill.
    pub progress: u64,
}

impl Link {
    pub fn new(key: u64, peer: Peer, random: &mut Random, now: u64) -> Link {
        Link {
            key,
            expects: None,
            begins_at: 0,
            heading: Heading::none(),
            server: false,
            unnamed: false,
            woken: false,
            portless: false,
            answer: None,
            established: false,
            joined: false,
            waits: false,
            served: false,
            abandoned: false,
            quieted: false,
            probed: false,
            sent_bytes: 0,
            received_bytes: 0,
            room_bytes: random.pick(&[4, 16, 50, 150]),
            fin_in: false,
            rst_in: false,
            error: None,
            ahead: Ahead::new(key),
            holds: Holds::default(),
            taken_bytes: 0,
            queue: VecDeque::new(),
            queue_bytes: random.pick(&[4, 16, 50, 150]),
            unacknowledged_at_reset: 0,
            delivered_bytes: 0,
            fin_queued: false,
            shut: false,
            disconnected: false,
            closed: false,
            closed_full: false,
            end: None,
            was_reset: false,
            made_way: now,
            stood: 0,
            asked: u64::MAX,
            given_up: false,
            peer,
            may_secure: None,
            secure: None,
            heeded: true,
            peer_aborted: false,
            wake: now,
            unread_since: now,
            reads_since: None,
            progress: 0,
        }
    }

    /// Something happens at `moment` at the latest.
    pub fn wake_by(&mut self, moment: u64) {
        self.wake = self.wake.min(moment);
    }

    /// Nothing passes it any more.
    pub fn dead(&self) -> bool {
        self.rst_in || self.disconnected
    }

    /// The stream towards the peer has ended by a FIN.
    pub fn is_shut(&self) -> bool {
        self.shut
    }

    /// Where in its source's stream its sends and what was delivered of them end.
    pub fn passed_bytes(&self) -> [u64; 2] {
        let own_bytes = self.heading.own_bytes();
        [self.taken_bytes, self.delivered_bytes]
            .map(|bytes| self.begins_at + bytes.saturating_sub(own_bytes))
    }

    /// The gateway reset it.
    pub fn is_disconnected(&self) -> bool {
        self.disconnected
    }

    /// What poll(2) would say. A socket shut down both ways hangs up without any reset, see
    /// tcp_poll.
    pub fn bits(&self) -> u32 {
        let mut bits = 0;
        if self.sent_bytes > self.received_bytes {
            bits |= IN;
        }
        if self.fin_in {
            bits |= IN | RDHUP;
        }
        if self.dead() {
            bits |= IN | OUT | RDHUP | HUP;
        }
        if self.fin_in && self.shut {
            bits |= HUP;
        }
        if self.error.is_some() {
            bits |= ERR;
        }
        if self.established && (self.queue.len() * 3 <= self.queue_bytes * 2 || self.shut) {
            bits |= OUT;
        }
        bits
    }

    /// What a receive finds. An error is taken by it.
    pub fn find(&mut self) -> Found {
        let waiting_bytes = self.sent_bytes - self.received_bytes;
        if waiting_bytes > 0 && !self.disconnected {
            Found::Bytes(waiting_bytes)
        } else if self.fin_in && !self.disconnected {
            Found::Zero
        } else if let Some(error) = self.error.take() {
            Found::Failed(error)
        } else if self.disconnected {
            Found::Failed(Errno::ENOTCONN)
        } else if self.rst_in {
            Found::Zero
        } else {
            Found::Nothing
        }
    }

    /// Whether a reset's error went to another operation than the receive that finds 0.
    pub fn error_went_elsewhere(&self) -> bool {
        self.rst_in && !self.fin_in && self.error.is_none()
    }

    /// Takes what [`Link::find`] found.
    pub fn take(&mut self, length_bytes: u64, now: u64) -> Vec<u8> {
        let from = self.received_bytes;
        self.received_bytes += length_bytes;
        self.unread_since = now;
        self.progress += length_bytes;
        self.wake_by(now);
        if let Some(end) = &self.secure {
            return end.wire[from as usize..][..length_bytes as usize].to_vec();
        }
        (from..from + length_bytes).map(|offset| pattern(self.key, offset)).collect()
    }

    /// Puts what fits into the queue.
    pub fn send(&mut self, bytes: &[u8], now: u64) -> Result<u64, Errno> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.dead() || self.shut {
            return Err(Errno::EPIPE);
        }
        let fits = bytes.len().min(self.queue_bytes - self.queue.len());
        if fits == 0 {
            return Err(Errno::EAGAIN);
        }
        self.queue.extend(&bytes[..fits]);
        // An echo is joined to itself.
        let is_joined = self.joined || !self.server && self.expects.is_some();
        if let Some(dialect) = self.may_secure
            && self.taken_bytes == 0
            && bytes.starts_with(&secure::HANDSHAKE)
        {
            self.secure = Some(Box::new(secure::End::server(self.key, dialect)));
        }
        match &mut self.secure {
            Some(end) => end.was_sent(&bytes[..fits]),
            None => self.heading.feed(&bytes[..fits], is_joined),
        }
        self.taken_bytes += fits as u64;
        self.makes_way(now);
        self.progress += fits as u64;
        self.wake_by(now);
        Ok(fits as u64)
    }

    pub fn shut_down(&mut self, now: u64) -> Result<u64, Errno> {
        if self.dead() {
            return Err(Errno::ENOTCONN);
        }
        self.shut = true;
        self.fin_queued = true;
        self.progress += 1;
        self.wake_by(now);
        Ok(0)
    }

    /// The worker begins a reset, on which it may have decided just before bytes made way again.
    pub fn give_up(&mut self, now: u64) {
        let just_now = now - self.made_way < 100;
        let stood = if just_now { self.stood } else { now - self.made_way };
        self.given_up = stood >= LAST_BYTES_MILLIS;
    }

    fn makes_way(&mut self, now: u64) {
        if now > self.made_way {
            self.stood = now - self.made_way;
            self.made_way = now;
        }
    }

    /// The gateway's reset: RST at once, nothing that waits is sent.
    pub fn disconnect(&mut self) {
        if !self.dead() {
            self.error = Some(Errno::ECONNRESET);
            self.tell_reset();
        }
        self.disconnected = true;
        self.progress += 1;
    }

    /// The peer is told of a reset.
    pub fn tell_reset(&mut self) {
        self.queue.clear();
        self.end.get_or_insert(End::Rst);
        self.was_reset = true;
        self.wake = 0;
    }

    /// The gateway's close: FIN after what waits, or RST when something was not read.
    pub fn close(&mut self, now: u64) {
        self.closed = true;
        self.closed_full = !self.queue.is_empty();
        self.progress += 1;
        if !self.dead() && self.established {
            if self.sent_bytes > self.told_bytes() {
                self.tell_reset();
            } else {
                self.fin_queued = true;
            }
        }
        self.wake_by(now);
    }

    /// The worker asks what the peer has not acknowledged.
    pub fn ask(&mut self, now: u64) -> u64 {
        let left = self.unacknowledged();
        if left < self.asked {
            self.makes_way(now);
        }
        self.asked = left;
        left
    }

    fn unacknowledged(&self) -> u64 {
        if self.rst_in {
            return self.unacknowledged_at_reset;
        }
        let fin = self.fin_queued && self.end.is_none();
        self.queue.len() as u64 + u64::from(fin)
    }

    /// Bytes that are on their way to the peer.
    pub fn in_transit(&self) -> bool {
        !self.dead() && (!self.queue.is_empty() || self.fin_queued && self.end.is_none())
    }

    /// The peer's RST arrives.
    pub fn abort(&mut self) {
        self.peer_aborted = true;
        self.peer.closed = true;
        self.peer.script.clear();
        self.progress += 1;
        if self.dead() {
            return;
        }
        self.unacknowledged_at_reset = self.unacknowledged();
        self.queue.clear();
        if !self.closed {
            self.rst_in = true;
            self.error = Some(if self.fin_in { Errno::EPIPE } else { Errno::ECONNRESET });
        }
    }

    /// Lets wire and peer do what they can now.
    pub fn step(&mut self, now: u64, random: &mut Random, faults: &mut Faults) {
        self.wake = u64::MAX;
        if !self.established || self.peer.has_vanished(now) && !self.was_reset {
            return;
        }
        let before = self.progress;
        self.carry(random, faults);
        self.read(now);
        self.act(now, random, faults);
        if self.progress != before {
            self.wake_by(now + random.below(4));
        }
    }

    /// Moves bytes and a FIN from the gateway's queue to the peer.
    fn carry(&mut self, random: &mut Random, faults: &mut Faults) {
        let room = self.peer.room_bytes - (self.delivered_bytes - self.peer.read_bytes);
        let most = room.min(self.queue.len() as u64);
        if self.peer.closed && !self.queue.is_empty() {
            faults.note(Fault::SendToClosed);
            return self.abort();
        }
        if most > 0 {
            if self.peer.finished {
                faults.note(Fault::HalfClosed);
            }
            let bytes = random.between(1, most) as usize;
            let piece: Vec<u8> = self.queue.drain(..bytes).collect();
            match &mut self.secure {
                Some(end) => {
                    end.hear(&piece, self.expects);
                    self.delivered_bytes += bytes as u64;
                    self.progress += bytes as u64;
                }
                None => piece.into_iter().for_each(|byte| self.deliver(byte)),
            }
        }
        if self.queue.is_empty() && self.fin_queued && self.end.is_none() {
            self.end = Some(End::Fin);
            self.progress += 1;
        }
    }

    /// Its wires and buffers are so much wider.
    pub fn widen(&mut self, by: u64) {
        self.room_bytes *= by;
        self.queue_bytes *= by as usize;
        self.peer.room_bytes *= by;
    }

    fn deliver(&mut self, byte: u8) {
        let at = self.delivered_bytes;
        // What comes before is not its source's, and was looked at when it was sent.
        if let Some(at) = at.checked_sub(self.heading.own_bytes()) {
            let Some(expects) = self.expects else { panic!("a byte for a peer that expects none") };
            assert!(
                byte == pattern(expects, self.begins_at + at),
                "byte {at} to the peer is not byte {at} of its source"
            );
        }
        self.delivered_bytes += 1;
        self.progress += 1;
    }

    fn read(&mut self, now: u64) {
        let unread = self.delivered_bytes - self.peer.read_bytes;
        if unread == 0 || self.peer.closed {
            return;
        }
        let bytes = match self.peer.reading {
            Reading::Never => return,
            Reading::Fast => unread,
            Reading::StallsUntil(moment) if now < moment => return self.wake_by(moment),
            Reading::StallsUntil(_) => unread,
            Reading::Slow { .. } if now < self.peer.reads_next => {
                return self.wake_by(self.peer.reads_next);
            }
            Reading::Slow { bytes, every_millis } => {
                self.peer.reads_next = now + every_millis;
                bytes.min(unread)
            }
        };
        self.peer.read_bytes += bytes;
        self.progress += bytes;
    }
}
