//! The end of a gateway as the one that comes after it sees it: it gives notice, lets go, is gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::host::directory::runtime_directory;
use crate::host::kernel_files::network_namespace;
use crate::host::notice::{Notice, NoticeFile};
use crate::listener::Decoys;

/// A drain of the whole gateway. Without one, nothing.
#[derive(Debug, Default)]
pub(super) struct Departure {
    /// Until another gateway has taken over, clients come to these and get no answer.
    decoys: Vec<Decoys>,
    /// As long; it goes last.
    notice: Option<(Notice, NoticeFile)>,
}

impl Departure {
    /// Gives notice that the gateway at these addresses drains its connections, and has ended at
    /// `until`; or names another end.
    pub(super) fn announce(
        &mut self,
        addresses: Vec<SocketAddr>,
        until: SystemTime,
        connections: u64,
    ) {
        let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let until_seconds = until.as_secs();
        let network = network_namespace();
        let has_let_go = false;
        let notice = Notice { addresses, connections, has_let_go, network, until_seconds };
        let put = |directory: PathBuf| {
            NoticeFile::put(&directory, &notice).map_err(|error| error.to_string())
        };
        let directory = runtime_directory().map_err(|error| error.to_string());
        let file = match self.notice.take() {
            Some((_, file)) => file.update(&notice).map_err(|e| e.to_string()).map(|()| file),
            None => directory.and_then(put),
        };
        match file {
            Ok(file) => self.notice = Some((notice, file)),
            Err(error) => tracing::warn!(error, "no other gateway hears that this one drains"),
        }
    }

    /// It stays after all.
    pub(super) fn withdraw(&mut self) {
        self.notice = None;
    }

    /// Clients come to these and get no answer; without any they come to the gateway.
    pub(super) fn turn_away(&mut self, decoys: Vec<Decoys>) {
        self.decoys = decoys;
    }

    /// So many connections are left.
    pub(super) fn say_left(&mut self, connections: u64) {
        let Some((notice, file)) = &mut self.notice else { return };
        notice.connections = connections;
        // The next one says it again.
        let _ = file.update(notice);
    }

    /// Whether another gateway waits for the addresses of this one.
    pub(super) fn is_awaited(&self) -> bool {
        self.notice.as_ref().is_some_and(|(_, file)| file.is_claimed())
    }

    /// The addresses are free. Clients that come there still get no answer, and so come again.
    pub(super) fn say_let_go(&mut self) {
        let Some((notice, file)) = &mut self.notice else { return };
        tracing::info!(pid = file.claimant(), "another gateway takes over the addresses");
        notice.has_let_go = true;
        if let Err(error) = file.update(notice) {
            tracing::warn!(%error, "the gateway that waits does not hear that it need not");
        }
    }

    /// Whether the other gateway waits no more: it listens, or is gone. From then on nothing here
    /// concerns new clients.
    pub(super) fn is_succeeded(&mut self) -> bool {
        let is_over = !self.is_awaited();
        if is_over {
            self.decoys.clear();
            self.notice = None;
        }
        is_over
    }
}
