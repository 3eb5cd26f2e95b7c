//! As many bytes as go there and back on few connections, each byte checked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::exchange::wrong_byte;
use crate::pattern::Pattern;
use crate::{figures, sources};

/// How long a connection may be stuck.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args)]
pub(crate) struct Bulk {
    /// What to connect to; it must echo
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The target's process, to report its memory
    #[arg(long)]
    target_pid: Option<u32>,
}

impl Bulk {
    pub(crate) fn run(&self) -> io::Result<bool> {
        let before = figures::all(self.target_pid);
        let since = Instant::now();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let start = |number| scope.spawn(move || self.transfer(number as u64));
            let running: Vec<_> = (0..self.connections).map(start).collect();
            running.into_iter().map(|thread| thread.join()).collect()
        });
        let seconds = since.elapsed().as_secs_f64();
        let (mut bytes, mut failures) = (0, Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok(Ok(count)) => bytes += count,
                Ok(Err(error)) => failures.push(error.to_string()),
                Err(_) => failures.push("a thread panicked".to_owned()),
            }
        }
        let good = failures.is_empty() && bytes > 0;
        let result = json!({
            "schema": 1, "scenario": "bulk", "good": good, "connections": self.connections,
            "seconds": seconds, "echoed_bytes": bytes,
            "megabytes_per_second_each_way": bytes as f64 / seconds / 1e6, "failures": failures,
            "before": before, "after": figures::all(self.target_pid),
        });
        println!("{result}");
        Ok(good)
    }

    /// Sends until the time is over, then FIN, and checks that exactly that comes back.
    fn transfer(&self, number: u64) -> io::Result<u64> {
        let stream = sources::open(None, self.target, PATIENCE)?;
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let (sent, received) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&stream, number, end));
            let received = receive(&stream, number);
            if received.is_err() {
                let _ = stream.shutdown(Shutdown::Both); // the sender must not wait for a reader
            }
            (sender.join(), received)
        });
        let received = received?;
        let sent = sent.map_err(|_| io::Error::other("the sender panicked"))??;
        if sent == received {
            return Ok(received);
        }
        let words = format!("sent {sent} bytes, {received} came back");
        Err(io::Error::new(ErrorKind::UnexpectedEof, words))
    }
}

fn send(mut stream: &TcpStream, number: u64, end: Instant) -> io::Result<u64> {
    let mut pattern = Pattern::new(number);
    let mut buffer = vec![0; 65_536];
    let mut sent = 0;
    while Instant::now() < end {
        pattern.fill(&mut buffer);
        stream.write_all(&buffer)?;
        sent += buffer.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(sent)
}

fn receive(mut stream: &TcpStream, number: u64) -> io::Result<u64> {
    let mut pattern = Pattern::new(number);
    let mut buffer = vec![0; 65_536];
    let mut received = 0;
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(received);
        }
        pattern.check(&buffer[..bytes]).map_err(wrong_byte)?;
        received += bytes as u64;
    }
}
