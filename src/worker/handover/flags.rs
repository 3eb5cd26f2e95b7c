//! Flags: what the predecessor could take back of what has come.

use super::arriving::Arriving;
use super::custody::Custody;
use crate::base::{ConnIndex, OpKind, Side};
use crate::courier::Flag;
use crate::ring::{Moves as _, Ring};
use crate::worker::Worker;

impl<S> Arriving<S> {
    /// Says by its flag, before anything is asked for, that bytes of a connection may be in hand
    /// here from now on, or that none are.
    pub(in crate::worker) fn flag(&mut self, index: ConnIndex, flag: Flag) {
        let Some(Some(custody)) = self.custody.get_mut(index.0 as usize) else { return };
        if custody.flag != flag {
            custody.flag = flag;
            let way = &mut self.ways[usize::from(custody.way)];
            way.link.set_flag(way.flags_at + u64::from(custody.slot), flag);
        }
    }

    /// Where a connection was that has come from the predecessor, which could take it back as far
    /// as it is known for good.
    fn revocable(&self, index: ConnIndex) -> Option<Custody> {
        let custody = self.custody.get(index.0 as usize).copied().flatten();
        custody.filter(|custody| !custody.is_final)
    }

    /// Whether it came without a server, and could still go back.
    fn is_unserved(&self, index: ConnIndex) -> bool {
        self.revocable(index).is_some_and(|custody| custody.is_unserved)
    }

    /// Something of it was received or sent: it cannot begin again.
    fn make_final(&mut self, index: ConnIndex) {
        if let Some(Some(custody)) = self.custody.get_mut(index.0 as usize) {
            custody.is_final = true;
        }
    }
}

impl<R: Ring> Worker<R> {
    /// Before it asks for bytes of a connection that another process could take back, or resets a
    /// peer of it, the worker says so; of one that speaks TLS also before it may seal a record, and
    /// of one that came without a server before it sends anything.
    pub(in crate::worker) fn flag_before(&mut self, index: ConnIndex, kind: OpKind) {
        let Some(arriving) = &mut self.arriving else { return };
        let takes = matches!(kind, OpKind::Receive | OpKind::Splice | OpKind::Reset);
        let gives = matches!(kind, OpKind::Send | OpKind::Shutdown);
        let may_seal = gives || kind == OpKind::Close;
        let is_secured = may_seal && self.ring.is_secured(index);
        let begins = gives && arriving.is_unserved(index);
        if takes || is_secured || begins {
            arriving.flag(index, Flag::InHand);
        }
        if begins {
            arriving.make_final(index);
        }
    }

    /// Whether the predecessor could begin again with a client that came without a server.
    pub(in crate::worker) fn may_go_back(&self, index: ConnIndex) -> bool {
        self.arriving.as_ref().is_some_and(|arriving| arriving.is_unserved(index))
    }

    /// A receive or a splice has brought something.
    pub(in crate::worker) fn flag_received(&mut self, index: ConnIndex) {
        if let Some(arriving) = &mut self.arriving
            && arriving.is_unserved(index)
        {
            arriving.make_final(index);
        }
    }

    /// Says so, too, when nothing is in hand any more.
    pub(in crate::worker) fn flag_at_rest(&mut self, index: ConnIndex) {
        let come = self.arriving.as_ref().and_then(|arriving| arriving.revocable(index));
        let come = come.filter(|custody| custody.flag == Flag::InHand);
        let Some(Custody { is_unserved, .. }) = come else { return };
        let conn = &self.lives.entry(index).conn;
        let is_at_rest = match is_unserved {
            true => conn.leaves_sockets_alone(),
            false => conn.holds_nothing(),
        };
        if !is_at_rest {
            return;
        }
        let mut ahead = Vec::new();
        let is_empty =
            Side::BOTH.iter().all(|side| self.ring.ahead(index, *side, &mut ahead).is_ok());
        if is_empty
            && ahead.is_empty()
            && let Some(arriving) = &mut self.arriving
        {
            arriving.flag(index, Flag::Idle);
        }
    }
}
