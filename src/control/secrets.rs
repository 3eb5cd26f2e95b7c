//! Keys of TLS, and what they protect, stay out of core dumps.

use crate::host::core_dumps::{Left, leave_memory_out};
use crate::tls::Loaded;

/// Has core dumps leave this process's memory out, where TLS is spoken to anybody.
pub fn guard_secrets(loaded: &Loaded) {
    if !loaded.is_any() {
        return;
    }
    match leave_memory_out() {
        Ok(Left::Out) => {}
        Ok(Left::AsChosen) => {
            tracing::info!("core dumps have what coredump_filter says: perhaps keys of TLS, too");
        }
        Err(error) => tracing::warn!(%error, "core dumps may have keys of TLS in them"),
    }
}
