//! What a measurement stands on: backends, a target that was started for it, and the scenario.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::certificate::{self, Files};
use super::cgroup::Cgroup;
use super::port::{FreePorts, loopback};
use super::process::Process;
use super::target::{Place, Proxy, Target};
use super::work::{Backend, Work};
use crate::result::SCHEMA;
use crate::rivals::{Room, Way};

/// Ports of a backend: each is known to the proxies as a server, and gives them another 28,000
/// ports of their own.
const BACKEND_PORTS: u16 = 16;
/// Clients that a backend takes at least: far from its limit it accepts in the cheapest way.
const BACKEND_CONNECTIONS: u64 = 100_000;

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(20);
/// Between two tries, and for one.
const GLANCE: Duration = Duration::from_millis(20);
const TRY: Duration = Duration::from_secs(1);
/// Nothing happens between a start and the measurement, so that what starting costs is over.
const REST: Duration = Duration::from_millis(300);
/// How long a measurement may take beyond the seconds that it was asked for.
const MEASURE: Duration = Duration::from_secs(300);

/// Starts a program whose parent ends when its file of a pid is there, and stays in its group.
const ORPHANED: &str = "( \"$@\" & until [ -s \"$0\" ]; do sleep 0.05; done ); exec sleep 1000000";

/// Why there is no measurement.
pub(crate) enum Stop {
    /// Somebody wants all to end.
    Interrupted,
    /// The rig itself does not work.
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Broken(error)
    }
}

/// What the scenarios are told beside their work.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) threads: Option<usize>,
    pub(crate) max_lag: Duration,
}

pub(crate) struct Rig {
    ports: FreePorts,
    pub(crate) room: Room,
    pub(crate) manner: Manner,
    pub(crate) interrupted: Arc<AtomicBool>,
    backends: Vec<(Backend, Serving)>,
    /// Programs started so far: each has files of its own.
    started: u32,
    cgroups: bool,
    /// How long an old process may stay when a new one has taken its place.
    pub(crate) grace_seconds: u64,
    certificate: Files,
    /// The last to go, when nobody writes into it any more.
    folder: TempDir,
}

/// A server of ours that runs.
pub(crate) struct Serving {
    pub(crate) process: Process,
    first: u16,
    ports: u16,
}

/// A proxy that runs. It goes before its cgroup does.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) listen: SocketAddr,
    /// Where its config and its files are.
    pub(crate) folder: PathBuf,
    _cgroup: Option<Cgroup>,
}

/// A result, and what the backend counted if the work asks for it.
pub(crate) struct Measured {
    pub(crate) line: Value,
    pub(crate) backend: Option<Value>,
}

impl Serving {
    pub(crate) fn servers(&self) -> Vec<SocketAddr> {
        (self.first..self.first + self.ports).map(loopback).collect()
    }

    fn row(&self) -> String {
        format!("127.0.0.1:{}-{}", self.first, self.first + self.ports - 1)
    }
}

impl Rig {
    pub(crate) fn new(
        room: Room,
        manner: Manner,
        ports: Option<RangeInclusive<u16>>,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Rig> {
        let folder = tempfile::Builder::new().prefix("portcullis-bench-").tempdir()?;
        Ok(Rig {
            certificate: Files::make(folder.path())?,
            ports: FreePorts::new(ports)?,
            room,
            manner,
            interrupted,
            backends: Vec::new(),
            started: 0,
            cgroups: false,
            grace_seconds: 0,
            folder,
        })
    }

    /// Gives targets memory cgroups from now on; the error says why they cannot have any.
    pub(crate) fn use_cgroups(&mut self) -> Result<(), String> {
        let cgroup = Cgroup::create(&format!("portcullis-bench-{}", std::process::id()))?;
        drop(cgroup);
        self.cgroups = true;
        Ok(())
    }

    /// A folder of its own for a program's files.
    pub(crate) fn new_folder(&mut self, name: &str) -> io::Result<PathBuf> {
        self.started += 1;
        let folder = self.folder.path().join(format!("{}-{name}", self.started));
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Has a proxy check its config; the error is what it says.
    pub(crate) fn check(&mut self, proxy: &Proxy, connections: u64) -> Result<(), String> {
        let folder = self.new_folder("check").map_err(|error| error.to_string())?;
        let server = [loopback(1)];
        let place = self.place(loopback(2), &server, &folder);
        let text = proxy.config(connections, &place)?;
        std::fs::write(proxy.config_path(&folder), text).map_err(|error| error.to_string())?;
        checked(proxy, connections, &place)
    }

    pub(crate) fn place<'a>(
        &'a self,
        listen: SocketAddr,
        servers: &'a [SocketAddr],
        folder: &'a Path,
    ) -> Place<'a> {
        Place {
            listen,
            servers,
            folder,
            certificate: &self.certificate,
            room: self.room,
            grace_seconds: self.grace_seconds,
        }
    }

