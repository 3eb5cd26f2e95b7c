//! A ring over a ring changes the bytes that pass, and forwards all the rest.

use std::io::{Read, Write};
use std::time::Duration;

use portcullis::base::{Chunk, OpKind, Side};
use portcullis::ring::{
    Accepts, Buffers, Completion, ConnIndex, Done, Operation, Operations, Ring, ServerId, Token,
};

use crate::TestRing;
use crate::harness::Rig;

/// Every byte between a client and the ring's user goes through this.
const KEY: u8 = 0x2A;

/// Opens what clients send and seals what they get, in the buffers of the ring below.
struct Sealed(TestRing);

impl Sealed {
    fn turn_bytes(&mut self, chunk: Chunk) {
        self.0.bytes_mut(chunk).iter_mut().for_each(|byte| *byte ^= KEY);
    }
}

impl portcullis::ring::Layer for Sealed {
    type Below = TestRing;

    fn below(&self) -> &TestRing {
        &self.0
    }

    fn below_mut(&mut self) -> &mut TestRing {
        &mut self.0
    }

    fn start(&mut self, token: Token, operation: Operation) {
        if let (Side::Client, Operation::Send(chunk)) = (token.side, operation) {
            self.turn_bytes(chunk);
        }
        self.0.start(token, operation);
    }

    fn next(&mut self) -> Option<Completion> {
        let completion = self.0.next()?;
        if let Completion::Done(Done { token, result: Ok(length_bytes), buffer, .. }) = completion
            && let (Side::Client, OpKind::Receive, Some(buffer)) = (token.side, token.kind, buffer)
        {
            self.turn_bytes(Chunk { buffer, start_bytes: 0, length_bytes });
        }
        Some(completion)
    }
}

/// What a worker does, for one operation, over any ring.
fn run<R: Ring>(ring: &mut R, conn: ConnIndex, side: Side, operation: Operation) -> Done {
    let token = Token { conn, generation: 0, side, kind: operation.kind() };
    ring.start(token, operation);
    for _ in 0..100 {
        ring.turn(Some(Duration::from_millis(100))).expect("a turn");
        while let Some(completion) = ring.next() {
            if let Completion::Done(done) = completion
                && done.token == token
            {
                return done;
            }
        }
    }
    panic!("{operation:?} does not complete");
}

fn receive<R: Ring>(ring: &mut R, conn: ConnIndex, side: Side) -> Chunk {
    let done = run(ring, conn, side, Operation::Receive);
    let (buffer, length_bytes) = (done.buffer.expect("bytes"), done.result.expect("a length"));
    Chunk { buffer, start_bytes: 0, length_bytes }
}

fn sealed(words: &[u8]) -> Vec<u8> {
    words.iter().map(|byte| byte ^ KEY).collect()
}

#[test]
fn a_ring_over_a_ring_opens_and_seals_in_place_and_forwards_the_rest() {
    let mut rig = Rig::v4(2);
    let (mut client, conn) = rig.client();
    let mut server = rig.upstream(conn, 0);
    let mut ring = Sealed(rig.ring);
    assert_eq!((ring.slots(), ring.accept_room()), (2, 1));

    client.write_all(&sealed(b"ping")).expect("a write");
    let asked = receive(&mut ring, conn, Side::Client);
    assert_eq!(ring.bytes(asked), b"ping");
    let sent = run(&mut ring, conn, Side::Upstream, Operation::Send(asked));
    assert_eq!(sent.result, Ok(4));
    ring.release(asked.buffer);
    let mut heard = [0; 4];
    server.read_exact(&mut heard).expect("bytes");
    assert_eq!(&heard, b"ping");

    let answer = ring.fill(5, |bytes| bytes.copy_from_slice(b"pong!")).expect("a free buffer");
    assert_eq!(run(&mut ring, conn, Side::Client, Operation::Send(answer)).result, Ok(5));
    ring.release(answer.buffer);
    let mut heard = [0; 5];
    client.read_exact(&mut heard).expect("bytes");
    assert_eq!(heard.to_vec(), sealed(b"pong!"));

    assert_eq!(run(&mut ring, conn, Side::Upstream, Operation::Close).result, Ok(0));
    assert_eq!(run(&mut ring, conn, Side::Client, Operation::Close).result, Ok(0));
    assert_eq!(ring.free_buffers(), ring.pool_buffers());
    ring.remove_server(ServerId(0));
}
