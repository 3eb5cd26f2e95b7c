//! Guards: the options by which the kernel finds a peer that is gone.

use std::rc::Rc;

use super::KernelRing;
use super::layout::Place;
use super::sqe::{self, Tag};
use crate::base::Guard;
use crate::ring::token::Token;

/// Values of options, in memory that queued entries name: each has its place until the rings are
/// closed. There are few, those that some config has had.
pub(super) struct Values(Vec<Rc<libc::c_int>>);

impl Values {
    /// None.
    pub(super) fn new() -> Values {
        Values(Vec::new())
    }

    /// Where `value` is.
    fn place_of(&mut self, value: libc::c_int) -> *const libc::c_int {
        let place = self.0.iter().position(|one| **one == value).unwrap_or_else(|| {
            self.0.push(Rc::new(value));
            self.0.len() - 1
        });
        &raw const *self.0[place]
    }
}

impl KernelRing {
    /// Sets the options of a guard. They are set in order without a link, as those of an open; the
    /// last one answers for all.
    pub(super) fn start_guard(&mut self, Place { table, slot }: Place, token: Token, guard: Guard) {
        let mut steps = arrayvec::ArrayVec::<_, 4>::new();
        match guard {
            // Probes are switched on before the time that they wait for is set: that counts from
            // the peer's last segment then, not from now (tcp_sock_set_keepidle_locked).
            Guard::Silence { idle_seconds, interval_seconds, probes } => steps.extend([
                (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, interval_seconds.into()),
                (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, probes.into()),
                (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
                (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, idle_seconds.into()),
            ]),
            Guard::Unacknowledged { millis } => {
                let millis = libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX);
                steps.push((libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis));
            }
        }
        let last = steps.len() - 1;
        for (index, (level, option, value)) in steps.into_iter().enumerate() {
            let value = self.memory.values.place_of(value);
            let user_data = if index == last { token.pack() } else { Tag::Swallowed.with(0) };
            self.push(table, sqe::set_value(slot, level, option, value), user_data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_where_it_is_and_is_kept_once() {
        let mut values = Values::new();
        let first = values.place_of(300);
        for value in 0..1000 {
            values.place_of(value);
        }
        assert!(std::ptr::eq(first, values.place_of(300)));
        assert_eq!(values.0.len(), 1000);
    }
}
