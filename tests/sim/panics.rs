//! Panics of runs are findings, not noise.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// While a run is on: what its panic said.
    static SILENT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The result of a run, or what its panic said.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    quiet_panics();
    SILENT.with_borrow_mut(|message| *message = Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(run));
    let message = SILENT.with_borrow_mut(Option::take).unwrap_or_default();
    result.map_err(|_| message)
}

fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let silent = SILENT.with_borrow_mut(|message| match message {
                Some(message) => {
                    *message = info.to_string();
                    true
                }
                None => false,
            });
            if !silent {
                before(info);
            }
        }));
    });
}
