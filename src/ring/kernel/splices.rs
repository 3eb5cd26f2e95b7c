//! Bytes that pass from socket to socket through a pipe and are never copied.
//!
//! The ring's own IORING_OP_SPLICE always goes to io-wq, so these are splice(2) calls on the
//! worker's thread, which never wait. They take ordinary descriptors: a connection that splices
//! has one for each of its sockets (FIXED_FD_INSTALL, Linux 6.8), with O_NONBLOCK, because
//! SPLICE_F_NONBLOCK speaks of the pipe alone (tcp_splice_read, splice_to_socket).

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use arrayvec::ArrayVec;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read};
use socket2::SockRef;

use crate::base::{Buffer, BySide, Chunk, ConnIndex, Errno, PIPE_BYTES, Side, errno_of};
use crate::metrics::RingCounters;
use crate::ring::contract::Done;
use crate::ring::token::Token;

/// The least size with which a pipe is of use.
const PIPE_BYTES_MIN: usize = 64 << 10;

/// Bytes spliced out of sockets in one turn, and perhaps one splice more: the rest waits for the
/// next turn, so that small messages do not wait for long.
const TURN_BYTES: usize = 4 << 20;
/// The least bytes that a splice counts for, since even an empty one takes time.
const SPLICE_BYTES_MIN: usize = 64 << 10;

/// Unsent bytes that a socket of bulk may keep. With the 256 KiB that accepted sockets inherit, its
/// sender would be woken for every 128 KiB.
const UNSENT_BYTES: u32 = 1 << 20;

/// A worker's pipes, and the descriptors of connections that use them.
pub(in crate::ring) struct Splices {
    /// Pipes, and connections with descriptors, at most; 0 refuses every splice.
    most: usize,
    pipes: Vec<Place>,
    /// Pipes that no connection holds. They are empty.
    free: Vec<u32>,
    sockets: HashMap<ConnIndex, Sockets>,
    queued: VecDeque<Token>,
    /// Bytes that may still be spliced in this turn.
    left_bytes: usize,
    done: VecDeque<Done>,
    /// The bytes of a pool buffer.
    full_bytes: u32,
    /// Bytes that came out of sockets, in all.
    moved_bytes: u64,
}

/// Where a pipe is, once it is used.
struct Place {
    pipe: Option<Pipe>,
    is_held: bool,
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size_bytes: usize,
    held_bytes: u32,
}

/// The sockets of a connection that splices.
enum Sockets {
    /// The kernel is making their descriptors; these splices wait.
    Awaited { left: u8, made: BySide<Option<Descriptor>>, splices: ArrayVec<Token, 2> },
    /// Both have one, until their slots are closed.
    Made(BySide<Option<Descriptor>>),
}

/// A socket's ordinary descriptor. The socket does not wait while it has one.
struct Descriptor {
    fd: OwnedFd,
    /// The last splice left room in its pipe, so it mostly took all there was (frames smaller than
    /// a page fill a pipe's places before its bytes). A wait comes before the next one then: what
    /// came while that was sent on is little, and a small splice costs nearly what a large one
    /// does.
    is_empty: bool,
    /// Its TCP_NOTSENT_LOWAT before; 0 is the host's default.
    unsent_bytes: u32,
}

impl Splices {
    /// At most `most` pipes. What brings `full_bytes` counts as full.
    pub(in crate::ring) fn new(most: u32, full_bytes: u32) -> Splices {
        Splices {
            most: most as usize,
            pipes: Vec::new(),
            free: Vec::new(),
            sockets: HashMap::new(),
            queued: VecDeque::new(),
            left_bytes: 0,
            done: VecDeque::new(),
            full_bytes,
            moved_bytes: 0,
        }
    }

    /// Connections that have descriptors, or wait for them.
    pub(super) fn connections(&self) -> u32 {
        self.sockets.len() as u32
    }

    /// Counters of a ring with those of splices.
    pub(in crate::ring) fn counted(&self, counters: RingCounters) -> RingCounters {
        let splicing = self.connections().into();
        RingCounters { splicing, spliced_bytes: self.moved_bytes, ..counters }
    }

