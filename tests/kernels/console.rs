//! What a guest printed, read.

use crate::Release;

/// The checks that each guest must have run.
pub(crate) const CHECKS: [&str; 14] = [
    "check",
    "doctor",
    "asked for io_uring",
    "start",
    "held",
    "half-closes",
    "resets",
    "bulk",
    "ping-pong",
    "churn",
    "counts",
    "reload",
    "drain",
    "upgrade",
];

/// A check as a guest has reported it.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) is_ok: bool,
    pub(crate) seconds: String,
    pub(crate) says: String,
}

pub(crate) struct Console {
    /// The kernel's own name of its release.
    pub(crate) release: String,
    pub(crate) lines: Vec<Line>,
    /// What the kernel complained of.
    complaints: Vec<String>,
    /// The guest came to its end.
    ended: bool,
}

impl Console {
    pub(crate) fn read(text: &str) -> Console {
        let of = |mark: &'static str| text.lines().filter_map(move |line| line.strip_prefix(mark));
        let line = |rest: &str| {
            let mut parts = rest.splitn(4, " | ").map(|part| part.trim().to_owned());
            let mut part = || parts.next().unwrap_or_default();
            Line { name: part(), is_ok: part() == "ok", seconds: part(), says: part() }
        };
        Console {
            release: of("RELEASE ").next().unwrap_or("(no release)").trim().to_owned(),
            lines: of("CHECK ").map(line).collect(),
            complaints: of("KERNEL ").map(str::to_owned).collect(),
            ended: of("END").next().is_some(),
        }
    }

    pub(crate) fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// The first two numbers of its release.
    pub(crate) fn numbers(&self) -> Option<Release> {
        let mut numbers = self.release.split(['.', '-', '+']);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// All that is wrong with it.
    pub(crate) fn faults(&self, belongs: fn(Release) -> bool) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.numbers().is_some_and(belongs) {
            faults.push(format!("the kernel is {}", self.release));
        }
        for name in CHECKS {
            match self.line(name) {
                None => faults.push(format!("{name} was not run")),
                Some(line) if !line.is_ok => faults.push(format!("{name}: {}", line.says)),
                Some(_) => {}
            }
        }
        let strange = |line: &&Line| !CHECKS.contains(&line.name.as_str()) && !line.is_ok;
        let strange = self.lines.iter().filter(strange);
        faults.extend(strange.map(|line| format!("{}: {}", line.name, line.says)));
        faults.extend(self.complaints.iter().map(|line| format!("the kernel says {line}")));
        if !self.ended {
            faults.push("the guest did not come to its end".to_owned());
        }
        faults
    }
}

const FULL: &str = "RELEASE 6.12.117+deb13\nCHECK check | ok | 0.1 | fine\n\
    CHECK held | FAILED | 20.0 | 3 open | of 4\nEND\n";

#[test]
fn a_console_is_read() {
    let console = Console::read(FULL);
    assert_eq!(console.numbers(), Some((6, 12)));
    let held = console.line("held").expect("it is there");
    assert_eq!((held.is_ok, held.says.as_str()), (false, "3 open | of 4"));
    let faults = console.faults(|release| release == (6, 12));
    assert!(faults.contains(&"held: 3 open | of 4".to_owned()), "{faults:?}");
    assert!(faults.contains(&"upgrade was not run".to_owned()), "{faults:?}");
    assert_eq!(faults.len(), CHECKS.len() - 1, "{faults:?}");
}

#[test]
fn another_kernel_and_a_guest_that_died_are_faults() {
    let faults = Console::read("RELEASE 6.1.0\nKERNEL [1.0] BUG: x\n").faults(|_| false);
    assert!(faults.contains(&"the kernel is 6.1.0".to_owned()), "{faults:?}");
    assert!(faults.contains(&"the kernel says [1.0] BUG: x".to_owned()), "{faults:?}");
    assert!(faults.contains(&"the guest did not come to its end".to_owned()), "{faults:?}");
}
