//! How bytes come into buffers and pipes of the simulated kernel, and out of them.

use portcullis::base::{Chunk, Errno};
use portcullis::ring::ConnIndex;

use crate::fault::Fault;
use crate::kernel::Outcome;
use crate::link::Found;
use crate::ring::SimRing;

impl SimRing {
    /// Takes what was received ahead, else what is there into a buffer.
    pub fn receive(&mut self, index: usize) -> Outcome {
        if let Some(piece) = self.next_ahead(index) {
            self.links[index].ahead.told();
            return piece;
        }
        let has_data = self.has_data(index);
        if !self.buffers.any_free() && (has_data || self.random.percent(50)) {
            self.faults.note(Fault::PoolExhausted);
            return (Err(Errno::ENOBUFS), None);
        }
        if has_data && self.faults.strikes(Fault::ReceiveNoBuffer, &mut self.random) {
            return (Err(Errno::ENOBUFS), None);
        }
        let most_bytes = u64::from(self.buffers.buffer_bytes);
        match self.take(index, most_bytes, Fault::ShortRead) {
            Some(Ok(bytes)) if bytes.is_empty() => {
                if self.links[index].error_went_elsewhere() {
                    self.faults.note(Fault::ErrorElsewhere);
                }
                (Ok(0), None)
            }
            Some(Ok(bytes)) => {
                self.arm(index);
                (Ok(bytes.len() as u64), Some(self.buffers.fill(bytes)))
            }
            Some(Err(error)) => (Err(error), None),
            None => panic!("a receive was run before it was ready"),
        }
    }

    fn has_data(&self, index: usize) -> bool {
        let link = &self.links[index];
        link.sent_bytes > link.received_bytes
    }

    /// What a link has to say now, if anything: bytes, as many as asked for or fewer where `short`
    /// strikes, or none of them, which is the end, or an error.
    pub fn take(
        &mut self,
        index: usize,
        most_bytes: u64,
        short: Fault,
    ) -> Option<Result<Vec<u8>, Errno>> {
        let now = self.now();
        let link = &mut self.links[index];
        match link.find() {
            Found::Bytes(waiting_bytes) => {
                let mut length = waiting_bytes.min(most_bytes);
                if length > 1 && self.faults.strikes(short, &mut self.random) {
                    length = self.random.between(1, length - 1);
                }
                Some(Ok(link.take(length, now)))
            }
            Found::Zero => Some(Ok(Vec::new())),
            Found::Failed(error) => Some(Err(error)),
            Found::Nothing => None,
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
        let was_whole = self.links[index].heading.is_whole();
        let result = self.links[index].send(&bytes, now);
        self.note_heading(index, was_whole);
        match result {
            Ok(sent) if sent < whole as u64 => self.faults.note(Fault::ShortWrite),
            Err(Errno::EAGAIN) => self.faults.note(Fault::SendWouldBlock),
            _ => {}
        }
        result
    }

    /// Takes what was received ahead, else moves what is there into a pipe.
    pub fn splice(&mut self, conn: ConnIndex, index: usize) -> Outcome {
        if let Some(piece) = self.next_ahead(index) {
            return piece;
        }
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
        if self.has_data(index) && self.faults.strikes(Fault::SpliceBlind, &mut self.random) {
            return (Err(Errno::EAGAIN), None);
        }
        match self.take(index, self.shape.pipe_bytes, Fault::ShortSplice) {
            Some(Ok(bytes)) if bytes.is_empty() => (Ok(0), None),
            Some(Ok(bytes)) => {
                let link = &self.links[index];
                if link.fin_in && link.sent_bytes == link.received_bytes {
                    self.faults.note(Fault::FinBehindPipe);
                }
                (Ok(bytes.len() as u64), Some(self.pipes.fill(conn, bytes)))
            }
            Some(Err(error)) => (Err(error), None),
            None => {
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
