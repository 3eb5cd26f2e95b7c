//! What clients and servers do through the gateway.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::gateway::Gateway;
use crate::pairs::{Ends, Pair, abort, aborted, arrives, finish, finished, pattern, talk};
use crate::{Outcome, ensure};

const HELD: usize = 2_000;
/// They carry nothing for so long, so that the gateway sees them idle.
const HOLD: Duration = Duration::from_secs(2);
const HALF_CLOSES: usize = 1_000;
const RESETS: usize = 2_000;
const CHURNED: usize = 400;
/// More than a pipe holds, in each direction of each connection.
const BULK_BYTES: usize = 4 << 20;
const BULK_CONNECTIONS: usize = 4;
const TALKING: usize = 100;
const ROUNDS: usize = 10;

/// Many at once, idle, and then closed by either side.
pub(crate) fn held(gateway: &Gateway, ends: &mut Ends) -> Outcome {
    let mut pairs = ends.open(HELD)?;
    talk(&mut pairs, 64)?;
    let open = gateway.listener("open")?;
    ensure(open == HELD as u64, || format!("{open} are open, and not {HELD}"))?;
    std::thread::sleep(HOLD);
    talk(&mut pairs, 64)?;
    let by_servers = parted(pairs.split_off(HELD / 2));
    let by_clients = parted(pairs);
    drop(by_clients.0);
    drop(by_servers.1);
    each(by_clients.1, finished)?;
    each(by_servers.0, finished)?;
    gateway.wait_for_open(0)?;
    Ok(format!("{HELD} at once, then a FIN for each peer"))
}

/// One side sends its FIN, and still everything comes back.
pub(crate) fn half_closes(ends: &mut Ends) -> Outcome {
    for _ in 0..HALF_CLOSES / 200 {
        let mut pairs = ends.open(200)?;
        let servers_first = pairs.split_off(100);
        let (clients, servers) = parted(pairs);
        half_closed(clients, servers)?;
        let (clients, servers) = parted(servers_first);
        half_closed(servers, clients)?;
    }
    Ok(format!("{HALF_CLOSES}, a half of them by servers"))
}

fn half_closed(first: Vec<TcpStream>, then: Vec<TcpStream>) -> Result<(), Box<dyn Error>> {
    let mut both: Vec<_> = first.into_iter().zip(then).collect();
    for (number, (first, _)) in both.iter_mut().enumerate() {
        first.write_all(&pattern(number, 999))?;
        finish(first)?;
    }
    for (number, (first, then)) in both.iter_mut().enumerate() {
        arrives(then, &pattern(number, 999))?;
        finished(then)?;
        then.write_all(&pattern(!number, 3_001))?;
        finish(then)?;
        arrives(first, &pattern(!number, 3_001))?;
        finished(first)?;
    }
    Ok(())
}

/// A reset of either side reaches the other as one.
pub(crate) fn resets(ends: &mut Ends) -> Outcome {
    for _ in 0..RESETS / 200 {
        let mut pairs = ends.open(200)?;
        let by_servers = parted(pairs.split_off(100));
        let by_clients = parted(pairs);
        by_clients.0.into_iter().try_for_each(abort)?;
        by_servers.1.into_iter().try_for_each(abort)?;
        each(by_clients.1, aborted)?;
        each(by_servers.0, aborted)?;
    }
    Ok(format!("{RESETS}, a half of them by servers"))
}

/// Much at once in both directions, each byte compared.
pub(crate) fn bulk(ends: &mut Ends) -> Outcome {
    let pairs = ends.open(BULK_CONNECTIONS)?;
    std::thread::scope(|scope| {
        let streams = pairs.iter().flat_map(|pair| [&pair.client, &pair.server]);
        let works: Vec<_> = streams
            .enumerate()
            .map(|(side, stream)| {
                let sent = scope.spawn(move || give(stream, side).map_err(|e| e.to_string()));
                let got = scope.spawn(move || take(stream, side ^ 1).map_err(|e| e.to_string()));
                [sent, got]
            })
            .collect();
        for work in works.into_iter().flatten() {
            work.join().map_err(|_| "a panic")??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    let mebibytes = (BULK_CONNECTIONS * 2 * BULK_BYTES) >> 20;
    Ok(format!("{mebibytes} MiB over {BULK_CONNECTIONS} connections, both ways at once"))
}

fn give(mut stream: &TcpStream, seed: usize) -> Result<(), Box<dyn Error>> {
    stream.write_all(&pattern(seed, BULK_BYTES))?;
    finish(stream)
}

fn take(mut stream: &TcpStream, seed: usize) -> Result<(), Box<dyn Error>> {
    let mut read = Vec::with_capacity(BULK_BYTES);
    stream.read_to_end(&mut read)?;
    ensure(read == pattern(seed, BULK_BYTES), || format!("{} bytes, and others", read.len()))
}

/// Short questions and answers.
pub(crate) fn ping_pong(ends: &mut Ends) -> Outcome {
    let mut pairs = ends.open(TALKING)?;
    for _ in 0..ROUNDS {
        talk(&mut pairs, 100)?;
    }
    Ok(format!("{} answered over {TALKING} connections", TALKING * ROUNDS))
}

/// Connections that come, ask once and go.
pub(crate) fn churn(ends: &mut Ends) -> Outcome {
    for _ in 0..CHURNED / 20 {
        let mut pairs = ends.open(20)?;
        talk(&mut pairs, 100)?;
        let (clients, servers) = parted(pairs);
        drop(clients);
        each(servers, finished)?;
    }
    Ok(format!("{CHURNED} one after the other"))
}

/// The gateway has counted each of them, for the reason that it had.
pub(crate) fn counts(gateway: &Gateway, ends: &Ends) -> Outcome {
    gateway.wait_for_open(0)?;
    let (accepted, opened) = (gateway.listener("accepted")?, ends.opened);
    ensure(accepted == opened, || format!("{accepted} accepted of {opened}"))?;
    let resets = RESETS as u64 / 2;
    let closed = gateway.closed()?;
    let mut clean = 0;
    for (reason, count) in closed {
        match reason.as_str() {
            "client-reset" | "upstream-reset" => {
                ensure(count == resets, || format!("{count} {reason} of {resets}"))?;
            }
            "closed-by-client" | "closed-by-server" => clean += count,
            _ => ensure(count == 0, || format!("{count} {reason}"))?,
        }
    }
    let expected = opened - 2 * resets;
    ensure(clean == expected, || format!("{clean} closed clean of {expected}"))?;
    Ok(format!("{opened} accepted, {clean} closed clean, {} reset", 2 * resets))
}

/// All clients and all servers.
fn parted(pairs: Vec<Pair>) -> (Vec<TcpStream>, Vec<TcpStream>) {
    pairs.into_iter().map(|pair| (pair.client, pair.server)).unzip()
}

fn each(
    streams: Vec<TcpStream>,
    holds: fn(&mut TcpStream) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let count = streams.len();
    for (index, mut stream) in streams.into_iter().enumerate() {
        holds(&mut stream).map_err(|error| format!("peer {index} of {count}: {error}"))?;
    }
    Ok(())
}
