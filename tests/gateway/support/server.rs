//! Servers behind the gateway: one thread for each connection, and what each saw.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Builder};

use nix::sys::socket;

use super::crowd::STACK_BYTES;
use super::pattern::Pattern;
use super::socket::{deepen, narrow};
use super::{PATIENCE, client};

/// A server on a port of its own; it ends with this value.
pub(crate) struct Server<T> {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicU64>,
    outcomes: Receiver<thread::Result<T>>,
    listener: TcpListener,
}

impl<T: Send + 'static> Server<T> {
    /// Hands each connection to `handle`, in a thread of its own.
    pub(crate) fn start(handle: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0", handle)
    }

    /// The same, on an address of the test's choice.
    pub(crate) fn on(
        address: &str,
        handle: impl Fn(TcpStream) -> T + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a server's address is free");
        deepen(&listener);
        Self::accept_on(listener, handle)
    }

    /// The same with small socket buffers, so that few bytes stall a connection.
    pub(crate) fn start_narrow(handle: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a server's address is free");
        narrow(&listener);
        deepen(&listener);
        Self::accept_on(listener, handle)
    }

    fn accept_on(
        listener: TcpListener,
        handle: impl Fn(TcpStream) -> T + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let accepted = Arc::new(AtomicU64::new(0));
        let (sender, outcomes) = channel();
        let passive = listener.try_clone().expect("a listener can be cloned");
        let count = Arc::clone(&accepted);
        thread::spawn(move || accept(&passive, &count, &sender, &Arc::new(handle)));
        Self { address, accepted, outcomes, listener }
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits for what `count` connections came to. A handler's panic goes on in the caller.
    pub(crate) fn outcomes(&self, count: usize) -> Vec<T> {
        let mut outcomes = Vec::with_capacity(count);
        for index in 0..count {
            match self.outcomes.recv_timeout(PATIENCE) {
                Ok(Ok(outcome)) => outcomes.push(outcome),
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => panic!("the server finished {index} of {count} connections"),
            }
        }
        outcomes
    }
}

impl<T> Drop for Server<T> {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
    }
}

fn accept<T: Send + 'static>(
    listener: &TcpListener,
    accepted: &AtomicU64,
    outcomes: &Sender<thread::Result<T>>,
    handle: &Arc<impl Fn(TcpStream) -> T + Send + Sync + 'static>,
) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        accepted.fetch_add(1, Ordering::SeqCst);
        let (outcomes, handle) = (outcomes.clone(), Arc::clone(handle));
        let serve = move || {
            let stream = client::bounded(stream).expect("an accepted socket takes timeouts");
            let _ = outcomes.send(catch_unwind(AssertUnwindSafe(|| handle(stream))));
        };
        Builder::new().stack_size(STACK_BYTES).spawn(serve).expect("a thread");
    }
}

/// Sends back whatever comes, and ends when the client does.
pub(crate) fn echo() -> Server<()> {
    Server::start(echo_one)
}

/// Serves one connection of an echo server.
pub(crate) fn echo_one(mut stream: TcpStream) {
    let mut buffer = vec![0; 16_384];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..bytes]).is_err() {
            return;
        }
    }
}

/// Answers a first byte with its own name, then echoes.
pub(crate) fn named(name: u8) -> Server<()> {
    Server::start(move |mut stream| {
        let mut first = [0];
        if stream.read_exact(&mut first).is_ok() && stream.write_all(&[name]).is_ok() {
            echo_one(stream);
        }
    })
}

/// Speaks first: `bytes` of the pattern `seed`, then echoes.
pub(crate) fn hello_first(seed: u64, bytes: u64) -> Server<()> {
    Server::start(move |stream| {
        if client::send(&stream, &mut Pattern::new(seed), bytes).is_ok() {
            echo_one(stream);
        }
    })
}

/// Reads the eight bytes by which a client says which one it is.
pub(crate) fn read_number(mut stream: &TcpStream) -> u64 {
    let mut number = [0; 8];
    stream.read_exact(&mut number).expect("a client says its number first");
    u64::from_le_bytes(number)
}

/// Says which client this is.
pub(crate) fn write_number(mut stream: &TcpStream, number: u64) {
    stream.write_all(&number.to_le_bytes()).expect("a client's number is sent");
}

/// Ends the writing half.
pub(crate) fn finish(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("the writing half is shut");
}

/// Asks which client this is, and lets it know that it is through.
pub(crate) fn greet(stream: &TcpStream) -> u64 {
    let number = read_number(stream);
    write_number(stream, number);
    number
}

/// Says which client this is and waits until the server knows: a client that resets earlier may
/// never be joined to a server at all.
pub(crate) fn introduce(stream: &TcpStream, number: u64) {
    write_number(stream, number);
    assert_eq!(read_number(stream), number, "the number that the server was told");
}
