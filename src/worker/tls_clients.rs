//! Clients whose TLS ends here, as lists and logs show them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::ConnIndex;
use crate::tls::Suite;

/// How a client speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClient {
    /// The cipher suite, and with it the version.
    pub suite: Suite,
    /// The name that it asked for, where it was kept.
    pub server_name: Option<Box<str>>,
    /// The common name of its certificate.
    pub common_name: Option<Box<str>>,
}

/// Those of a worker of whom more is kept than their session: they have shown a certificate, or a
/// line of the access log will name them. Of the others nothing is, so that they stay small.
#[derive(Debug, Default)]
pub(super) struct TlsClients(HashMap<ConnIndex, Arc<TlsClient>>);

impl TlsClients {
    pub(super) fn keep(&mut self, index: ConnIndex, client: TlsClient) {
        self.0.insert(index, Arc::new(client));
    }

    pub(super) fn get(&self, index: ConnIndex) -> Option<Arc<TlsClient>> {
        self.0.get(&index).cloned()
    }

    /// It is gone.
    pub(super) fn take(&mut self, index: ConnIndex) -> Option<Arc<TlsClient>> {
        if self.0.is_empty() { None } else { self.0.remove(&index) }
    }
}
