//! The crowd that goes on while something is upgraded: a program of ours that is told by its stdin
//! and answers on stdout.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use serde_json::Value;

/// Between two looks at whether all is to end.
const GLANCE: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It has ended, or what it loads has.
    Ended,
    Interrupted,
}

/// One that runs. Dropped, it ends.
pub(super) struct Crowd {
    child: Child,
    /// Closed, the crowd checks all and ends.
    orders: Option<ChildStdin>,
    lines: Receiver<Value>,
    /// What it said last of all.
    result: Option<Value>,
}

impl Crowd {
    /// Starts one with these arguments; its progress goes to our stderr.
    pub(super) fn start(arguments: &[String], speaks: bool) -> io::Result<Crowd> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(if speaks { Stdio::inherit() } else { Stdio::null() });
        // An interrupt is ours to hear: the crowd ends when we let go of it.
        let mut child = command.process_group(0).spawn()?;
        let orders = child.stdin.take();
        let out = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            let parsed = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            parsed.map_while(|line| sender.send(line).ok()).for_each(drop);
        });
        Ok(Crowd { child, orders, lines, result: None })
    }

    /// Says a word, and waits for the answer.
    pub(super) fn tell(
        &mut self,
        word: &str,
        interrupted: &AtomicBool,
        lives: impl FnMut() -> bool,
    ) -> Result<Value, Silence> {
        let told = self.orders.as_mut().map(|orders| writeln!(orders, "{word}"));
        if !matches!(told, Some(Ok(()))) {
            return Err(Silence::Ended);
        }
        self.hear(interrupted, lives)
    }

    /// Its next line, unless that is its result, or what it loads no longer lives.
    pub(super) fn hear(
        &mut self,
        interrupted: &AtomicBool,
        mut lives: impl FnMut() -> bool,
    ) -> Result<Value, Silence> {
        loop {
            match self.lines.recv_timeout(GLANCE) {
                Ok(line) if line["scenario"].is_string() => {
                    self.result = Some(line);
                    return Err(Silence::Ended);
                }
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Ended),
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Silence::Interrupted);
            }
            if !lives() {
                return Err(Silence::Ended);
            }
        }
    }

    /// Has it check all and end; its result, and how it ended.
    pub(super) fn end(mut self) -> io::Result<(Option<Value>, ExitStatus)> {
        self.orders = None;
        // Its stdout ends with it.
        while let Ok(line) = self.lines.recv() {
            if line["scenario"].is_string() {
                self.result = Some(line);
            }
        }
        let status = self.child.wait()?;
        Ok((self.result.take(), status))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