    /// Measures once. A target that cannot be started has failed, and that is the result.
    pub(crate) fn measure(&mut self, work: &Work, target: &Target) -> Result<Measured, Stop> {
        let own = if work.asks_backend { Some(self.serve_work(work)?) } else { None };
        let (servers, row) = match &own {
            Some(serving) => (serving.servers(), serving.row()),
            None => self.backend(work)?,
        };
        let running = match &target.proxy {
            None => None,
            Some(proxy) => match self.start(proxy, work.connections, work.backend, &servers)? {
                Ok(running) => Some(running),
                Err(why) => return Ok(failed(work, "start", &why)),
            },
        };
        let (address, pid) = match &running {
            None => (row, None),
            Some(running) => (running.listen.to_string(), Some(running.process.id())),
        };
        let mut measured = self.run(work, target, &address, pid)?;
        if let Some(mut running) = running
            && let Some(status) = running.process.ended()?
        {
            let why = format!("{status}: {}", running.process.complained());
            measured.line["good"] = json!(false);
            measured.line["failures"][format!("the target ended: {why}")] = json!(1);
        }
        if let Some(mut serving) = own {
            serving.process.end();
            // It was asked once itself, and once through the target.
            let asked = 1 + u64::from(target.proxy.is_some());
            let said = last_line(&serving.process.said());
            measured.backend = said.map(|said| aborts(said, &measured.line, asked));
        }
        Ok(measured)
    }

    /// Runs the scenario to its end.
    fn run(
        &mut self,
        work: &Work,
        target: &Target,
        address: &str,
        pid: Option<u32>,
    ) -> Result<Measured, Stop> {
        let mut arguments = vec![work.scenario.to_owned()];
        arguments.extend(work.arguments.iter().cloned());
        arguments.extend(["--target".to_owned(), address.to_owned()]);
        let lag = humantime::format_duration(self.manner.max_lag).to_string();
        arguments.extend(["--max-lag".to_owned(), lag.replace(' ', "")]);
        if let Some(pid) = pid {
            arguments.extend(["--target-pid".to_owned(), pid.to_string()]);
        }
        if target.is_secured() {
            arguments.push("--tls".to_owned());
        }
        if let Some(threads) = self.manner.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        let folder = self.new_folder(&format!("{}-{}", work.name, target.name))?;
        let program = std::env::current_exe()?;
        let mut process = Process::start(&program, &arguments, (&folder, "scenario"), None)?;
        let bound = Duration::from_secs(work.seconds) + MEASURE;
        let Some(status) = self.wait(&mut process, bound)? else {
            let why = format!("it did not end within {bound:?}: {}", process.complained());
            return Ok(failed(work, "measurement", &why));
        };
        match (last_line(&process.said()), status.code()) {
            (Some(line), _) => Ok(Measured { line, backend: None }),
            (None, Some(2)) => {
                let words = format!("{}: {}", work.name, process.complained());
                Err(Stop::Broken(io::Error::new(ErrorKind::InvalidInput, words)))
            }
            (None, _) => Ok(failed(work, "measurement", &process.complained())),
        }
    }

