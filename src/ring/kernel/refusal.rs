//! Why io_uring cannot be used, in words with a remedy.

use std::fmt;

use crate::base::Errno;

/// The first Linux on which a close of a direct descriptor waits for nothing.
const FLOOR: &str = "6.13";

/// A feature that the kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub feature: &'static str,
    /// The first Linux that has it.
    pub since: &'static str,
}

/// Why io_uring cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// There is no io_uring at all: too old, or built without it.
    Absent {
        /// The kernel's release.
        release: String,
    },
    /// There is, but it lacks something.
    TooOld {
        /// The kernel's release.
        release: String,
        /// Everything it lacks.
        missing: Vec<Missing>,
    },
    /// A close of a direct descriptor waits for the older operations of its ring.
    ClosesWait {
        /// The kernel's release.
        release: String,
    },
    /// `kernel.io_uring_disabled` forbids it.
    Disabled {
        /// Its value: 1 lets the group `kernel.io_uring_group` and CAP_SYS_ADMIN, 2 nobody.
        sysctl: u8,
    },
    /// A seccomp filter refuses a system call.
    Seccomp {
        /// Which one.
        call: &'static str,
    },
    /// Memory for a ring was refused.
    Memory,
    /// Something else refused it.
    Refused {
        /// The system call.
        call: &'static str,
        /// The kernel's error.
        errno: Errno,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Absent { release } => write!(
                f,
                "Linux {release} has no io_uring: run Linux {FLOOR} or newer, built with \
                 CONFIG_IO_URING"
            ),
            ProbeError::TooOld { release, missing } => {
                write!(f, "Linux {release} lacks")?;
                for (index, one) in missing.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma} {} (Linux {})", one.feature, one.since)?;
                }
                write!(f, ": run Linux {FLOOR} or newer")
            }
            ProbeError::ClosesWait { release } => write!(
                f,
                "Linux {release} does not close a socket of io_uring while an older operation of \
                 its ring waits, as a trial found: clients would not see the end of their \
                 connections; run Linux {FLOOR} or newer"
            ),
            ProbeError::Disabled { sysctl: 1 } => write!(
                f,
                "kernel.io_uring_disabled is 1 and this user is not in its group: run `sysctl -w \
                 kernel.io_uring_disabled=0`, or add the user to the group of \
                 kernel.io_uring_group"
            ),
            ProbeError::Disabled { sysctl } => write!(
                f,
                "kernel.io_uring_disabled is {sysctl}, which refuses io_uring to everybody: run \
                 `sysctl -w kernel.io_uring_disabled=0`"
            ),
            ProbeError::Seccomp { call } => write!(
                f,
                "a seccomp filter refuses {call}, as those of container runtimes do by default: \
                 allow io_uring_setup, io_uring_enter and io_uring_register (Docker, Podman: \
                 --security-opt seccomp=FILE, as config/host/seccomp.json; systemd: \
                 SystemCallFilter=@aio)"
            ),
            ProbeError::Memory => write!(
                f,
                "no memory for a ring (ENOMEM): raise `ulimit -l` (LimitMEMLOCK=), which bounds \
                 all processes of a user together, or the cgroup's memory"
            ),
            ProbeError::Refused { call, errno: errno @ (Errno::EPERM | Errno::EACCES) } => write!(
                f,
                "a security module refuses {call} ({errno}, though neither sysctl nor seccomp \
                 does): allow it in the SELinux or AppArmor policy of this service"
            ),
            ProbeError::Refused { errno: Errno::EMFILE | Errno::ENFILE, .. } => write!(
                f,
                "no descriptor left for a ring: raise `ulimit -n` (LimitNOFILE=) or fs.file-max"
            ),
            ProbeError::Refused { call, errno } => {
                write!(f, "{call} failed: {errno}; please report this with `uname -a`")
            }
        }
    }
}

impl std::error::Error for ProbeError {}

impl ProbeError {
    /// This host has no io_uring for us, whatever becomes free on it: it is refused, or too old.
    pub fn is_lasting(&self) -> bool {
        match self {
            ProbeError::Absent { .. }
            | ProbeError::TooOld { .. }
            | ProbeError::ClosesWait { .. }
            | ProbeError::Disabled { .. }
            | ProbeError::Seccomp { .. } => true,
            ProbeError::Memory => false,
            ProbeError::Refused { errno, .. } => {
                use Errno::{EACCES, ENOSYS, EOPNOTSUPP, EPERM};
                matches!(errno, EPERM | EACCES | ENOSYS | EOPNOTSUPP)
            }
        }
    }
}
