//! Which clients a listener takes, by their addresses.

use crate::config::NetworkList;
use crate::config::error::ConfigError;
use crate::config::file::Section;
use crate::config::form::Own;
use crate::config::keys::keys;
use crate::config::networks::{A_LIST_OR_FILES, networks_or_files};

const NETWORKS: Own<NetworkList> =
    Own { values: A_LIST_OR_FILES, read: networks_or_files, written: NetworkList::written };

const WRITE_NETWORKS: &str =
    "write [\"10.0.0.0/8\", \"file:/etc/portcullis/networks\"]; an address is a network, too";

keys! {
    /// Who may come, and who may not.
    Access;

    /// Networks whose clients are taken; with any here, others are reset before a server hears of
    /// them. []: everybody. "file:/path" stands for the networks of a file, one in each line, with
    /// comments behind #; it is read again when it changes. Of the networks in allow and deny that
    /// have a client's address the smallest decides; a header's address is the client's where
    /// accept_proxy takes one.
    ///
    /// Write it where only known networks have any business with this listener.
    "allow" allow: NetworkList = [], NewConnections, NETWORKS, WRITE_NETWORKS;

    /// Networks whose clients are reset before a server hears of them, written as in allow.
    ///
    /// Write the networks of those that harm your servers; a kernel's firewall drops them cheaper.
    "deny" deny: NetworkList = [], NewConnections, NETWORKS, WRITE_NETWORKS;
}

impl Access {
    /// Whether a client is taken whose address is in no network of either list.
    pub fn takes_others(&self) -> bool {
        self.allow.is_unsaid()
    }
}

/// A network stands in both lists, where neither is smaller.
pub(super) fn contradiction(section: &Section<'_>, access: &Access) -> Option<ConfigError> {
    let allowed = access.allow.networks();
    let mut denied = access.deny.networks().iter();
    let both = denied.find(|network| allowed.binary_search(network).is_ok())?;
    let rule = format!("has {both}, and allow has it, too");
    Some(section.get("deny")?.error(rule, "take it out of one of them"))
}