    /// How it ended, unless it has not within this time.
    fn wait(&self, process: &mut Process, bound: Duration) -> Result<Option<ExitStatus>, Stop> {
        let begun = Instant::now();
        while begun.elapsed() < bound {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            if let Some(status) = process.ended()? {
                return Ok(Some(status));
            }
            std::thread::sleep(GLANCE);
        }
        Ok(None)
    }

    /// The backend for a work, started when it is first needed.
    pub(crate) fn backend(&mut self, work: &Work) -> Result<(Vec<SocketAddr>, String), Stop> {
        if !self.backends.iter().any(|(backend, _)| *backend == work.backend) {
            let serving = self.serve_work(work)?;
            self.backends.push((work.backend, serving));
        }
        let of_work = |(backend, _): &&mut (Backend, Serving)| *backend == work.backend;
        let found = self.backends.iter_mut().find(of_work);
        let (_, serving) = found.expect("it was just started");
        if let Some(status) = serving.process.ended()? {
            let why = format!("the backend ended: {status}: {}", serving.process.complained());
            return Err(Stop::Broken(io::Error::other(why)));
        }
        Ok((serving.servers(), serving.row()))
    }

    fn serve_work(&mut self, work: &Work) -> Result<Serving, Stop> {
        let connections = BACKEND_CONNECTIONS.max(work.connections * 4);
        self.serve(work.backend, connections, BACKEND_PORTS)
    }

    /// Starts a server of ours, on so many ports.
    pub(crate) fn serve(
        &mut self,
        backend: Backend,
        connections: u64,
        ports: u16,
    ) -> Result<Serving, Stop> {
        let folder = self.new_folder("serve")?;
        let first = self.ports.take(ports)?;
        let last = first + ports - 1;
        let arguments = [
            "serve".to_owned(),
            format!("--listen=127.0.0.1:{first}-{last}"),
            format!("--mode={}", backend.mode()),
            format!("--connections={connections}"),
        ];
        let program = std::env::current_exe()?;
        let mut process = Process::start(&program, &arguments, (&folder, "serve"), None)?;
        self.await_answer(&mut process, loopback(first), |at| answers(at, backend))?
            .map_err(|why| io::Error::other(format!("the backend does not serve: {why}")))?;
        Ok(Serving { process, first, ports })
    }

    /// Starts a proxy; the inner error says why it does not work.
    pub(crate) fn start(
        &mut self,
        proxy: &Proxy,
        connections: u64,
        backend: Backend,
        servers: &[SocketAddr],
    ) -> Result<Result<Running, String>, Stop> {
        let rival = proxy.found.rival;
        let folder = self.new_folder(rival.name)?;
        let listen = loopback(self.ports.take(1)?);
        let place = self.place(listen, servers, &folder);
        let config = proxy.config(connections, &place).map_err(io::Error::other)?;
        std::fs::write(proxy.config_path(&folder), config)?;
        let compiled = proxy.compiled_path(&folder);
        if compiled.is_some()
            && let Err(why) = checked(proxy, connections, &place)
        {
            return Ok(Err(why));
        }
        let mut program = compiled.as_ref().unwrap_or(&proxy.found.program).as_path();
        let arguments = proxy.arguments(rival.start, connections, &place);
        let mut arguments = arguments.map_err(io::Error::other)?;
        if let Some(Way::Replace { pid_file }) = rival.way {
            let path = |path: &Path| path.display().to_string();
            let shell = ["-c".to_owned(), ORPHANED.to_owned(), path(&folder.join(pid_file))];
            arguments = shell.into_iter().chain([path(program)]).chain(arguments).collect();
            program = Path::new("/bin/sh");
        }
        let cgroup = self.new_cgroup()?;
        let processes = cgroup.as_ref().map(Cgroup::processes);
        let files: (&Path, &str) = (&folder, "proxy");
        let mut process = Process::start(program, &arguments, files, processes.as_deref())?;
        let answer = self.await_answer(&mut process, listen, |at| match rival.tls {
            true => certificate::answers(at, TRY),
            false => answers(at, backend),
        })?;
        Ok(answer.map(|()| Running { process, listen, folder, _cgroup: cgroup }))
    }

