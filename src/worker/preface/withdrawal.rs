//! Clients that are read, or of which something is kept, and that go to another process.

use std::rc::Rc;
use std::sync::Arc;

use super::{Client, Kept, Prefaces, Read};
use crate::base::{Chunk, ConnIndex};
use crate::ring::Buffers;
use crate::worker::Preface;
use crate::worker::tls_in::Termination;

impl Prefaces {
    /// Whether all that a client has said can be said again: it was answered nothing, shakes no
    /// hands, and its server is asked nothing.
    pub(in crate::worker) fn can_withdraw(&self, index: ConnIndex) -> bool {
        match self.clients.get(&index) {
            Some(Client::Read(read) | Client::Aside(read)) => {
                !read.is_answered && read.request.is_none() && read.shake.is_none()
            }
            Some(Client::Kept(kept)) => kept.request.is_none() && kept.asked_bytes == 0,
            Some(Client::Waiting(_)) | None => true,
        }
    }

    /// Whether it is known by what address a client that is read may come in, where that may be
    /// what a header says.
    pub(in crate::worker) fn is_judged(&self, index: ConnIndex, asks_headers: bool) -> bool {
        let decoded = match self.clients.get(&index) {
            Some(Client::Read(read) | Client::Aside(read)) => read.decoded,
            _ => self.met.get(&index).map_or(0, |(_, headers)| *headers),
        };
        decoded >= usize::from(asks_headers)
    }

    /// A client leaves. Says what it has said, and what it leaves behind.
    pub(in crate::worker) fn withdraw(&mut self, index: ConnIndex) -> (Vec<u8>, Option<Chunk>) {
        let said = match self.clients.get_mut(&index) {
            Some(
                Client::Read(Read { taken, bytes, .. }) | Client::Aside(Read { taken, bytes, .. }),
            ) => {
                let mut said = std::mem::take(taken);
                said.append(bytes);
                said
            }
            Some(Client::Kept(Kept { bytes, .. })) => std::mem::take(bytes),
            Some(Client::Waiting(_)) | None => Vec::new(),
        };
        (said, self.leave(index))
    }

    /// A client enters of which these bytes are its server's.
    pub(in crate::worker) fn keep_again<R: Buffers>(
        &mut self,
        index: ConnIndex,
        bytes: Vec<u8>,
        ring: &mut R,
    ) {
        let mut kept = Kept::new(bytes);
        kept.ready = kept.fill(ring);
        self.clients.insert(index, Client::Kept(kept));
    }

    /// A client enters that has said this so far. It has a place, one more than there are if need
    /// be: what it has said is here in any case.
    pub(in crate::worker) fn read_again(
        &mut self,
        index: ConnIndex,
        tls: Option<Rc<Termination>>,
        said: &[u8],
        now: Arc<Preface>,
    ) {
        let client = self.seat(index);
        self.clients.insert(index, client);
        self.read(index).tls = tls;
        self.take(index, said, now);
    }
}
