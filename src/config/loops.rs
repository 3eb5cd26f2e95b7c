//! Listeners whose servers lead back to them, over however many other listeners.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::error::ConfigError;
use crate::config::lead::Lead;
use crate::config::{Listener, Upstream, address};

/// From a listener to the next one: which, and by which lead.
type Step = (usize, usize);

const REMEDY: &str = "write the address of a real server, or bind another port";

/// Reports one loop for each server that closes one. `leading` says which listeners have an
/// upstream at all.
pub(super) fn report(
    listeners: &[Listener],
    leading: &[bool],
    upstreams: &[Upstream],
    leads: &[Lead<'_>],
    problems: &mut Vec<ConfigError>,
) {
    let steps = steps(listeners, upstreams.len(), leads);
    let of_listener = |(listener, leads): (&Listener, &bool)| {
        let named = listener.sniffing.routes.iter().map(|route| route.upstream);
        let own = leads.then_some(listener.upstream);
        own.into_iter().chain(named).flat_map(|upstream| steps[upstream].clone()).collect()
    };
    let of: Vec<Vec<Step>> = listeners.iter().zip(leading).map(of_listener).collect();
    let mut done = vec![false; listeners.len()];
    let mut depth: Vec<Option<usize>> = vec![None; listeners.len()];
    for start in 0..listeners.len() {
        // A listener on the way from `start`, and how many of its steps were taken.
        let mut way: Vec<(usize, usize)> = Vec::new();
        if !done[start] {
            (depth[start], done[start]) = (Some(0), true);
            way.push((start, 0));
        }
        while let Some((at, taken)) = way.last_mut() {
            let Some(&(next, lead)) = of[*at].get(*taken) else {
                depth[*at] = None;
                way.pop();
                continue;
            };
            *taken += 1;
            if let Some(depth) = depth[next] {
                let step = |(at, taken): &(usize, usize)| {
                    let (_, lead) = of[*at][*taken - 1];
                    (&*listeners[*at].name, &*upstreams[leads[lead].upstream].name)
                };
                problems.push(closed(&leads[lead], way[depth..].iter().map(step)));
            } else if !done[next] {
                (depth[next], done[next]) = (Some(way.len()), true);
                way.push((next, 0));
            }
        }
    }
}

/// For each upstream the listeners that its servers reach, each once.
fn steps(listeners: &[Listener], upstreams: usize, leads: &[Lead<'_>]) -> Vec<Vec<Step>> {
    let mut by_port: HashMap<u16, Vec<(SocketAddr, usize)>> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        for bound in listener.bind.iter().filter(|bound| bound.port() != 0) {
            by_port.entry(bound.port()).or_default().push((*bound, index));
        }
    }
    let mut steps: Vec<Vec<Step>> = vec![Vec::new(); upstreams];
    for (index, lead) in leads.iter().enumerate() {
        let steps = &mut steps[lead.upstream];
        let bound = by_port.get(&lead.address.port()).into_iter().flatten();
        let reached = bound.filter(|(bound, _)| address::reaches(lead.address, *bound));
        // A wildcard's clients are those that no narrower address has.
        let is_narrow = |(bound, _): &&(SocketAddr, usize)| !bound.ip().is_unspecified();
        let has_narrow = reached.clone().any(|one| is_narrow(&one));
        for (_, listener) in reached.filter(|one| !has_narrow || is_narrow(one)) {
            if !steps.iter().any(|(known, _)| known == listener) {
                steps.push((*listener, index));
            }
        }
    }
    steps
}

/// The error about the server that leads back to the first of these listeners, over the upstreams
/// beside them.
fn closed<'l>(lead: &Lead<'_>, way: impl Iterator<Item = (&'l str, &'l str)>) -> ConfigError {
    let names: Vec<(&str, &str)> = way.collect();
    let first = names[0].0;
    if names.len() == 1 {
        let rule = format!("is listener.{first} itself, which leads to this upstream");
        return lead.value.error(rule, REMEDY);
    }
    let places = names
        .iter()
        .map(|(listener, upstream)| format!("listener.{listener} to upstream.{upstream} to "));
    let rule = format!("closes a loop: {}listener.{first}", places.collect::<String>());
    lead.value.error(rule, REMEDY)
}
