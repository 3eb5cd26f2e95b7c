//! The whole file: each section by its own rules, then what holds between sections.

use crate::config::admin::ADMIN;
use crate::config::error::ConfigError;
use crate::config::file::{Part, Section, Value};
use crate::config::gateway::GATEWAY;
use crate::config::key::{Key, SectionKeys};
use crate::config::keys::keys_by_hand;
use crate::config::listener::LISTENER;
use crate::config::log::{ACCESS_LOG, LOG};
use crate::config::per_source::PER_SOURCE;
use crate::config::resolver::RESOLVER;
use crate::config::ring::RING;
use crate::config::server_check::CHECK;
use crate::config::server_set::SERVER;
use crate::config::sniffing::ROUTE;
use crate::config::status::STATUS;
use crate::config::tls::{CERTIFICATE, LISTENER_TLS, UPSTREAM_TLS};
use crate::config::upstream::{SERVERS_FROM, UPSTREAM};
use crate::config::{
    AccessLog, Admin, Config, Log, Resolver, Status, gateway, listener, loops, ring, status,
    upstream,
};

/// Every kind of section with its keys, in the order of the manual; the first is the file's top.
pub const SECTIONS: [&SectionKeys; 18] = [
    &ROOT,
    &GATEWAY,
    &RING,
    &LISTENER,
    &ROUTE,
    &PER_SOURCE,
    &LISTENER_TLS,
    &CERTIFICATE,
    &UPSTREAM,
    &SERVER,
    &SERVERS_FROM,
    &CHECK,
    &UPSTREAM_TLS,
    &RESOLVER,
    &ADMIN,
    &STATUS,
    &LOG,
    &ACCESS_LOG,
];

pub(super) const ROOT: SectionKeys =
    SectionKeys { section: "", about: "", keys: &[OF_ROOT], later: &[] };

const OF_ROOT: &[Key] = keys_by_hand! {
    /// Files that are read as parts of this one: a path is relative to the file that has it, and
    /// its last part may have * and ?, which takes files in the order of their names and may take
    /// none. A section stands in one file; a [listener.NAME] or an [upstream.NAME] may stand in
    /// any. An included file includes none. The key stands above the first section.
    ///
    /// Write it when different people or programs look after different listeners.
    "include" as ["conf.d/*.toml"], Live, "a list of files";

    /// What concerns the process as a whole.
    "gateway" = {}, Live, "a section";
    /// The sizes of each worker's ring.
    "ring" = {}, Restart, "a section";
    /// Where clients connect.
    "listener" = {}, Live, "sections with names";
    /// Who answers.
    "upstream" = {}, Live, "sections with names";
    /// How names of servers are asked for.
    "resolver" = {}, Live, "a section";
    /// Where the gateway is steered.
    "admin" = {}, Live, "a section";
    /// Where it is seen.
    "status" = {}, Live, "a section";
    /// What the log says, and how.
    "log" = {}, Live, "a section";
    /// Where a line goes for every connection.
    "access_log" = {}, Live, "a section";
};

/// `include` in a file that is included, or on the command line.
fn include_elsewhere(value: &Value<'_>) -> Option<ConfigError> {
    match value.part() {
        _ if value.name != "include" => None,
        Part::Whole | Part::First => None,
        Part::Included => Some(value.error(
            "stands in a file that is included, and such a file includes none",
            "name those files in the first one",
        )),
        Part::Setting => Some(value.error("is read from the file alone", "write it there")),
    }
}

/// The config that the sections make; worthless when it adds a problem.
pub(super) fn config(root: &Section<'_>, problems: &mut Vec<ConfigError>) -> Config {
    root.check_keys(problems);
    problems.extend(root.values().iter().filter_map(include_elsewhere));
    let gateway = gateway::gateway(&root.section(&GATEWAY, problems), problems);
    let ring = ring::ring(&root.section(&RING, problems), problems);
    let resolver = Resolver::read(&root.section(&RESOLVER, problems), problems);
    let admin = Admin::read(&root.section(&ADMIN, problems), problems);
    let status_section = root.section(&STATUS, problems);
    let status = Status::read(&status_section, problems);
    let log = Log::read(&root.section(&LOG, problems), problems);
    let access_log = AccessLog::read(&root.section(&ACCESS_LOG, problems), problems);
    let (upstreams, leads) = upstream::upstreams(root, problems);
    let (listeners, leading, mut taken) = listener::listeners(root, &upstreams, problems);
    loops::report(&listeners, &leading, &upstreams, &leads, problems);
    status::own_address(&status_section, &status, &mut taken, problems);
    Config {
        gateway,
        ring,
        listeners,
        upstreams,
        resolver,
        admin,
        status,
        log,
        access_log,
        file_sha256: None,
        files: Vec::new(),
    }
}
