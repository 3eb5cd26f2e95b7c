//! Upstreams whose clients find no source port, or no local address: said once, with the remedy.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::view::View;
use crate::base::{Millis, ServerId, UpstreamId};
use crate::config;
use crate::control::events::Events;
use crate::doctor::{count, lacking_sources};
use crate::host::usage::SourcePorts;
use crate::metrics::ConnectFailure;
use crate::metrics::reading::Severity;
use crate::summary::span;
use crate::topology::WithLine;

/// Where the kernel's files stand.
const ROOT: &str = "/";
/// A shortage is over when nobody has waited for so long, so that one that comes and goes is one.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// What is known of each upstream.
#[derive(Debug, Default)]
pub(in crate::control) struct Shortages(BTreeMap<UpstreamId, Known>);

#[derive(Debug, Default)]
struct Known {
    /// Connects that found no port, and opens that found no address, at the last look.
    no_port: u64,
    no_address: u64,
    /// Clients wait for a port.
    short: Option<Short>,
    /// A source address is not this host's, since then.
    foreign: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Short {
    since: Millis,
    /// When somebody waited last, and the most who did at one time.
    seen: Millis,
    most: u32,
}

impl Shortages {
    /// Looks at all upstreams once.
    pub(in crate::control) fn look(&mut self, view: &View, events: &Events, now: Millis) {
        self.0.retain(|id, _| view.topology.upstreams.get(*id).is_some());
        for WithLine { id, upstream, servers, line } in
            view.topology.with_lines(&view.config.upstreams)
        {
            let known = self.0.entry(id).or_default();
            let no_port = failures(view, servers, ConnectFailure::NoPort);
            let no_address = failures(view, servers, ConnectFailure::NoAddress);
            let is_more = no_port > known.no_port;
            let is_foreign = no_address > known.no_address;
            (known.no_port, known.no_address) = (no_port, no_address);
            let waiting = upstream.fleet.room().waiting();
            let open = servers.iter().map(|id| view.topology.servers[*id].standing.open());
            let ours = open.max().unwrap_or(0);
            let subject = format!("upstream/{}", line.name);
            let said = [
                known.look_at_ports(line, ours, waiting, is_more, now),
                known.look_at_addresses(line, is_foreign, now),
            ];
            for (severity, words) in said.into_iter().flatten() {
                events.tell(severity, &subject, &words);
            }
        }
    }
}

/// How often connects to these servers have failed so.
fn failures(view: &View, servers: &[ServerId], how: ConnectFailure) -> u64 {
    let of = |id: &ServerId| {
        let counters = view.counters.iter().filter_map(|one| one.servers.get(*id));
        counters.map(|one| one.failed[how as usize].get()).sum::<u64>()
    };
    servers.iter().map(of).sum()
}

impl Known {
    fn look_at_ports(
        &mut self,
        line: &config::Upstream,
        ours: u32,
        waiting: u32,
        is_more: bool,
        now: Millis,
    ) -> Option<(Severity, String)> {
        match &mut self.short {
            Some(short) if waiting > 0 => {
                short.seen = now;
                short.most = short.most.max(waiting);
                None
            }
            Some(Short { since, seen, most }) if now.since(*seen) >= OVER_AFTER => {
                let (lasted, most) = (span(seen.since(*since)), count((*most).into(), "client"));
                self.short = None;
                let words = "nobody waits for a source port any more";
                Some((Severity::Info, format!("{words}: it was for {lasted}, {most} at most")))
            }
            None if waiting > 0 && is_more => {
                self.short = Some(Short { since: now, seen: now, most: waiting });
                Some((Severity::Warning, short_words(waiting, line.sources.len().max(1), ours)))
            }
            _ => None,
        }
    }

    fn look_at_addresses(
        &mut self,
        line: &config::Upstream,
        is_foreign: bool,
        now: Millis,
    ) -> Option<(Severity, String)> {
        match self.foreign {
            None if is_foreign => {
                self.foreign = Some(now);
                let lacking = lacking_sources(line);
                let addresses: Vec<String> = lacking.iter().map(|ip| ip.to_string()).collect();
                let words = format!(
                    "source addresses are not this host's any more: {}; clients for whom no other \
                     is left are reset (no-server). Add them to an interface again, or take them \
                     out of source_addresses and reload",
                    addresses.join(" ")
                );
                Some((Severity::Error, words))
            }
            Some(since) if !is_foreign && lacking_sources(line).is_empty() => {
                self.foreign = None;
                let lasted = span(now.since(since));
                let words = format!("every source address is this host's again, after {lasted}");
                Some((Severity::Info, words))
            }
            _ => None,
        }
    }
}

/// Who has the ports towards the server with the most connections, and what to do.
fn short_words(waiting: u32, sources: usize, ours: u32) -> String {
    let SourcePorts { range, time_wait } = SourcePorts::read(Path::new(ROOT));
    let ports = range.map_or(0, |(first, last)| u64::from(last - first) + 1) * sources as u64;
    let (ours, time_wait) = (u64::from(ours), time_wait.unwrap_or(0));
    let more = "add a source address or a server port, or widen net.ipv4.ip_local_port_range";
    let (holder, remedy) = if 4 * ours >= 3 * ports {
        ("connections of this gateway have them", more.to_owned())
    } else if 2 * (ours + time_wait) >= ports {
        ("sockets in TIME_WAIT have them", format!("set net.ipv4.tcp_tw_reuse=1, {more}"))
    } else {
        ("other programs have them", format!("find them by `ss -tan`, {more}"))
    };
    let waiting = count(waiting.into(), "client");
    format!(
        "every source port towards its servers is taken, of {ports}: {holder} ({ours} connections \
         here, {time_wait} in TIME_WAIT). {waiting} wait, at most queue_timeout, and others in the \
         backlog. To have more: {remedy}"
    )
}
