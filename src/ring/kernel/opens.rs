//! Sockets made in slots: each open is several steps, which end as one operation.

use io_uring::squeue;

use super::KernelRing;
use super::cqe::done;
use super::layout::Place;
use super::sqe::{self, Tag};
use crate::base::{Errno, ServerId, Side, Source};
use crate::ring::contract::Completion;
use crate::ring::token::Token;

/// An open under way. Its steps are queued together and run in order; it ends with the last.
pub(super) struct Opening {
    token: u64,
    steps_left: u8,
    made: bool,
    error: Option<Errno>,
}

impl KernelRing {
    /// Starts an open.
    pub(super) fn start_open(&mut self, at: Place, token: Token, server: ServerId, from: Source) {
        let Place { table, slot } = at;
        if token.side == Side::Client {
            assert!(self.gates.len() == 0, "client slots belong to accepts");
            self.tables.client_came(table, slot);
        }
        let server = self.memory.servers.get(server);
        let mut steps = arrayvec::ArrayVec::<squeue::Entry, 5>::new();
        steps.push(sqe::socket(slot, &server.address));
        steps.push(sqe::set_option(slot, libc::IPPROTO_TCP, libc::TCP_NODELAY));
        steps.push(sqe::take_any_port(slot));
        if let Some(source) = server.source(from) {
            // The port is chosen at connect, when the whole four-tuple counts (Linux 4.2).
            let no_port = libc::IP_BIND_ADDRESS_NO_PORT;
            steps.push(sqe::set_option(slot, libc::IPPROTO_IP, no_port));
            steps.push(sqe::bind(slot, source));
        }
        let token = token.pack();
        self.tables[table].opens.push_back(Opening {
            token,
            steps_left: steps.len() as u8,
            made: false,
            error: None,
        });
        for (index, step) in steps.into_iter().enumerate() {
            // Each is complete when it has been submitted, so they run in order without a link,
            // at half of its price; a step that ran too early would fail the open.
            let tag = if index == 0 { Tag::OpenSocket } else { Tag::OpenStep };
            self.push(table, step, tag.with(token));
        }
    }

    /// Notes the end of one step; the last one ends the open, or undoes what it made.
    pub(super) fn open_step(
        &mut self,
        table: usize,
        tag: Tag,
        payload: u64,
        result: Result<u32, Errno>,
    ) -> Option<Completion> {
        let opens = &mut self.tables[table].opens;
        let Some(opening) = opens.iter_mut().find(|one| one.token == payload) else {
            self.counters.unknown_completions += 1;
            return None;
        };
        opening.steps_left -= 1;
        opening.made |= tag == Tag::OpenSocket && result.is_ok();
        // The first error is the cause; without a socket the others fail too, with EBADF.
        opening.error = opening.error.or(result.err());
        if opening.steps_left > 0 {
            return None;
        }
        if opening.error.is_some() && opening.made {
            let token = Token::unpack(payload)?;
            let slot = self.tables.place(token.conn, token.side).slot;
            self.push(table, sqe::close(slot), Tag::OpenUndo.with(payload));
            return None;
        }
        let opening = self.take_opening(table, payload)?;
        Some(done(payload, opening.error.map_or(Ok(0), Err)))
    }

    /// The close that undid an open has completed.
    pub(super) fn open_undone(&mut self, table: usize, payload: u64) -> Option<Completion> {
        let opening = self.take_opening(table, payload)?;
        Some(done(opening.token, Err(opening.error.unwrap_or(Errno::EIO))))
    }

    fn take_opening(&mut self, table: usize, payload: u64) -> Option<Opening> {
        let opens = &mut self.tables[table].opens;
        let place = opens.iter().position(|one| one.token == payload);
        if place.is_none() {
            self.counters.unknown_completions += 1;
        }
        let opening = opens.remove(place?)?;
        if opening.error.is_some()
            && Token::unpack(opening.token).is_some_and(|token| token.side == Side::Client)
        {
            self.tables.client_left(table);
        }
        Some(opening)
    }
}
