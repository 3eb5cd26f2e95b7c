//! The control plane's sockets: for admin requests and for status.

mod admin;
mod events;
mod hosts;
mod http;
mod page;
mod places;
mod status;

pub use admin::{AdminEndpoint, AdminError};
pub use hosts::Hosts;
pub use status::StatusEndpoint;

use super::state::ControlState;

/// The control plane's sockets.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// For requests that change something, and all others.
    pub admin: Option<AdminEndpoint>,
    /// For requests that only read.
    pub status: Option<StatusEndpoint>,
}

impl Endpoints {
    /// Answers at each until the runtime ends.
    pub(super) fn serve(self, state: &ControlState) {
        if let Some(admin) = self.admin {
            tokio_uring::spawn(admin.serve(state.clone()));
        }
        if let Some(status) = self.status {
            tokio_uring::spawn(status.serve(state.clone()));
        }
    }
}
