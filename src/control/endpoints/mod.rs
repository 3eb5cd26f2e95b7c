//! The control plane's sockets: for admin requests and for status.

mod admin;
mod events;
mod hosts;
mod http;
mod page;
mod places;
mod status;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use admin::AdminFiles;
pub use admin::{AdminEndpoint, AdminError};
pub use hosts::Hosts;
pub use status::{StatusEndpoint, StatusError};

use super::reopen::{Handed, Reopen, TakePlace};
use super::state::ControlState;
use crate::config::{Admin, AdminSocket, Config, Status};
use crate::host::directory::runtime_directory;

/// The control plane's sockets.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// For requests that change something, and all others.
    pub admin: Option<AdminEndpoint>,
    /// For requests that only read.
    pub status: Option<StatusEndpoint>,
}

impl Endpoints {
    /// Answers at each until the runtime ends, it makes room, or a reload wants another.
    pub(super) fn serve(self, state: &ControlState) -> Arc<Serving> {
        let serving = Arc::new(Serving {
            state: state.clone(),
            admin: Mutex::new(None),
            status: Mutex::new(None),
        });
        serving.put_admin(self.admin);
        serving.put_status(self.status);
        let reopen: Arc<dyn Reopen> = serving.clone();
        state.set_reopen(&reopen);
        serving
    }
}

/// Endpoints that answer.
#[derive(Debug)]
pub(super) struct Serving {
    state: ControlState,
    admin: Mutex<Option<(Running, AdminFiles)>>,
    /// With the passive socket: an address that overlaps takes it.
    status: Mutex<Option<(Running, Option<std::net::TcpListener>)>>,
}

type Task = JoinHandle<std::io::Result<()>>;

/// A task that accepts. Dropped, it ends; answers that are under way are given.
#[derive(Debug)]
struct Running(Task);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Running {
    /// Ends it, and waits until its socket is closed.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

const UNPOISONED: &str = "no code that holds the lock panics";

impl Serving {
    /// Leaves what the config names to a gateway with the same config: the status server ends, and
    /// the admin socket goes where "auto" is. Answers that are under way are given.
    pub(super) async fn make_room(&self) {
        let status = self.status.lock().expect(UNPOISONED).take();
        if let Some((running, socket)) = status {
            drop(socket);
            running.end().await;
        }
        let admin = self.state.view().config.admin.clone();
        let AdminSocket::At(_) = &admin.socket else { return };
        let serving = self.admin.lock().expect(UNPOISONED).take();
        let Some((running, files)) = serving else { return };
        running.end().await;
        drop(files);
        let elsewhere = Admin { socket: AdminSocket::Auto, ..admin };
        let opened = runtime_directory().map_err(|error| error.to_string()).and_then(|directory| {
            AdminEndpoint::open(&elsewhere, &directory).map_err(|error| error.to_string())
        });
        match opened {
            Ok(endpoint) => self.put_admin(endpoint),
            Err(error) => tracing::warn!(error, "signals alone steer the rest of the drain"),
        }
    }

    /// Listens where the config says, in place of what lies there by this lock.
    fn open_admin(&self, handed: Option<(PathBuf, OwnedFd)>) {
        let config = self.state.view().config.admin.clone();
        let opened = runtime_directory().map_err(|error| error.to_string()).and_then(|directory| {
            let opened = AdminEndpoint::listen_over(&config, &directory, handed);
            opened.map(|endpoint| (endpoint, directory)).map_err(|error| error.to_string())
        });
        match opened {
            Ok((endpoint, directory)) => {
                self.put_admin(endpoint);
                if let Some((_, files)) = &mut *self.admin.lock().expect(UNPOISONED) {
                    files.link_from(&directory);
                }
            }
            Err(error) => tracing::error!(error, "signals alone steer this gateway"),
        }
    }

    fn put_admin(&self, endpoint: Option<AdminEndpoint>) {
        let serve = |endpoint: AdminEndpoint| {
            let (task, files) = endpoint.serve(self.state.clone());
            (Running(task), files)
        };
        *self.admin.lock().expect(UNPOISONED) = endpoint.map(serve);
    }

    fn put_status(&self, endpoint: Option<StatusEndpoint>) {
        let serve = |endpoint: StatusEndpoint| {
            let socket = endpoint.socket().ok();
            (Running(tokio::task::spawn_local(endpoint.serve(self.state.clone()))), socket)
        };
        *self.status.lock().expect(UNPOISONED) = endpoint.map(serve);
    }

