//! What differs between the file and what runs, as the answer shows it.

use humantime_serde::re::humantime::format_duration;

use crate::api::reload::{Change, Takes};
use crate::base::ServerId;
use crate::config::{AtLimit, Class, Config, Difference, OnRemoval, Upstream};
use crate::control::state::{ControlState, View};
use crate::metrics::Reading;
use crate::query::server_title;
use crate::tls::Loaded;
use crate::topology::Topology;
use crate::upstream::AdminState;

/// A difference, and how many connections it ends.
pub(super) fn change(
    reading: &Reading,
    view: &View,
    after: &Config,
    difference: &Difference,
) -> Change {
    let takes = match difference.class {
        Class::Live => Takes::Live,
        Class::NewConnections => Takes::NewConnections,
        Class::Restart => Takes::Restart,
    };
    let is_gone = difference.key.is_none() && difference.after.is_none();
    // Another address is another server.
    let is_moved = difference.key == Some("address");
    let leaving = if is_gone || is_moved { open_at(reading, view, &difference.section) } else { 0 };
    let (ends, note) = match leaving {
        0 => (0, note(reading, view, after, difference)),
        leaving => match how_they_leave(view, after, difference) {
            Ok(how) => (leaving, Some(how)),
            Err(because) => (0, Some(format!("connections stay to their own end: {because}"))),
        },
    };
    Change {
        after: difference.after.clone(),
        before: difference.before.clone(),
        ends,
        key: difference.path(),
        note,
        takes,
    }
}

/// Files of TLS that have something else in them, where no key of their tables differs.
pub(super) fn renewed(
    before: &Topology,
    loaded: &Loaded,
    differences: &[Difference],
) -> Vec<Change> {
    let change = |table: String, before: Option<String>, after: Option<String>| {
        let takes = Takes::NewConnections;
        let note = (before == after).then(|| "a file that it names has changed".to_owned());
        (!differences.iter().any(|one| one.path() == table)).then_some(Change {
            after,
            before,
            ends: 0,
            key: table,
            note,
            takes,
        })
    };
    let listeners = before.listeners.values().filter_map(|listener| {
        let (old, new) = (listener.tls.as_ref()?, loaded.listeners.get(&listener.name)?);
        let table = format!("listener.{}.tls", listener.name);
        (old != new).then(|| change(table, Some(old.words()), Some(new.words())))?
    });
    let upstreams = before.upstreams.values().filter_map(|upstream| {
        let (old, new) = (upstream.tls.as_ref()?, loaded.upstreams.get(&upstream.name)?);
        (old != new).then(|| change(format!("upstream.{}.tls", upstream.name), None, None))?
    });
    listeners.chain(upstreams).collect()
}

/// How connections of a listener or a server that goes are ended; or why they are not.
fn how_they_leave(
    view: &View,
    after: &Config,
    difference: &Difference,
) -> Result<String, &'static str> {
    if after.gateway.on_removal == OnRemoval::Keep {
        return Err("on_removal is \"keep\"");
    }
    let within = format!("over {}", format_duration(after.gateway.drain_timeout));
    let Some((name, _)) = of_upstream(&difference.section) else { return Ok(within) };
    match after.upstream(name).or_else(|| view.config.upstream(name)).map(|it| it.removed_timeout) {
        Some(None) => Err("removed_timeout is \"off\""),
        Some(Some(time)) if !time.is_zero() => {
            Ok(format!("{within}, after {} of peace", format_duration(time)))
        }
        _ => Ok(within),
    }
}

/// The upstream of a section, and the server, if it is a server's.
fn of_upstream(section: &str) -> Option<(&str, Option<&str>)> {
    let path = section.strip_prefix("upstream.")?;
    let server = path.split_once(".servers.");
    Some(server.map_or((path, None), |(upstream, server)| (upstream, Some(server))))
}

/// Connections of a listener, an upstream or a line of its servers.
fn open_at(reading: &Reading, view: &View, section: &str) -> u64 {
    if let Some(name) = section.strip_prefix("listener.") {
        let listener = reading.listeners.iter().find(|one| one.name == name);
        return listener.map_or(0, |one| one.open);
    }
    let Some((name, line)) = of_upstream(section) else { return 0 };
    let names = view.names.upstreams.iter().find(|one| one.name == name);
    let set = view.config.upstream(name).and_then(Upstream::set);
    // A host is a line, and its addresses are servers.
    let host = set.and_then(|set| set.names.iter().find(|one| Some(&*one.name) == line));
    let servers = names.map_or(&[][..], |one| &one.servers).iter().map(|(id, name)| {
        let server = &view.topology.servers[*id];
        let is_hosts = host.is_some_and(|it| it.server(server.address.ip()).name == *name);
        let is_meant = line.is_none_or(|line| line == name) || is_hosts;
        if is_meant { u64::from(server.standing.open()) } else { 0 }
    });
    servers.sum()
}