    /// Descriptors that this holds, or that are being made for it.
    pub(in crate::ring) fn descriptors(&self) -> u32 {
        2 * (self.sockets.len() + self.pipes.len()) as u32
    }

    /// Starts a splice out of a socket, where `room` descriptors may still be made. True when those
    /// of both sockets of the connection must be made first and told by [`Splices::made`].
    pub(in crate::ring) fn start(&mut self, token: Token, room: u32) -> bool {
        let room = room >= 2 && self.sockets.len() < self.most;
        match self.sockets.get_mut(&token.conn) {
            Some(Sockets::Made(sockets)) => {
                let descriptor = sockets[token.side].as_mut().expect("an open slot");
                if std::mem::take(&mut descriptor.is_empty) {
                    self.complete(token, Err(Errno::EAGAIN), None);
                } else {
                    self.queued.push_back(token);
                }
            }
            Some(Sockets::Awaited { splices, .. }) => splices.push(token),
            None if room => {
                let splices = ArrayVec::from_iter([token]);
                let made = BySide::default();
                self.sockets.insert(token.conn, Sockets::Awaited { left: 2, made, splices });
                return true;
            }
            None => self.complete(token, Err(Errno::EMFILE), None),
        }
        false
    }

    /// One of the descriptors was made, or could not be.
    ///
    /// # Panics
    /// When the connection does not wait for any.
    pub(in crate::ring) fn made(
        &mut self,
        conn: ConnIndex,
        side: Side,
        fd: Result<OwnedFd, Errno>,
    ) {
        let Some(Sockets::Awaited { left, made, splices }) = self.sockets.get_mut(&conn) else {
            panic!("a descriptor for {conn:?}, which waits for none");
        };
        made[side] = fd.and_then(Descriptor::new).ok();
        *left -= 1;
        if *left > 0 {
            return;
        }
        let (made, splices) = (std::mem::take(made), std::mem::take(splices));
        let both = made.0.iter().all(Option::is_some);
        self.sockets.insert(conn, Sockets::Made(made));
        if both {
            return self.queued.extend(splices);
        }
        self.end(conn);
        for token in splices {
            self.complete(token, Err(Errno::EMFILE), None);
        }
    }

    /// Gives back what the connection's splices took.
    ///
    /// # Panics
    /// When one is in flight.
    pub(in crate::ring) fn end(&mut self, conn: ConnIndex) {
        match self.sockets.get(&conn) {
            None => {}
            Some(Sockets::Awaited { .. }) => panic!("a splice of {conn:?} is in flight"),
            Some(Sockets::Made(sockets)) => {
                sockets.0.iter().flatten().for_each(Descriptor::restore);
                self.leave(conn);
            }
        }
    }

    /// A slot is about to be closed: a descriptor would keep its socket open.
    pub(in crate::ring) fn close(&mut self, conn: ConnIndex, side: Side) {
        if let Some(Sockets::Made(sockets)) = self.sockets.get_mut(&conn) {
            sockets[side] = None;
            if sockets.0.iter().all(Option::is_none) {
                self.leave(conn);
            }
        }
    }

    /// A connection splices no more. With the last one go the pipes.
    fn leave(&mut self, conn: ConnIndex) {
        self.sockets.remove(&conn);
        if self.sockets.is_empty() {
            assert_eq!(self.free.len(), self.pipes.len(), "pipes that nobody can use are held");
            self.free.clear();
            self.pipes.clear();
        }
    }

    /// Begins a turn.
    pub(in crate::ring) fn open_turn(&mut self) {
        self.left_bytes = TURN_BYTES;
    }

    /// Whether the next turn must not sleep.
    pub(in crate::ring) fn is_busy(&self) -> bool {
        !self.queued.is_empty() || !self.done.is_empty()
    }

