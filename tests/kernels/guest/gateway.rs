//! The gateway under test: its program, what it logs, and what it answers.

use std::error::Error;
use std::fs::{self, File};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::ensure;

pub(crate) const PROGRAM: &str = "/bin/portcullis";
pub(crate) const CONFIG: &str = "/tmp/portcullis.toml";
const LOG: &str = "/tmp/log";

/// How long something may take that takes a moment: a guest may be slow, and never this slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A config with these values for its `[gateway]` and, at its end, these sections.
pub(crate) fn configure(io: &str, sections: &str) -> Result<(), Box<dyn Error>> {
    let config = format!(
        "[gateway]\nio = \"{io}\"\nworkers = 2\nmax_connections = 5000\ndrain_timeout = \"2s\"\n\
         [listener.edge]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"app\"\n\
         [upstream.app]\nservers = [\"127.0.0.1:9000\"]\n{sections}"
    );
    Ok(fs::write(CONFIG, config)?)
}

/// A command of the program; its exit code and all that it said.
pub(crate) fn ask(arguments: &[&str]) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let mut command = Command::new(PROGRAM);
    let Output { status, stdout, stderr } =
        command.args(arguments).stdin(Stdio::null()).output()?;
    Ok((status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()))
}

/// A running gateway. Dropping it kills it.
pub(crate) struct Gateway {
    child: Child,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has ended needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Starts the program on [`CONFIG`] and waits for nothing.
    pub(crate) fn launch() -> Result<Gateway, Box<dyn Error>> {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config", CONFIG]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Gateway { child: command.stderr(File::create(LOG)?).spawn()? })
    }

    /// The same until it serves.
    pub(crate) fn start() -> Result<Gateway, Box<dyn Error>> {
        let mut gateway = Gateway::launch()?;
        wait_for(|| {
            if log()?.contains("INFO ready with ") {
                return Ok(true);
            }
            match gateway.child.try_wait()? {
                None => Ok(false),
                Some(status) => Err(format!("{status}: {}", log()?.trim()).into()),
            }
        })?;
        Ok(gateway)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, when it has ended.
    pub(crate) fn ended(mut self) -> Result<Option<i32>, Box<dyn Error>> {
        let mut code = None;
        wait_for(|| {
            let status = self.child.try_wait()?;
            code = status.and_then(|status| status.code());
            Ok(status.is_some())
        })?;
        Ok(code)
    }

    /// What the first listener counts by this name.
    pub(crate) fn listener(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        let status = status()?;
        let value = &status["listeners"][0][name];
        Ok(value.as_u64().ok_or_else(|| format!("{name} is {value}"))?)
    }

    /// Its connections that have ended, by reason.
    pub(crate) fn closed(&self) -> Result<Vec<(String, u64)>, Box<dyn Error>> {
        let status = status()?;
        let closed = status["listeners"][0]["closed"].as_object().ok_or("no reasons")?;
        let count = |count: &Value| count.as_u64().unwrap_or(u64::MAX);
        Ok(closed.iter().map(|(reason, value)| (reason.clone(), count(value))).collect())
    }

    /// Waits until so many connections are open.
    pub(crate) fn wait_for_open(&self, count: u64) -> Result<(), Box<dyn Error>> {
        wait_for(|| Ok(self.listener("open")? == count))
            .map_err(|error| format!("{error}; {:?} are open", self.listener("open")).into())
    }
}

/// The status of the one gateway that answers.
pub(crate) fn status() -> Result<Value, Box<dyn Error>> {
    let (code, said) = ask(&["status", "--json"])?;
    ensure(code == Some(0), || format!("status: {code:?}: {}", said.trim()))?;
    let document = said.find('{').map_or("", |start| &said[start..]);
    Ok(serde_json::Deserializer::from_str(document).into_iter().next().ok_or("no status")??)
}

/// All that gateways have logged since the last start.
pub(crate) fn log() -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(LOG)?)
}

/// Whether a process is there and no zombie: its parent may be slow.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

pub(crate) fn terminate(pid: u32) -> Result<(), Box<dyn Error>> {
    Ok(kill(Pid::from_raw(pid as i32), Signal::SIGTERM)?)
}

/// Asks until it holds.
pub(crate) fn wait_for(
    mut holds: impl FnMut() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while !holds()? {
        ensure(begun.elapsed() < PATIENCE, || format!("not in {PATIENCE:?}"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