    /// The status server's next endpoint; `None`: the one that is there goes on.
    fn next_status(
        &self,
        before: &Status,
        after: &Status,
    ) -> Result<Option<Option<StatusEndpoint>>, String> {
        if before.bind == after.bind {
            return Ok(None);
        }
        let status = self.status.lock().expect(UNPOISONED);
        let left = status.as_ref().and_then(|(_, socket)| socket.as_ref());
        let open =
            |bind| StatusEndpoint::open_beside(bind, left).map_err(|error| error.to_string());
        after.bind.map(open).transpose().map(Some)
    }

    /// The next admin endpoint; `None`: the one that is there goes on, with the mode and the group
    /// that are asked for.
    fn next_admin(
        &self,
        before: &Admin,
        after: &Admin,
    ) -> Result<Option<(Option<AdminEndpoint>, PathBuf)>, String> {
        let mut admin = self.admin.lock().expect(UNPOISONED);
        let mut files = admin.as_mut().map(|(_, files)| files);
        if before.socket == after.socket {
            let set = files.filter(|_| before != after).map(|files| files.set(before, after));
            return set.transpose().map(|_| None).map_err(|error| error.to_string());
        }
        let directory = runtime_directory().map_err(|error| error.to_string())?;
        if let (AdminSocket::Auto, Some(files)) = (&after.socket, &mut files) {
            files.unlink();
        }
        let opened = AdminEndpoint::listen(after, &directory).map_err(|error| {
            if let (AdminSocket::Auto, Some(files)) = (&after.socket, &mut files) {
                files.link_from(&directory);
            }
            error.to_string()
        });
        opened.map(|endpoint| Some((endpoint, directory)))
    }
}

impl Reopen for Serving {
    fn prepare(self: Arc<Self>, before: &Config, after: &Config) -> Result<TakePlace, String> {
        let status = self.next_status(&before.status, &after.status)?;
        let admin = self.next_admin(&before.admin, &after.admin)?;
        Ok(Box::new(move || {
            if let Some(status) = status {
                self.put_status(status);
            }
            let Some((endpoint, directory)) = admin else { return };
            self.put_admin(endpoint);
            if let Some((_, files)) = &mut *self.admin.lock().expect(UNPOISONED) {
                files.link_from(&directory);
            }
        }))
    }

    fn share(&self) -> io::Result<Handed> {
        let admin = self.admin.lock().expect(UNPOISONED);
        let admin = admin.as_ref().map(|(_, files)| files.share()).transpose()?.flatten();
        let status = self.status.lock().expect(UNPOISONED);
        let socket = status.as_ref().and_then(|(_, socket)| socket.as_ref());
        let status = match socket {
            Some(socket) => Some((socket.local_addr()?, socket.try_clone()?)),
            None => None,
        };
        Ok(Handed { status, admin })
    }

    fn leave(&self) {
        // What has been asked is answered; new clients are the successor's.
        *self.status.lock().expect(UNPOISONED) = None;
        if let Some((_, files)) = &mut *self.admin.lock().expect(UNPOISONED) {
            files.leave();
        }
    }

    fn stay(&self) {
        let mut admin = self.admin.lock().expect(UNPOISONED);
        let Some((_, files)) = admin.as_ref().filter(|(_, files)| !files.is_in_place()) else {
            return;
        };
        let handed = files.share().ok().flatten();
        if let Some((_, files)) = &mut *admin {
            files.leave();
        }
        drop(admin);
        self.open_admin(handed);
    }

    fn take_over(&self, handed: Handed) {
        let Handed { status, admin } = handed;
        self.open_admin(admin);
        let config = self.state.view().config.status.clone();
        let opened = match (config.bind, status) {
            // Port 0 became the one that it has.
            (Some(bind), Some((address, socket)))
                if bind.ip() == address.ip() && [0, address.port()].contains(&bind.port()) =>
            {
                StatusEndpoint::on(socket).map(Some).map_err(|error| error.to_string())
            }
            _ => StatusEndpoint::open(&config).map_err(|error| error.to_string()),
        };
        match opened {
            Ok(endpoint) => self.put_status(endpoint),
            Err(error) => tracing::error!(error, "there is no status server"),
        }
    }
}