    /// The next completion; `room` as for [`Splices::start`]. A splice runs only when it is asked
    /// for, so that what it brought is sent on before the next one: what the kernel knows of those
    /// bytes is still in the cache.
    pub(in crate::ring) fn next(&mut self, room: u32) -> Option<Done> {
        if self.done.is_empty() && self.left_bytes > 0 {
            let token = self.queued.pop_front()?;
            let (result, buffer) = match self.fill(token, room) {
                Ok((bytes, buffer)) => (Ok(bytes), buffer),
                Err(error) => (Err(error), None),
            };
            let spent = (result.unwrap_or(0) as usize).max(SPLICE_BYTES_MIN);
            self.left_bytes = self.left_bytes.saturating_sub(spent);
            self.complete(token, result, buffer);
        }
        self.done.pop_front()
    }

    /// Moves what is there into a pipe.
    fn fill(&mut self, token: Token, room: u32) -> Result<(u32, Option<Buffer>), Errno> {
        let index = self.take_pipe(room).ok_or(Errno::EMFILE)?;
        let descriptor = descriptor_of(&mut self.sockets, token);
        let socket = &descriptor.fd;
        let pipe = self.pipes[index as usize].held();
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        let result = splice(socket, None, &pipe.write, None, PIPE_BYTES, flags);
        if let Ok(bytes @ 1..) = result {
            pipe.held_bytes = bytes as u32;
            self.moved_bytes += bytes as u64;
            descriptor.is_empty = bytes < pipe.size_bytes;
            return Ok((pipe.held_bytes, Some(Buffer(index | Buffer::PIPE_BIT))));
        }
        self.release(Buffer(index | Buffer::PIPE_BIT));
        match result {
            Ok(_) => Ok((0, None)),
            // These are failures of the call; the socket is as it was.
            Err(Errno::EINVAL | Errno::ENOMEM | Errno::EBADF) => Err(Errno::EMFILE),
            Err(error) => Err(error),
        }
    }

    /// Moves what fits out of a pipe.
    pub(in crate::ring) fn send(&mut self, token: Token, chunk: Chunk) {
        let socket = &descriptor_of(&mut self.sockets, token).fd;
        let pipe = self.pipes[(chunk.buffer.0 & !Buffer::PIPE_BIT) as usize].held();
        assert_eq!(pipe.held_bytes, chunk.length_bytes, "bytes of {chunk:?}");
        // A dead socket raises SIGPIPE, which the runtime of Rust programs ignores.
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        let length_bytes = chunk.length_bytes as usize;
        let result = splice(&pipe.read, None, socket, None, length_bytes, flags);
        let result = result.map(|bytes| bytes as u32);
        pipe.held_bytes -= result.unwrap_or(0);
        self.complete(token, result, None);
    }

    /// Reads all that is in a pipe.
    ///
    /// # Panics
    /// When no connection holds it, or it has another number of bytes.
    pub(in crate::ring) fn read(&mut self, buffer: Buffer, mut into: &mut [u8]) {
        let pipe = self.pipes[(buffer.0 & !Buffer::PIPE_BIT) as usize].held();
        assert_eq!(pipe.held_bytes as usize, into.len(), "bytes of {buffer:?}");
        while !into.is_empty() {
            // A pipe that has them gives them: read(2) fails for an empty one alone.
            let bytes = read(&pipe.read, into).expect("the pipe has what was put there");
            into = &mut into[bytes..];
        }
        pipe.held_bytes = 0;
    }

    /// Takes a pipe back. One that is not empty is thrown away.
    ///
    /// # Panics
    /// When no connection holds it.
    pub(in crate::ring) fn release(&mut self, buffer: Buffer) {
        let index = buffer.0 & !Buffer::PIPE_BIT;
        let place = &mut self.pipes[index as usize];
        if place.held().held_bytes > 0 {
            place.pipe = None;
        }
        place.is_held = false;
        self.free.push(index);
    }

    fn take_pipe(&mut self, room: u32) -> Option<u32> {
        if self.free.is_empty() && self.pipes.len() < self.most && room >= 2 {
            self.free.push(self.pipes.len() as u32);
            self.pipes.push(Place { pipe: None, is_held: false });
        }
        let index = *self.free.last()?;
        let place = &mut self.pipes[index as usize];
        if place.pipe.is_none() {
            place.pipe = Some(Pipe::new().ok()?);
        }
        place.is_held = true;
        self.free.pop()
    }

