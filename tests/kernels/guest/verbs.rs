//! What an operator does to a gateway that has connections.

use std::net::SocketAddr;

use crate::gateway::{Gateway, ask, configure, runs, status, terminate, wait_for};
use crate::pairs::{Ends, aborted, talk};
use crate::{Outcome, ensure};

/// A listener that a reload adds.
const ADDED: ([u8; 4], u16) = ([127, 0, 0, 1], 7002);
const KEPT: usize = 100;
const MOVED: usize = 500;
const DRAINED: usize = 200;

/// A listener comes and goes, and connections of the other stay.
pub(crate) fn reload(gateway: &Gateway, ends: &mut Ends) -> Outcome {
    let mut kept = ends.open(KEPT)?;
    talk(&mut kept, 1_000)?;
    let added = "[listener.added]\nbind = [\"127.0.0.1:7002\"]\nupstream = \"app\"\n";
    let reloaded = |sections: &str| -> Outcome {
        configure("auto", sections)?;
        let (code, said) = ask(&["reload"])?;
        ensure(code == Some(0), || format!("{code:?}: {}", said.trim()))?;
        Ok(said)
    };
    let said = reloaded(added)?;
    ensure(said.contains("listener.added"), || said.clone())?;
    talk(&mut kept, 1_000)?;
    let mut at_added = ends.batch(SocketAddr::from(ADDED), 20)?;
    talk(&mut at_added, 1_000)?;
    drop(at_added);
    reloaded("")?;
    wait_for(|| Ok(std::net::TcpStream::connect(SocketAddr::from(ADDED)).is_err()))?;
    talk(&mut kept, 1_000)?;
    drop(kept);
    gateway.wait_for_open(0)?;
    Ok(format!("a listener added and taken away, {KEPT} connections kept"))
}

/// Connections go to a successor, which then ends by itself.
pub(crate) fn upgrade(io: &str, ends: &mut Ends) -> Outcome {
    configure("auto", "")?;
    let gateway = Gateway::start()?;
    let mut moved = ends.open(MOVED)?;
    talk(&mut moved, 1_000)?;
    let before = gateway.pid();
    let (code, said) = ask(&["upgrade", "--probation", "1s"])?;
    ensure(code == Some(0), || format!("{code:?}: {}", said.trim()))?;
    let ended = gateway.ended()?;
    ensure(ended == Some(0), || format!("the predecessor's exit code is {ended:?}"))?;
    let status = status()?;
    let after = status["gateway"]["pid"].as_u64().unwrap_or_default() as u32;
    ensure(after != 0 && after != before, || format!("pid {before}, then {after}"))?;
    ensure(status["io"]["by"] == io, || format!("over {}", status["io"]["by"]))?;
    let open = &status["listeners"][0]["open"];
    ensure(open.as_u64() == Some(MOVED as u64), || format!("{open} are open of {MOVED}"))?;
    talk(&mut moved, 1_000)?;
    talk(&mut ends.open(KEPT)?, 1_000)?;
    drop(moved);
    terminate(after)?;
    wait_for(|| Ok(!runs(after)))?;
    let said = said.lines().find(|line| line.contains("moved")).unwrap_or_default();
    Ok(said.to_owned())
}

/// SIGTERM: what does not end by itself is reset by the deadline, for both peers.
pub(crate) fn drain(gateway: Gateway, ends: &mut Ends) -> Outcome {
    let mut pairs = ends.open(DRAINED)?;
    talk(&mut pairs, 1_000)?;
    let leaving = pairs.split_off(DRAINED / 2);
    terminate(gateway.pid())?;
    drop(leaving);
    for pair in &mut pairs {
        aborted(&mut pair.client)?;
        aborted(&mut pair.server)?;
    }
    let code = gateway.ended()?;
    ensure(code == Some(0), || format!("exit code {code:?}"))?;
    Ok(format!("{} left, {} reset, exit code 0", DRAINED / 2, pairs.len()))
}
