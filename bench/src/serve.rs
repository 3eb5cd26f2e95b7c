//! An echo server in as many processes as it has ports.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{Backlog, listen};

use crate::parts::{self, MAX_SOCKETS};

#[derive(Args)]
pub(crate) struct Serve {
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The ports, each served by a process of its own
    #[arg(long, value_delimiter = ',', required_unless_present = "port_base")]
    ports: Vec<u16>,
    /// Instead of a list: the first of several ports in a row
    #[arg(long)]
    port_base: Option<u16>,
    #[arg(long, default_value_t = 1)]
    count: u16,
}

#[derive(Args)]
pub(crate) struct Part {
    #[arg(long)]
    address: SocketAddr,
}

impl Serve {
    /// Serves until it is interrupted or one of its processes ends.
    pub(crate) fn run(&self) -> io::Result<bool> {
        let row = self.port_base.map(|base| base..base.saturating_add(self.count));
        let ports = self.ports.iter().copied().chain(row.into_iter().flatten());
        let start = |port| {
            let address = SocketAddr::new(self.ip, port);
            parts::start(&["serve-part".to_owned(), format!("--address={address}")])
        };
        let mut running: Vec<_> = ports.map(start).collect::<io::Result<_>>()?;
        eprintln!("serving {} ports, {MAX_SOCKETS} connections on each", running.len());
        loop {
            for part in &mut running {
                if let Some(status) = part.child.try_wait()? {
                    return Err(io::Error::other(format!("a server process ended: {status}")));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

/// A connection, and what came and could not be sent back yet.
struct Echo {
    stream: TcpStream,
    pending: Vec<u8>,
    /// The client has sent its FIN; what is pending still goes out.
    ended: bool,
}

impl Part {
    pub(crate) fn run(&self) -> io::Result<bool> {
        let _ends_with_parent = parts::commands();
        let listener = TcpListener::bind(self.address)?;
        listen(&listener, Backlog::MAXALLOWABLE)?;
        listener.set_nonblocking(true)?;
        Server { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, echoes: Vec::new(), open: 0 }
            .run(&listener)
    }
}

struct Server {
    epoll: Epoll,
    /// By descriptor.
    echoes: Vec<Option<Echo>>,
    open: usize,
}

impl Server {
    fn run(mut self, listener: &TcpListener) -> io::Result<bool> {
        let passive = listener.as_raw_fd() as u64;
        self.epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, passive))?;
        let mut events = [EpollEvent::empty(); 256];
        let mut buffer = vec![0; 65_536];
        let mut accepting = true;
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                count => count?,
            };
            for event in &events[..count] {
                if event.data() == passive {
                    self.accept(listener)?;
                } else {
                    self.serve(event.data() as usize, &mut buffer)?;
                }
            }
            let room = self.open < MAX_SOCKETS;
            if room != accepting {
                let wanted = if room { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
                self.epoll.modify(listener, &mut EpollEvent::new(wanted, passive))?;
                accepting = room;
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        while self.open < MAX_SOCKETS {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let fd = stream.as_raw_fd() as usize;
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, fd as u64))?;
            if self.echoes.len() <= fd {
                self.echoes.resize_with(fd + 1, || None);
            }
            self.echoes[fd] = Some(Echo { stream, pending: Vec::new(), ended: false });
            self.open += 1;
        }
        Ok(())
    }

    fn serve(&mut self, fd: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(echo) = self.echoes[fd].as_mut() else { return Ok(()) };
        let blocked = !echo.pending.is_empty();
        if !echo.advance(buffer).unwrap_or(false) {
            self.echoes[fd] = None;
            self.open -= 1;
            return Ok(());
        }
        if blocked == echo.pending.is_empty() {
            let wanted = if blocked { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
            self.epoll.modify(echo.stream.as_fd(), &mut EpollEvent::new(wanted, fd as u64))?;
        }
        Ok(())
    }
}

impl Echo {
    /// Sends what is pending, else receives and sends back; whether the connection goes on.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if self.pending.is_empty() {
            match self.stream.read(buffer) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.pending.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(bytes) => drop(self.pending.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        self.pending.shrink_to(0); // an idle connection holds no buffer
        Ok(!self.ended)
    }
}