    fn complete(&mut self, token: Token, result: Result<u32, Errno>, buffer: Option<Buffer>) {
        let full = buffer.is_some() && result.is_ok_and(|bytes| bytes >= self.full_bytes);
        self.done.push_back(Done { token, result, buffer, full, more: false });
    }
}

impl Place {
    /// The pipe.
    ///
    /// # Panics
    /// When no connection holds it.
    fn held(&mut self) -> &mut Pipe {
        self.pipe.as_mut().filter(|_| self.is_held).expect("a pipe that somebody holds")
    }
}

impl Pipe {
    /// A pipe as large as the kernel allows: above fs.pipe-max-size, or beyond the user's
    /// fs.pipe-user-pages-soft, that takes a privilege.
    fn new() -> Result<Pipe, Errno> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let mut bytes = PIPE_BYTES;
        while fcntl(&write, FcntlArg::F_SETPIPE_SZ(bytes as i32)).is_err() {
            bytes /= 2;
            if bytes < PIPE_BYTES_MIN {
                return Err(Errno::EPERM);
            }
        }
        Ok(Pipe { read, write, size_bytes: bytes, held_bytes: 0 })
    }
}

impl Descriptor {
    fn new(fd: OwnedFd) -> Result<Descriptor, Errno> {
        SockRef::from(&fd).set_nonblocking(true).map_err(|error| errno_of(&error))?;
        let unsent_bytes = SockRef::from(&fd).tcp_notsent_lowat().unwrap_or(0);
        let descriptor = Descriptor { fd, is_empty: false, unsent_bytes };
        if unsent_bytes > 0 {
            descriptor.allow_unsent(unsent_bytes.max(UNSENT_BYTES));
        }
        Ok(descriptor)
    }

    /// Makes the socket what it was, as far as the kernel will: should it go on not to wait, a
    /// receive that answers EAGAIN is waited for by a poll.
    fn restore(&self) {
        let _ = SockRef::from(&self.fd).set_nonblocking(false);
        if self.unsent_bytes > 0 {
            self.allow_unsent(self.unsent_bytes);
        }
    }

    fn allow_unsent(&self, bytes: u32) {
        // Without it the lane is slower, and right.
        let _ = SockRef::from(&self.fd).set_tcp_notsent_lowat(bytes);
    }
}

/// The descriptor of `token`'s socket.
///
/// # Panics
/// When there is none: only a connection that has them splices, and it keeps them until then.
fn descriptor_of(sockets: &mut HashMap<ConnIndex, Sockets>, token: Token) -> &mut Descriptor {
    match sockets.get_mut(&token.conn) {
        Some(Sockets::Made(sockets)) => sockets[token.side].as_mut().expect("an open slot"),
        _ => panic!("{token:?} has no descriptor"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::base::OpKind;

    #[test]
    fn sockets_that_splice_no_more_are_as_they_were() {
        const BEFORE_BYTES: u32 = 256 << 10;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("its address"));
        let sockets = [client.expect("room"), listener.accept().expect("a client").0];
        let mut splices = Splices::new(1, 4096);
        let conn = ConnIndex(0);
        let token = Token { conn, generation: 0, side: Side::Client, kind: OpKind::Splice };
        assert!(splices.start(token, 8));
        for (side, socket) in Side::BOTH.into_iter().zip(&sockets) {
            SockRef::from(socket).set_tcp_notsent_lowat(BEFORE_BYTES).expect("an option");
            let descriptor = socket.try_clone().expect("a descriptor");
            splices.made(conn, side, Ok(descriptor.into()));
        }
        let options = |socket: &TcpStream| {
            let socket = SockRef::from(socket);
            let waits = !socket.nonblocking().expect("a flag");
            (waits, socket.tcp_notsent_lowat().expect("an option"))
        };
        splices.open_turn();
        assert!(splices.next(8).is_some(), "a splice that found nothing");
        assert_eq!(sockets.each_ref().map(options), [(false, UNSENT_BYTES); 2]);
        splices.end(conn);
        assert_eq!(sockets.each_ref().map(options), [(true, BEFORE_BYTES); 2]);
    }
}
