//! The most that processes take while something goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::host::Footprint;

/// Between two looks: each walks over a process's pages, of which a large gateway has many.
const EVERY: Duration = Duration::from_millis(200);

/// Does something, and says what it gives and the most that these processes took meanwhile.
pub(super) fn watched<T>(
    pids: impl Fn() -> Vec<u32> + Sync,
    what: impl FnOnce() -> T,
) -> (T, Footprint) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = Footprint::default();
            loop {
                // The last look comes after the end.
                let last = over.load(Ordering::Relaxed);
                peak = peak.peak(Footprint::of(&pids()));
                if last {
                    return peak;
                }
                std::thread::sleep(EVERY);
            }
        });
        let done = what();
        over.store(true, Ordering::Relaxed);
        (done, watching.join().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_what_was_there_meanwhile() {
        let own = std::process::id();
        let (done, peak) = watched(|| vec![own], || 7);
        assert!(done == 7 && peak.processes == 1 && peak.rss_bytes > 0, "{peak:?}");
    }
}
