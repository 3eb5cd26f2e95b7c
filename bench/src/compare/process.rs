//! Programs that we start: each in a process group of its own, and gone when we let go of it.

use std::ffi::OsStr;
use std::fs::{File, read_to_string};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(8);
const GLANCE: Duration = Duration::from_millis(10);
/// How much of what it said last is told when it failed.
const TAIL_LINES: usize = 8;

/// A program that runs. Dropping it ends it, with all of its group.
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    out: PathBuf,
    errors: PathBuf,
}

impl Process {
    /// Starts a program, with its output in files `NAME.out` and `NAME.err` of a folder, and in a
    /// cgroup if there is one.
    pub(crate) fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        (folder, name): (&Path, &str),
        cgroup: Option<&Path>,
    ) -> io::Result<Process> {
        let (out, errors) =
            (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let mut command = match cgroup {
            None => Command::new(program),
            Some(processes) => {
                // It enters the group before it becomes the program, so that every byte counts.
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"]);
                shell.arg(processes).arg(program);
                shell
            }
        };
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        command.stdout(File::create(&out)?).stderr(File::create(&errors)?);
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", program.display()))
        })?;
        Ok(Process { child, ended: None, out, errors })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Ends it and all of its group.
    pub(crate) fn end(&mut self) {
        if matches!(self.ended(), Ok(None)) {
            self.signal(Signal::SIGTERM);
            let begun = Instant::now();
            while begun.elapsed() < GRACE && matches!(self.ended(), Ok(None)) {
                std::thread::sleep(GLANCE);
            }
        }
        // Also what its leader left behind.
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        // There is nobody left in the group: that is what is wanted.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// What it wrote to stdout.
    pub(crate) fn said(&self) -> String {
        read_to_string(&self.out).unwrap_or_default()
    }

    /// All that it wrote to stderr.
    pub(crate) fn log(&self) -> String {
        read_to_string(&self.errors).unwrap_or_default()
    }

    /// The last lines that it wrote to stderr.
    pub(crate) fn complained(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str) -> (tempfile::TempDir, Process) {
        let folder = tempfile::tempdir().expect("a folder");
        let place = (folder.path(), "sleeper");
        let process = Process::start(Path::new("/bin/sh"), &["-c", script], place, None);
        (folder, process.expect("a shell"))
    }

    fn lives(pid: i32) -> bool {
        nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
    }

    #[test]
    fn whoever_it_left_behind_goes_with_it() {
        let (_folder, mut process) = sleeper("sleep 600 & echo $!; echo trouble >&2");
        let begun = Instant::now();
        while process.ended().expect("our child").is_none() {
            assert!(begun.elapsed() < GRACE, "the shell does not end");
            std::thread::sleep(GLANCE);
        }
        let left: i32 = process.said().trim().parse().expect("a pid");
        assert!(lives(left));
        assert_eq!(process.complained(), "trouble");
        drop(process);
        // Init reaps it; until then it is there, and dead.
        let gone = || {
            !lives(left)
                || read_to_string(format!("/proc/{left}/stat"))
                    .is_ok_and(|stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(begun.elapsed() < GRACE, "{left} still lives");
            std::thread::sleep(GLANCE);
        }
    }
}
