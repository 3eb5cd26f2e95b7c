//! How tests run `compare` and `sweep`: with a folder of their own, by which all that they start is
//! known.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::read_dir;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a run gave.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) errors: String,
}

/// A run that goes on.
pub(crate) struct Run {
    child: Child,
    folder: TempDir,
}

impl Run {
    /// Starts it; `arguments` begin with the command.
    pub(crate) fn start(arguments: &[&str]) -> Run {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        let file = |name| std::fs::File::create(folder.path().join(name)).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
        command.args(arguments).args(["--max-lag", "1m", "--threads", "1"]);
        command.env("TMPDIR", folder.path().join("tmp"));
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Run { child: command.spawn().expect("it runs"), folder }
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id() as i32
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// What it wrote to stderr so far.
    pub(crate) fn errors(&self) -> String {
        self.text("err")
    }

    /// Lines of results so far.
    pub(crate) fn count(&self) -> usize {
        self.text("out").lines().count()
    }

    /// Processes that it started and that still are, itself included: they have its environment.
    pub(crate) fn alive(&self) -> Vec<u32> {
        let mark = self.folder.path().as_os_str().as_encoded_bytes();
        let entries = read_dir("/proc").expect("proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|window| window == mark)
        };
        pids.filter(is_ours).collect()
    }

    /// Waits for its end: nobody is left, and no file.
    #[track_caller]
    pub(crate) fn end(mut self) -> Outcome {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.text("err"));
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(self.alive(), Vec::<u32>::new(), "processes are left behind");
        let files = read_dir(self.folder.path().join("tmp")).expect("its folder").count();
        assert_eq!(files, 0, "files are left behind");
        let lines = self.text("out");
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Outcome {
            code: status.code(),
            lines: lines.lines().map(parse).collect(),
            errors: self.text("err"),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A test that fails ends what it started, too.
        let _ = self.child.kill();
        for pid in self.alive() {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Runs it to its end.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> Outcome {
    Run::start(arguments).end()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The gateway's program, beside the bench's. A test run of the bench alone does not build it.
pub(crate) fn portcullis() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_portcullis-bench")).with_file_name("portcullis");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--bin", "portcullis", "--manifest-path"]);
        build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        let folder = path.parent().expect("it lies in a folder");
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--target-dir").arg(folder.parent().expect("the build's folder"));
        assert!(build.status().expect("cargo").success(), "{build:?}");
    }
    path
}
