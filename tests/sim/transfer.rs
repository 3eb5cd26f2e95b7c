//! How bytes come into buffers and pipes of the simulated kernel, and out of them.

use std::sync::atomic::Ordering;

use portcullis::base::{Chunk, Errno};
use portcullis::ring::ConnIndex;

use crate::fault::Fault;
use crate::kernel::Outcome;
use crate::link::Found;
use crate::ring::SimRing;

impl SimRing {
    /// Takes what is there into a buffer.
    pub fn receive(&mut self, index: usize) -> Outcome {
        let link = &mut self.links[index];
        let has_data = link.sent_bytes > link.received_bytes;
        if !self.buffers.any_free() && (has_data || self.random.percent(50)) {
            self.faults.note(Fault::PoolExhausted);
            return (Err(Errno::ENOBUFS), None);
        }
        if has_data && self.faults.strikes(Fault::ReceiveNoBuffer, &mut self.random) {
            return (Err(Errno::ENOBUFS), None);
        }
        match link.find() {
            Found::Bytes(waiting_bytes) => {
                let mut length = waiting_bytes.min(u64::from(self.buffers.buffer_bytes));
                if length > 1 && self.faults.strikes(Fault::ShortRead, &mut self.random) {
                    length = self.random.between(1, length - 1);
                }
                let bytes = link.take(length, self.clock.load(Ordering::Relaxed));
                (Ok(length), Some(self.buffers.fill(bytes)))
            }
            Found::Zero => {
                if link.error_went_elsewhere() {
                    self.faults.note(Fault::ErrorElsewhere);
                }
                (Ok(0), None)
            }
            Found::Failed(error) => (Err(error), None),
            Found::Nothing => panic!("a receive was run before it was ready"),
        }
    }

    /// Puts what fits into a link.
    pub fn send(&mut self, index: usize, mut bytes: Vec<u8>) -> Result<u64, Errno> {
        if self.faults.strikes(Fault::SendNoMemory, &mut self.random) {
            return Err(self.random.pick(&[Errno::ENOBUFS, Errno::ENOMEM, Errno::EINTR]));
        }
        let whole = bytes.len();
        if whole > 1 && self.faults.roll(Fault::ShortWrite, &mut self.random) {
            bytes.truncate(self.random.between(1, whole as u64 - 1) as usize);
        }
        let now = self.now();
        let result = self.links[index].send(&bytes, now);
        match result {
            Ok(sent) if sent < whole as u64 => self.faults.note(Fault::ShortWrite),
            Err(Errno::EAGAIN) => self.faults.note(Fault::SendWouldBlock),
            _ => {}
        }
        result
    }

    /// Moves what is there into a pipe.
    pub fn splice(&mut self, conn: ConnIndex, index: usize) -> Outcome {
        let most = self.shape.pipes as usize;
        if !self.pipes.installed.contains(&conn.0) {
            let refused = self.faults.strikes(Fault::InstallRefused, &mut self.random);
            if refused || self.pipes.installed.len() >= most {
                return (Err(Errno::EMFILE), None);
            }
            self.pipes.installed.insert(conn.0);
        }
        if self.pipes.held() >= most {
            self.faults.note(Fault::PipesExhausted);
            return (Err(Errno::EMFILE), None);
        }
        let link = &mut self.links[index];
        let has_data = link.sent_bytes > link.received_bytes;
        if has_data && self.faults.strikes(Fault::SpliceBlind, &mut self.random) {
            return (Err(Errno::EAGAIN), None);
        }
        match link.find() {
            Found::Bytes(waiting_bytes) => {
                let mut length = waiting_bytes.min(self.shape.pipe_bytes);
                if length > 1 && self.faults.strikes(Fault::ShortSplice, &mut self.random) {
                    length = self.random.between(1, length - 1);
                }
                let now = self.now();
                let link = &mut self.links[index];
                let bytes = link.take(length, now);
                if link.fin_in && length == waiting_bytes {
                    self.faults.note(Fault::FinBehindPipe);
                }
                (Ok(length), Some(self.pipes.fill(conn, bytes)))
            }
            Found::Zero => (Ok(0), None),
            Found::Failed(error) => (Err(error), None),
            Found::Nothing => {
                self.faults.note(Fault::SpliceWouldBlock);
                (Err(Errno::EAGAIN), None)
            }
        }
    }

    /// Moves what fits out of a pipe into a link.
    pub fn splice_out(&mut self, index: usize, chunk: Chunk) -> Result<u64, Errno> {
        let bytes = self.pipes.bytes(chunk).to_vec();
        let whole = bytes.len() as u64;
        let result = self.send(index, bytes);
        match result {
            Ok(sent_bytes) => {
                self.pipes.sent(chunk.buffer, sent_bytes);
                if sent_bytes < whole {
                    self.faults.note(Fault::ShortSpliceOut);
                }
            }
            Err(Errno::EAGAIN) => self.faults.note(Fault::PipeStalled),
            Err(Errno::ECONNRESET | Errno::EPIPE) => self.faults.note(Fault::ResetWithPipe),
            Err(_) => {}
        }
        result
    }
}
