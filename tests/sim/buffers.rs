//! The simulated ring's memory: a pool of receive buffers, and parked chunks beside it.

use std::collections::BTreeMap;
use std::ops::Range;

use portcullis::base::{Buffer, Chunk};

/// Parked chunks are numbered from here on, so that no number is ever used twice.
const FIRST_PARKED: u32 = 1 << 16;

/// Room before and behind the bytes of a pool buffer.
const ROOM: usize = 64;

/// One in so many pool buffers has none.
const CRAMPED: u32 = 4;

/// Who has a pool buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody: the next receive may take it.
    Kernel,
    /// A completion that was not seen yet.
    Completion,
    /// A piece that was received ahead, until the worker sees it.
    Ahead,
    /// The worker.
    Worker,
}

/// All memory that bytes can lie in.
#[derive(Debug)]
pub struct Buffers {
    pool: Vec<(Holder, Vec<u8>)>,
    parked: BTreeMap<u32, Vec<u8>>,
    next_parked: u32,
    parked_limit: u64,
    pub buffer_bytes: u32,
    /// Pool buffers that came back since somebody last asked.
    returned: u32,
    /// Chunks that were parked.
    pub chunks_parked: u64,
}

impl Buffers {
    pub fn new(count: u32, buffer_bytes: u32, parked_limit: u64) -> Buffers {
        Buffers {
            pool: vec![(Holder::Kernel, Vec::new()); count as usize],
            parked: BTreeMap::new(),
            next_parked: FIRST_PARKED,
            parked_limit,
            buffer_bytes,
            returned: 0,
            chunks_parked: 0,
        }
    }

    /// Whether a receive would find one.
    pub fn any_free(&self) -> bool {
        self.unused() > 0
    }

    /// How many receives would find one.
    pub fn unused(&self) -> usize {
        self.pool.iter().filter(|(holder, _)| *holder == Holder::Kernel).count()
    }

    /// Fills a free buffer.
    pub fn fill(&mut self, bytes: Vec<u8>) -> Buffer {
        self.fill_for(Holder::Completion, bytes)
    }

    /// Fills a free buffer with what nobody has asked for.
    pub fn fill_ahead(&mut self, bytes: Vec<u8>) -> Buffer {
        self.fill_for(Holder::Ahead, bytes)
    }

    fn fill_for(&mut self, holder: Holder, bytes: Vec<u8>) -> Buffer {
        let index = self.pool.iter().position(|(holder, _)| *holder == Holder::Kernel);
        let index = index.expect("somebody looked whether one is free");
        self.pool[index] = (holder, [&[0; ROOM], &bytes[..], &[0; ROOM]].concat());
        Buffer(index as u32)
    }

    /// The worker sees the completion that carries `buffer`.
    pub fn hand_over(&mut self, buffer: Buffer) {
        if buffer.0 >= FIRST_PARKED {
            assert!(self.parked.contains_key(&buffer.0), "{buffer:?} was released unseen");
            return;
        }
        let holder = &mut self.pool[buffer.0 as usize].0;
        let unseen = matches!(holder, Holder::Completion | Holder::Ahead);
        assert!(unseen, "{buffer:?} was not in a completion");
        *holder = Holder::Worker;
    }

    pub fn release(&mut self, buffer: Buffer) {
        self.give_back(buffer, Holder::Worker);
    }

    /// Gives back what was received ahead.
    pub fn discard(&mut self, buffer: Buffer) {
        self.give_back(buffer, Holder::Ahead);
    }

    fn give_back(&mut self, buffer: Buffer, from: Holder) {
        if buffer.0 >= FIRST_PARKED {
            assert!(self.parked.remove(&buffer.0).is_some(), "{buffer:?} was released twice");
            return;
        }
        let holder = &mut self.pool[buffer.0 as usize].0;
        assert_eq!(*holder, from, "{buffer:?} was released but not held");
        *holder = Holder::Kernel;
        self.returned += 1;
    }

    pub fn take_returned(&mut self) -> u32 {
        std::mem::take(&mut self.returned)
    }

    /// The bytes of a chunk that the worker holds.
    pub fn bytes(&self, chunk: Chunk) -> &[u8] {
        let id = chunk.buffer.0;
        let all = match self.parked.get(&id) {
            Some(parked) => parked,
            None => {
                assert!(id < FIRST_PARKED, "{chunk:?} was released");
                let (holder, bytes) = &self.pool[id as usize];
                let is_held = *holder == Holder::Worker;
                assert!(is_held, "{chunk:?} lies in a buffer that was released");
                bytes
            }
        };
        let part = part(chunk);
        assert!(!part.is_empty() && part.end <= all.len(), "{chunk:?} of {} bytes", all.len());
        &all[part]
    }

