//! What is at the other end of a socket: a client or a server that follows a script.

use std::collections::VecDeque;

use crate::postgres::Manner;
use crate::random::Random;

/// One step of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send so many bytes, in pieces.
    Send(u64),
    /// Do nothing for so many milliseconds.
    Pause(u64),
    /// Go on when so many bytes came in all, or the end.
    AwaitBytes(u64),
    /// Go on when the end came.
    AwaitEnd,
    /// The same, or when the client is joined: nobody answers it then.
    AwaitAnswer(u64),
    /// When it has been asked for TLS, do this; go on when it was not.
    Answer(Manner),
    /// Send FIN and read on.
    Fin,
    /// Send RST.
    Rst,
    /// Close: FIN, or RST when something was not read.
    Close,
}

impl Step {
    /// It ends the peer's direction.
    fn ends(self) -> bool {
        matches!(self, Step::Fin | Step::Rst | Step::Close)
    }
}

/// How a peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// At once.
    Fast,
    /// So many bytes every so many milliseconds.
    Slow { bytes: u64, every_millis: u64 },
    /// Not before that moment, then fast.
    StallsUntil(u64),
    /// Not at all.
    Never,
}

/// What a peer never does, however calm all else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// It does not read.
    Reads,
    /// It sends no end.
    Closes,
    /// From that moment on its host answers nothing, and what it is sent gets nowhere.
    Answers(u64),
}

/// A peer.
#[derive(Clone, Debug)]
pub struct Peer {
    server: bool,
    /// It holds its connection for ever.
    pub never: Option<Never>,
    pub script: VecDeque<Step>,
    pub reading: Reading,
    /// Bytes that arrived and that the peer has read.
    pub read_bytes: u64,
    /// Unread bytes that its kernel keeps for it.
    pub room_bytes: u64,
    pub paused_until: Option<u64>,
    pub reads_next: u64,
    /// It sent FIN.
    pub finished: bool,
    /// Its socket is closed.
    pub closed: bool,
}

impl Peer {
    /// Some client or server. `largest` bounds what it sends in one step.
    pub fn new(random: &mut Random, largest: u64, now: u64, server: bool) -> Peer {
        Peer {
            server,
            never: None,
            script: script(random, largest, server).into(),
            reading: reading(random, now),
            read_bytes: 0,
            room_bytes: random.pick(&[1, 8, 24, 64, 200]),
            paused_until: None,
            reads_next: 0,
            finished: false,
            closed: false,
        }
    }

    /// Perhaps it holds its connection for ever: drawn apart, in so many of a hundred peers.
    pub fn hold(&mut self, percent: u64, mut random: Random, now: u64) {
        if !random.percent(percent) {
            return;
        }
        let vanishes = Never::Answers(now + random.between(0, 1500));
        let never = random.pick(&[Never::Reads, Never::Closes, vanishes]);
        match never {
            Never::Reads => self.reading = Reading::Never,
            Never::Closes => self.script.retain(|step| !step.ends()),
            Never::Answers(_) => {}
        }
        self.never = Some(never);
    }

    /// It gives up what it never did before.
    pub fn give_in(&mut self) {
        self.never = None;
    }

    /// Its host answers nothing any more.
    pub fn has_vanished(&self, now: u64) -> bool {
        matches!(self.never, Some(Never::Answers(from)) if from <= now)
    }

    /// From now on it does what brings the connection to an end: reads all, sends the rest, ends
    /// its direction, waits for the end of the other and closes. `heeded`: somebody reads what it
    /// sends.
    pub fn calm_down(&mut self, heeded: bool) {
        if self.never != Some(Never::Reads) {
            self.reading = Reading::Fast;
        }
        self.paused_until = None;
        self.room_bytes = self.room_bytes.max(200);
        if self.closed {
            return;
        }
        self.script.retain(|step| match step {
            Step::Send(_) => heeded,
            Step::AwaitAnswer(_) | Step::Answer(_) => true,
            step => *step == Step::Rst,
        });
        if self.never == Some(Never::Closes) {
            self.script.retain(|step| !step.ends());
            return;
        }
        // A server waits for the client's end first, so each end must be passed on by itself.
        let ending = match self.server {
            true => [Step::AwaitEnd, Step::Fin, Step::Close],
            false => [Step::Fin, Step::AwaitEnd, Step::Close],
        };
        self.script.extend(ending);
    }
}

fn reading(random: &mut Random, now: u64) -> Reading {
    match random.below(10) {
        0..=4 => Reading::Fast,
        5 | 6 => {
            Reading::Slow { bytes: random.between(1, 40), every_millis: random.between(1, 20) }
        }
        7 | 8 => Reading::StallsUntil(now + random.between(10, 800)),
        _ => Reading::Never,
    }
}

fn script(random: &mut Random, largest: u64, server: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let speaks_first = random.percent(if server { 30 } else { 80 });
    if speaks_first {
        steps.push(Step::Send(random.between(1, largest)));
    }
    for _ in 0..random.below(4) {
        steps.push(match random.below(8) {
            0..=2 => Step::Send(random.between(1, largest)),
            3 | 4 => Step::Pause(random.between(1, 300)),
            5 => Step::AwaitBytes(random.between(1, largest)),
            6 => Step::AwaitEnd,
            _ => Step::Fin,
        });
    }
    let ending: &[Step] = match random.below(8) {
        0..=2 => &[Step::Fin, Step::AwaitEnd, Step::Close],
        3 => &[Step::AwaitEnd, Step::Close],
        4 => &[Step::Close],
        5 => &[Step::Rst],
        6 => &[Step::Fin, Step::Rst],
        _ => &[Step::Fin, Step::Pause(20), Step::Rst],
    };
    steps.extend(ending);
    if random.percent(15) {
        let cut = random.below(steps.len() as u64 + 1) as usize;
        steps.truncate(cut);
        steps.push(Step::Rst);
    }
    steps
}