/// The server whose section this is, or whose key's section.
fn server_at(view: &View, section: &str) -> Option<ServerId> {
    let (upstream, server) = of_upstream(section)?;
    view.names.server(&server_title(upstream, Some(server?))).ok()
}

/// What else there is to know of a difference.
fn note(reading: &Reading, view: &View, after: &Config, difference: &Difference) -> Option<String> {
    let key = difference.key?;
    if key == "weight" {
        let server = &view.topology.servers[server_at(view, &difference.section)?];
        let (now, file) = (server.standing.weight(), server.terms.weight);
        return (now != file).then(|| format!("overrides weight {now}, which was set by hand"));
    }
    if key == "at_limit" && difference.after.as_deref() == Some("\"reset\"") {
        let slots: u64 = reading.workers.iter().map(|worker| worker.slots).sum();
        let resets = view.config.listeners.iter().any(|one| one.at_limit == AtLimit::Reset);
        let is_by_files = reading.io.by == "epoll" && reading.budget.bound_by == "RLIMIT_NOFILE";
        let lacks = if slots <= reading.budget.limit {
            "slots"
        } else if is_by_files && !resets {
            // A start that knows of the key sets some aside for clients that are reset.
            "descriptors"
        } else {
            return None;
        };
        return Some(format!(
            "at gateway.max_connections clients wait all the same until a start: no {lacks} are \
             left to accept them into"
        ));
    }
    let name = difference.section.strip_prefix("listener.")?;
    let (before, after_it) = (view.config.listener(name)?, after.listener(name)?);
    let is_shorter = after_it.timeouts.is_shorter_at(key, &before.timeouts);
    let within = format_duration(after.gateway.drain_timeout);
    is_shorter.then(|| format!("over {within}, those that it makes overdue"))
}

/// The filter of those whom a shorter timeout makes overdue, where a filter can say it.
pub(super) fn overdue_filter(
    view: &View,
    after: &Config,
    difference: &Difference,
) -> Option<String> {
    let name = difference.section.strip_prefix("listener.")?;
    let (before, after) = (&view.config.listener(name)?.timeouts, &after.listener(name)?.timeouts);
    let key = difference.key?;
    let (word, time) = match key {
        "idle_timeout" => ("idle", after.idle),
        "max_lifetime" => ("age", after.max_lifetime),
        _ => return None,
    };
    let time = time.filter(|_| after.is_shorter_at(key, before))?;
    Some(format!("listener={name} {word}>{}ms", time.as_millis()))
}

/// What an operator has made different from the file.
pub(super) fn by_hand(state: &ControlState, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in view.paused() {
        lines.push(format!("listener.{} is paused", view.topology.listeners[listener].name));
    }
    let sets = state.sources().present.sets();
    let listed = sets.listed(&view.config);
    for (file, now) in view.config.upstreams.iter().zip(&listed.upstreams) {
        if sets.is_by_hand(&file.name) {
            let [file_lines, now] =
                [file, now].map(|one| one.set().map_or(0, |set| set.lines().count()));
            lines.push(format!("upstream.{}.servers lists {now} (file: {file_lines})", file.name));
        }
    }
    for id in overridden(view) {
        let server = &view.topology.servers[id];
        let upstream = &view.topology.upstreams[server.upstream].name;
        let title = format!("server {upstream}/{}", server.name);
        let (now, listed) = (server.standing.weight(), server.terms.weight);
        if now != listed {
            lines.push(format!("{title} has weight {now} (list: {listed})"));
        }
        match server.standing.admin() {
            AdminState::Ready => {}
            AdminState::Drain => lines.push(format!("{title} drains")),
            AdminState::Maintenance => lines.push(format!("{title} is in maintenance")),
        }
    }
    lines
}

/// Servers of which an operator has said something else than the file.
pub(super) fn overridden(view: &View) -> Vec<ServerId> {
    let is_other = |id: &ServerId| {
        let server = &view.topology.servers[*id];
        server.standing.weight() != server.terms.weight
            || server.standing.admin() != AdminState::Ready
    };
    view.topology.servers.ids().filter(is_other).collect()
}
