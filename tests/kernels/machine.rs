//! One boot of a guest under emulation, from its start to its end.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::installed;

/// A guest that hangs ends after this, on however busy a host.
const LIMIT: Duration = Duration::from_secs(600);

/// What a guest took.
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Of all emulated processors and the emulator: what else runs on the host adds little to it.
    pub(crate) cpu_seconds: f64,
}

/// All that the guest printed, and what it took.
pub(crate) fn run(kernel: &Path, initramfs: &Path, io: &str) -> (String, Took) {
    assert!(kernel.is_file(), "{} is not there: run tests/kernels/fetch", kernel.display());
    let console = kernel.with_file_name("console");
    // One of an earlier run must not pass for this one's.
    let _ = std::fs::remove_file(&console);
    let mut command = Command::new(installed("qemu-system-x86_64"));
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"]);
    command.args(["-nodefaults", "-nographic", "-no-reboot"]);
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // What stands behind the dashes goes to PID 1. A panic ends the machine. Mitigations cost time.
    let line = format!("console=ttyS0 quiet panic=-1 mitigations=off -- {io}");
    command.arg("-append").arg(line);
    let errors = File::create(kernel.with_file_name("errors")).expect("the folder is ours");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let (begun, cpu_seconds) = (Instant::now(), cpu_seconds_of_children());
    let ended = within(command.spawn().expect("the emulator starts"), LIMIT);
    let text = std::fs::read(&console).unwrap_or_default();
    let errors = std::fs::read_to_string(kernel.with_file_name("errors")).unwrap_or_default();
    let mut text = String::from_utf8_lossy(&text).replace('\r', "") + &errors;
    if !ended {
        text.push_str("\nended after its time limit\n");
    }
    let seconds = begun.elapsed().as_secs_f64();
    (text, Took { seconds, cpu_seconds: cpu_seconds_of_children() - cpu_seconds })
}

/// Of children that have ended. Guests run one after the other.
fn cpu_seconds_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always answered");
    let microseconds = usage.user_time() + usage.system_time();
    microseconds.num_microseconds() as f64 / 1e6
}

/// Whether it ended by itself.
fn within(mut machine: Child, limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if machine.try_wait().expect("it is our child").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    machine.kill().expect("it is our child");
    machine.wait().expect("it is our child");
    false
}
