//! What a reload needs of the control plane's own sockets.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;

/// The control plane's sockets, to be opened elsewhere.
pub(super) trait Reopen: fmt::Debug + Send + Sync {
    /// Opens what the config `after` asks for beside what is open. The last step before a change is
    /// made: a mode or a group is given to the admin socket here already.
    ///
    /// # Errors
    /// When it cannot be had. Nothing has changed then.
    fn prepare(self: Arc<Self>, before: &Config, after: &Config) -> Result<TakePlace, String>;
}

/// Has what was opened answer, and closes what was open before. Answers under way are given.
pub(super) type TakePlace = Box<dyn FnOnce() + Send>;
