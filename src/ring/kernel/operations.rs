//! Operations: each as an entry of its kernel ring, or as steps of a part that does more.

use super::KernelRing;
use super::layout::Place;
use super::sqe::{self, Tag};
use crate::base::{ConnIndex, OpKind, Operation, ServerId};
use crate::ring::contract::{FourTuple, Operations};
use crate::ring::token::Token;

impl Operations for KernelRing {
    fn add_server(&mut self, server: ServerId) {
        let socket = self.supplies.server(server);
        self.memory.servers.add(server, &socket);
        self.self_connects.add(server, &socket);
    }

    fn remove_server(&mut self, server: ServerId) {
        self.memory.servers.remove(server);
        self.self_connects.remove(server);
    }

    fn start(&mut self, token: Token, operation: Operation) {
        let at = self.tables.place(token.conn, token.side);
        let Place { table, slot } = at;
        debug_assert_eq!(token.kind, operation.kind());
        let user_data = token.pack();
        let entry = match operation {
            Operation::Open(server, from) => return self.start_open(at, token, server, from),
            Operation::Addresses => return self.start_addresses(token),
            Operation::Send(chunk) if chunk.buffer.is_pipe() => {
                return self.descriptors.send_pipe(token, chunk);
            }
            Operation::Connect(server) => {
                self.self_connects.begun(token, server);
                sqe::connect(slot, &self.memory.servers.get(server).address)
            }
            Operation::WaitReadable | Operation::Splice => {
                return self.start_after_receives(at, token);
            }
            Operation::Receive => return self.start_receive(at, token),
            Operation::Send(chunk) => {
                sqe::send(slot, self.memory.bytes(chunk).as_ptr(), chunk.length_bytes)
            }
            Operation::WaitWritable => {
                self.hold_receives(token);
                sqe::wait_writable(slot)
            }
            Operation::Shutdown => return self.start_shutdown(token),
            Operation::WatchHangup => sqe::watch_hangup(slot),
            Operation::Reset => sqe::reset(slot),
            Operation::Unacknowledged => sqe::unacknowledged(slot),
            Operation::Guard(guard) => return self.start_guard(at, token, guard),
            Operation::Cancel(kinds) => {
                self.tables[table].receives.cancel(slot);
                for kind in kinds.kinds() {
                    self.cancel_one(table, Token { kind, ..token });
                }
                sqe::nothing()
            }
            Operation::Close => {
                self.addresses.forget(token.conn, token.side);
                self.descriptors.close(token.conn, token.side);
                self.moving.close(token.conn, token.side);
                self.ask_waiting();
                return self.start_after_receives(at, token);
            }
        };
        self.push(table, entry, user_data);
    }

    fn addresses(&mut self, token: Token) -> Option<FourTuple> {
        self.addresses.take(token)
    }

    fn end_splices(&mut self, conn: ConnIndex) {
        self.descriptors.end_splices(conn);
        self.ask_waiting();
    }
}

impl KernelRing {
    pub(super) fn cancel_one(&mut self, table: usize, target: Token) {
        let target_data = target.pack();
        let entry = match target.kind {
            OpKind::WaitReadable | OpKind::WaitWritable | OpKind::WatchHangup => {
                sqe::cancel_poll(target_data)
            }
            _ => sqe::cancel_request(target_data),
        };
        self.push(table, entry, Tag::CancelStep.with(target_data));
    }
}