    fn new_cgroup(&self) -> io::Result<Option<Cgroup>> {
        let name = || format!("portcullis-bench-{}-{}", std::process::id(), self.started);
        let made = self.cgroups.then(|| Cgroup::create(&name()));
        made.transpose().map_err(io::Error::other)
    }

    /// Waits until it answers, and then until it has come to rest.
    fn await_answer(
        &self,
        process: &mut Process,
        address: SocketAddr,
        answers: impl Fn(SocketAddr) -> io::Result<()>,
    ) -> Result<Result<(), String>, Stop> {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < START {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            if let Some(status) = process.ended()? {
                return Ok(Err(format!("{status}: {}", process.complained())));
            }
            match answers(address) {
                Ok(()) => {
                    std::thread::sleep(REST);
                    return Ok(Ok(()));
                }
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(GLANCE);
        }
        let complaint = process.complained();
        Ok(Err(format!("no answer at {address} within {START:?}: {last}; {complaint}")))
    }
}

/// Has a proxy check the config that lies in its folder; the error is what it says.
fn checked(proxy: &Proxy, connections: u64, place: &Place<'_>) -> Result<(), String> {
    let arguments = proxy.arguments(proxy.found.rival.check, connections, place)?;
    let output = std::process::Command::new(&proxy.found.program).args(arguments).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).trim().to_owned())
}

/// One connection that is served, with the backend's answer where the backend echoes.
fn answers(address: SocketAddr, backend: Backend) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TRY)?;
    if stream.local_addr()? == address {
        return Err(io::Error::other("nobody listens yet: the connect reached itself"));
    }
    stream.set_read_timeout(Some(TRY))?;
    if backend == Backend::Echo {
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(())
}

/// The result of a measurement that did not come about.
pub(crate) fn failed(work: &Work, step: &str, why: &str) -> Measured {
    let failure = format!("{step}: {why}");
    let line = json!({
        "schema": SCHEMA, "scenario": work.scenario, "good": false, "valid": true,
        "interrupted": false, "failures": {failure: 1},
    });
    Measured { line, backend: None }
}

/// What a backend counted, and how it saw the aborts of which it heard: all its clients but those
/// that ended well in the scenario, and those that only asked whether it serves. Clients that
/// aborted before a proxy had connected to the backend are none of these.
fn aborts(mut said: Value, line: &Value, asked: u64) -> Value {
    let count = |value: &Value, what: &str| value["counts"][what].as_u64().unwrap_or(0);
    let clean = count(line, "half_closed") + asked;
    let resets = count(&said, "ended_by_reset");
    let ends = count(&said, "ended_by_fin").saturating_sub(clean);
    said["aborts_seen_as_reset"] = json!(resets);
    said["aborts_seen_as_end"] = json!(ends);
    let share = (resets + ends > 0).then(|| resets as f64 * 100.0 / (resets + ends) as f64);
    said["aborts_seen_as_reset_percent"] = json!(share);
    said
}

fn last_line(said: &str) -> Option<Value> {
    let line = said.lines().rfind(|line| !line.trim().is_empty())?;
    serde_json::from_str(line).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aborts_are_told_from_clean_ends() {
        let said = json!({"counts": {"ended_by_reset": 30, "ended_by_fin": 76}});
        let seen = aborts(said, &json!({"counts": {"half_closed": 64}}), 2);
        assert_eq!(
            (&seen["aborts_seen_as_end"], &seen["aborts_seen_as_reset"]),
            (&json!(10), &json!(30))
        );
        assert_eq!(seen["aborts_seen_as_reset_percent"], 75.0);
        assert_eq!(aborts(json!({}), &json!({}), 1)["aborts_seen_as_reset_percent"], Value::Null);
    }
}
