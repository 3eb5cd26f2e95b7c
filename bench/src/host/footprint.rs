//! What processes take at a moment, and which processes belong together.

use std::fs::{read_dir, read_to_string};

use serde_json::{Value, json};

use super::account::{pss_bytes, stat, with_children};

/// What some processes take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    pub(crate) processes: usize,
    pub(crate) pss_bytes: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: usize,
}

impl Footprint {
    /// Of these, as far as they still run.
    pub(crate) fn of(pids: &[u32]) -> Footprint {
        let mut all = Footprint::default();
        for pid in pids.iter().filter(|pid| runs(**pid)) {
            all.processes += 1;
            all.pss_bytes += pss_bytes(*pid).unwrap_or(0);
            all.rss_bytes += rss_bytes(*pid).unwrap_or(0);
            all.descriptors += read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        }
        all
    }

    /// The larger of each.
    pub(crate) fn peak(self, other: Footprint) -> Footprint {
        Footprint {
            processes: self.processes.max(other.processes),
            pss_bytes: self.pss_bytes.max(other.pss_bytes),
            rss_bytes: self.rss_bytes.max(other.rss_bytes),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({
            "processes": self.processes, "pss_bytes": self.pss_bytes,
            "rss_bytes": self.rss_bytes, "descriptors": self.descriptors,
        })
    }
}

/// The processes of a group that run.
pub(crate) fn group(leader: u32) -> Vec<u32> {
    let entries = read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_in = |pid: &u32| {
        stat(*pid).is_some_and(|fields| {
            fields.get(2).and_then(|group| group.parse().ok()) == Some(leader)
        })
    };
    pids.filter(is_in).filter(|pid| runs(*pid)).collect()
}

/// A process and all who descend from it, that run.
pub(crate) fn family(root: u32) -> Vec<u32> {
    with_children(&[root]).into_iter().filter(|pid| runs(*pid)).collect()
}

/// Whether a process runs: one that has ended and is not waited for does not.
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| !"ZX".contains(&**state)))
}

fn rss_bytes(pid: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_takes_something_and_is_in_its_group() {
        let own = std::process::id();
        let taken = Footprint::of(&[own]);
        assert!(taken.processes == 1 && taken.rss_bytes > 0 && taken.descriptors > 2, "{taken:?}");
        let leader = nix::unistd::getpgrp().as_raw() as u32;
        assert!(group(leader).contains(&own) && family(own).contains(&own) && runs(own));
        assert_eq!(taken.peak(Footprint::default()), taken);
    }
}
