//! What a connection brings into the worker that it comes to, beside its sockets and its record.

use super::extras::Extras;
use super::sink_of;
use crate::base::{BySide, Chunk, ConnIndex, Millis, Side};
use crate::conn::Wiring;
use crate::ring::{Buffers as _, Ring};
use crate::tls::Session;
use crate::wire::handover::{Extra, TlsFacts};
use crate::worker::unserved::Unserved;
use crate::worker::{TlsClient, Worker};

/// All of it, in buffers of this ring.
#[derive(Debug)]
pub(super) struct Brought {
    /// What it has in hand, by source. Where that waits sealed, so many bytes stand for it.
    pub(super) chunks: BySide<Option<Chunk>>,
    /// By side: sealed records that wait to be sent to it.
    sealed: BySide<Option<Chunk>>,
    /// What a client has said that has no server yet.
    said: Vec<u8>,
    extras: Extras,
}

impl Brought {
    /// Whether it speaks TLS on a side.
    pub(super) fn is_secured(&self) -> bool {
        self.extras.secured.0.iter().any(Option::is_some)
    }

    /// Where a client stood that has no server yet, if it has none; it has waited since then.
    pub(super) fn take_unserved(&mut self, since: Millis) -> Option<Unserved> {
        let stand = self.extras.stand?;
        Some(Unserved { stand, bytes: std::mem::take(&mut self.said), since })
    }
}

impl<R: Ring> Worker<R> {
    /// What comes along, where it is understood and there is memory for it.
    pub(super) fn unpack(
        &mut self,
        wiring: Option<Wiring>,
        mut in_hand: BySide<Vec<u8>>,
        extras: &[Extra],
    ) -> Option<Brought> {
        let mut extras = Extras::of(extras, wiring)?;
        let Some(wiring) = wiring else {
            // What it has said goes into no buffer.
            let said = std::mem::take(&mut in_hand[Side::Client]);
            let (chunks, sealed) = (BySide([None; 2]), BySide([None; 2]));
            let is_its = in_hand[Side::Upstream].is_empty();
            return is_its.then_some(Brought { chunks, sealed, said, extras });
        };
        let mut sealed = BySide([const { Vec::new() }; 2]);
        for sink in Side::BOTH {
            if let Some((moved, waits)) = &mut extras.secured[sink] {
                sealed[sink] = std::mem::take(waits);
                let data = vec![0; moved.waiting_data_bytes() as usize];
                in_hand[sink_of(wiring, sink)].splice(0..0, data);
            }
        }
        let (chunks, sealed_chunks) = (BySide([None; 2]), BySide([None; 2]));
        let mut brought = Brought { chunks, sealed: sealed_chunks, said: Vec::new(), extras };
        let is_placed = Side::BOTH.iter().all(|&side| {
            self.place(&in_hand[side], &mut brought.chunks[side])
                && self.place(&sealed[side], &mut brought.sealed[side])
        });
        if !is_placed {
            self.put_down(brought);
            return None;
        }
        Some(brought)
    }

    /// Puts bytes into memory of the ring, if there are any. `false`: there is none.
    fn place(&mut self, bytes: &[u8], chunk: &mut Option<Chunk>) -> bool {
        *chunk = if bytes.is_empty() { None } else { self.ring.place(bytes) };
        chunk.is_some() != bytes.is_empty()
    }

    /// It comes to nothing.
    pub(super) fn put_down(&mut self, brought: Brought) {
        let chunks = brought.chunks.0.into_iter().chain(brought.sealed.0);
        chunks.flatten().for_each(|chunk| self.ring.release(chunk.buffer));
    }

    /// A connection of this wiring has it from now on. Says what is in hand.
    pub(super) fn keep_brought(
        &mut self,
        index: ConnIndex,
        wiring: Wiring,
        brought: Brought,
    ) -> BySide<Option<Chunk>> {
        let Brought { chunks, sealed, extras, .. } = brought;
        let Extras { named, unique_id, header, tls_facts, mut secured, .. } = extras;
        if let Some(named) = named {
            self.named.put(index, named);
        }
        if let Some(id) = unique_id {
            self.headers.keep_id(index, id);
        }
        if let Some(header) = header {
            self.headers.keep_made(index, header);
        }
        let life = (index, self.lives.entry(index).generation);
        for side in Side::BOTH {
            let Some((moved, _)) = secured[side].take() else { continue };
            let from = chunks[sink_of(wiring, side)].map(|chunk| chunk.buffer);
            self.ring.take_over(life, side, moved, sealed[side].zip(from));
        }
        let suite = self.ring.session(index, Side::Client).map(Session::suite);
        if let Some((facts, suite)) = tls_facts.zip(suite) {
            let TlsFacts { server_name, common_name } = facts;
            self.tls_clients.keep(index, TlsClient { suite, server_name, common_name });
        }
        chunks
    }
}