    /// The same, to be changed in place.
    pub fn bytes_mut(&mut self, chunk: Chunk) -> &mut [u8] {
        self.bytes(chunk);
        let all = match self.parked.get_mut(&chunk.buffer.0) {
            Some(parked) => parked,
            None => &mut self.pool[chunk.buffer.0 as usize].1,
        };
        &mut all[part(chunk)]
    }

    /// All bytes of a buffer that was received ahead.
    pub fn bytes_ahead(&self, buffer: Buffer) -> &[u8] {
        match self.parked.get(&buffer.0) {
            Some(parked) => parked,
            None => {
                let all = &self.pool[buffer.0 as usize].1;
                &all[ROOM..all.len() - ROOM]
            }
        }
    }

    /// `None`: there is no room in its buffer.
    pub fn stretch(&self, chunk: Chunk, before_bytes: u32, behind_bytes: u32) -> Option<Chunk> {
        let start_bytes = chunk.start_bytes - before_bytes as i32;
        let length_bytes = before_bytes + chunk.length_bytes + behind_bytes;
        let stretched = Chunk { start_bytes, length_bytes, ..chunk };
        let is_roomy = chunk.buffer.0 < FIRST_PARKED && !chunk.buffer.0.is_multiple_of(CRAMPED);
        let fits = || part(stretched).end <= self.pool[chunk.buffer.0 as usize].1.len();
        (is_roomy && before_bytes as usize <= ROOM && fits()).then_some(stretched)
    }

    /// The worker fills a free buffer; what it held before is unspecified.
    pub fn fill_by(&mut self, length_bytes: u32, write: impl FnOnce(&mut [u8])) -> Chunk {
        let fits = (1..=self.buffer_bytes).contains(&length_bytes);
        assert!(fits, "{length_bytes} bytes for a buffer of {}", self.buffer_bytes);
        let mut bytes = vec![0xA5; length_bytes as usize];
        write(&mut bytes);
        let buffer = self.fill_for(Holder::Worker, bytes);
        Chunk { buffer, start_bytes: 0, length_bytes }
    }

    /// `None` when there is no room. A chunk that is parked already stays where it is.
    pub fn park(&mut self, chunk: Chunk) -> Option<Chunk> {
        let bytes = self.bytes(chunk).to_vec();
        if chunk.buffer.0 >= FIRST_PARKED {
            return Some(chunk);
        }
        let buffer = self.keep(bytes)?;
        self.release(chunk.buffer);
        Some(Chunk { buffer, start_bytes: 0, length_bytes: chunk.length_bytes })
    }

    /// `None` when there is no room.
    pub fn widen(&mut self, chunk: Chunk, before_bytes: u32, after_bytes: u32) -> Option<Chunk> {
        let mut bytes = vec![0; before_bytes as usize];
        bytes.extend_from_slice(self.bytes(chunk));
        bytes.resize(bytes.len() + after_bytes as usize, 0);
        let length_bytes = bytes.len() as u32;
        Some(Chunk { buffer: self.keep(bytes)?, start_bytes: 0, length_bytes })
    }

    /// `None` when there is no room.
    pub fn place(&mut self, bytes: &[u8]) -> Option<Chunk> {
        let length_bytes = bytes.len() as u32;
        Some(Chunk { buffer: self.keep(bytes.to_vec())?, start_bytes: 0, length_bytes })
    }

    /// As [`Buffers::park`], for what was received ahead.
    pub fn park_ahead(&mut self, buffer: Buffer) -> Option<Buffer> {
        let parked = self.keep(self.bytes_ahead(buffer).to_vec())?;
        self.discard(buffer);
        Some(parked)
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Option<Buffer> {
        if !self.can_park(bytes.len() as u64) {
            return None;
        }
        let id = self.next_parked;
        self.next_parked += 1;
        self.chunks_parked += 1;
        self.parked.insert(id, bytes);
        Some(Buffer(id))
    }

    /// Whether there is room for so many bytes more.
    pub fn can_park(&self, bytes: u64) -> bool {
        self.parked_bytes() + bytes <= self.parked_limit
    }

    pub fn parked_bytes(&self) -> u64 {
        self.parked.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Buffers that neither the worker holds nor what was received ahead.
    pub fn free(&self) -> u32 {
        let free = |holder| matches!(holder, Holder::Kernel | Holder::Completion);
        self.pool.iter().filter(|(holder, _)| free(*holder)).count() as u32
    }

    pub fn all(&self) -> u32 {
        self.pool.len() as u32
    }
}

/// Where a chunk lies in the memory of its buffer.
fn part(chunk: Chunk) -> Range<usize> {
    let room = if chunk.buffer.0 < FIRST_PARKED { ROOM as i32 } else { 0 };
    let start = usize::try_from(chunk.start_bytes + room).expect("a byte of its buffer");
    start..start + chunk.length_bytes as usize
}
