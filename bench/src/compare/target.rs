//! What is measured: a proxy that was found and its config, or nothing between the two ends.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::certificate::Files;
use super::setting::Setting;
use super::work::Work;
use crate::result::DIRECT;
use crate::rivals::{
    BOUNDS, Found, Programs, RIVALS, Rival, Room, SECURED, UPGRADING, Words, render, replace,
};

/// The limit that configs are given where the host allows it: many more than a work needs, as
/// whoever runs a gateway would write it.
const CONNECTIONS: u64 = 100_000;

#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// `None`: the generator goes to the backend.
    pub(crate) proxy: Option<Proxy>,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) found: Found,
    /// The name of its config, and its text before words are replaced.
    pub(crate) config: String,
    pub(crate) template: String,
    /// What a sweep sets in it.
    pub(crate) setting: Option<Setting>,
}

/// A target that is not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) name: String,
    pub(crate) because: String,
    /// The command that would change it.
    pub(crate) install: String,
}

impl Skipped {
    pub(crate) fn json(&self) -> Value {
        json!({"name": self.name, "because": self.because, "install": self.install})
    }
}

/// Where a proxy listens and whom it knows.
pub(crate) struct Place<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) servers: &'a [SocketAddr],
    pub(crate) folder: &'a Path,
    /// Where the certificate lies.
    pub(crate) certificate: &'a Files,
    pub(crate) room: Room,
    /// How long an old process may stay when a new one has taken its place.
    pub(crate) grace_seconds: u64,
}

/// What is measured when nobody says what.
pub(crate) fn default_names() -> Vec<&'static str> {
    RIVALS.iter().map(|rival| rival.name).chain([DIRECT]).collect()
}

/// Every name that may be asked for.
fn names() -> Vec<&'static str> {
    let more = SECURED.into_iter().chain(BOUNDS).map(|rival| rival.name);
    default_names().into_iter().chain(more).collect()
}

/// The targets of these names that are there, and those that are not. The error is a name that
/// nobody has, or a program that is not where it was said to be.
pub(crate) fn choose(
    wanted: &[String],
    programs: &Programs,
) -> Result<(Vec<Target>, Vec<Skipped>), String> {
    let known: Vec<&'static Rival> = RIVALS.into_iter().chain(SECURED).chain(BOUNDS).collect();
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    for name in wanted {
        let rival = known.iter().find(|one| one.name == name).copied();
        match rival {
            _ if targets.iter().any(|target: &Target| target.name == name) => {}
            None if name == DIRECT => {
                targets.push(Target { name: DIRECT, proxy: None });
            }
            None => return Err(format!("there is no target {name:?}, but {}", names().join(", "))),
            Some(rival) => match found(rival, programs)? {
                Ok(target) => targets.push(target),
                Err(one) => skipped.push(one),
            },
        }
    }
    Ok((targets, skipped))
}

/// The same of those that can be upgraded, by name; all where none is named.
pub(crate) fn choose_upgrading(
    wanted: &[String],
    programs: &Programs,
) -> Result<(Vec<Target>, Vec<Skipped>), String> {
    let known = || UPGRADING.map(|rival| rival.name).join(", ");
    if let Some(name) = wanted.iter().find(|name| UPGRADING.iter().all(|one| one.name != **name)) {
        return Err(format!("there is no target {name:?} that is upgraded, but {}", known()));
    }
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    let is_wanted = |one: &&Rival| wanted.is_empty() || wanted.iter().any(|name| one.name == name);
    for rival in UPGRADING.into_iter().filter(is_wanted) {
        match found(rival, programs)? {
            Ok(target) => targets.push(target),
            Err(one) => skipped.push(one),
        }
    }
    Ok((targets, skipped))
}

/// A rival as a target, or why it is none; the error is a program that is not where it was said to
/// be.
fn found(rival: &'static Rival, programs: &Programs) -> Result<Result<Target, Skipped>, String> {
    match rival.find(programs) {
        Ok(found) => Ok(Ok(Target::of(found))),
        Err(because) if programs.given(rival.program).is_some() => {
            Err(format!("--{}: {because}", rival.program))
        }
        Err(because) => {
            let (name, install) = (rival.name.to_owned(), rival.install.to_owned());
            Ok(Err(Skipped { name, because, install }))
        }
    }
}

impl Target {
    pub(crate) fn of(found: Found) -> Target {
        let (config, template) = (found.rival.config.to_owned(), found.rival.template.to_owned());
        let name = found.rival.name;
        Target { name, proxy: Some(Proxy { found, config, template, setting: None }) }
    }

    pub(crate) fn setting(&self) -> Option<&Setting> {
        self.proxy.as_ref()?.setting.as_ref()
    }

    /// Whether its clients speak TLS.
    pub(crate) fn is_secured(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.found.rival.tls)
    }

    pub(crate) fn number(&self) -> Option<&str> {
        self.proxy.as_ref().map(|proxy| proxy.found.number.as_str())
    }

    /// How it is called in tables.
    pub(crate) fn row(&self) -> String {
        match (self.setting(), self.number()) {
            (Some(setting), _) => format!("{} = {}", setting.key, setting.value),
            (None, Some(number)) => format!("{} {number}", self.name),
            (None, None) => self.name.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.proxy.as_ref().map(|proxy| proxy.found.version.as_str()),
            "config": self.proxy.as_ref().map(|proxy| proxy.config.as_str()),
        })
    }

    /// Whether this work is anything for it: without a proxy, nothing can be said of its memory.
    pub(crate) fn suits(&self, work: &Work) -> bool {
        match &self.proxy {
            Some(proxy) => proxy.found.rival.only.is_none_or(|only| only.contains(&work.family)),
            None => work.figures.iter().any(|figure| !figure.pointer.contains("target_")),
        }
    }

    /// How many connections it can hold.
    pub(crate) fn holds(&self, room: Room) -> u64 {
        self.proxy.as_ref().map_or(u64::MAX, |proxy| (proxy.found.rival.holds)(room))
    }
}

impl Proxy {
    pub(crate) fn config_path(&self, folder: &Path) -> PathBuf {
        folder.join(self.found.rival.config)
    }

    /// The program that checking the config makes of it, where that is what is started.
    pub(crate) fn compiled_path(&self, folder: &Path) -> Option<PathBuf> {
        self.found.rival.compiled.map(|_| folder.join(self.found.rival.name))
    }

    /// The config's text.
    pub(crate) fn config(&self, connections: u64, place: &Place<'_>) -> Result<String, String> {
        let words = self.words(connections, place);
        let text = render(&self.template, &words, place.servers);
        let text = text.map_err(|error| format!("{}: {error}", self.config))?;
        self.setting.as_ref().map_or(Ok(text.clone()), |setting| setting.written_into(&text))
    }

    /// The arguments that start it, or that have it check its config.
    pub(crate) fn arguments(
        &self,
        of: &[&str],
        connections: u64,
        place: &Place<'_>,
    ) -> Result<Vec<String>, String> {
        let words = self.words(connections, place);
        of.iter().map(|argument| replace(argument, &words)).collect()
    }

    fn words(&self, connections: u64, place: &Place<'_>) -> Words {
        let room = place.room;
        let wanted = CONNECTIONS.max(connections + connections / 5);
        let max_connections = wanted.min((self.found.rival.holds)(room));
        let descriptors = room.descriptors.min(max_connections.saturating_mul(2) + 500);
        let path = |path: &Path| path.display().to_string();
        let mut words = Words::from([
            ("listen", place.listen.to_string()),
            ("listen_address", place.listen.ip().to_string()),
            ("listen_port", place.listen.port().to_string()),
            ("workers", room.workers.to_string()),
            ("grace_seconds", place.grace_seconds.to_string()),
            ("max_connections", max_connections.to_string()),
            ("descriptors", descriptors.to_string()),
            ("pin_threads", pin_threads(room.workers)),
            ("run_folder", path(place.folder)),
            ("certificate", path(&place.certificate.certificate)),
            ("key", path(&place.certificate.key)),
            ("pair", path(&place.certificate.pair)),
            ("config", path(&self.config_path(place.folder))),
        ]);
        if let Some(compiled) = self.compiled_path(place.folder) {
            words.insert("compiled", path(&compiled));
        }
        if let (Some(first), Some(last)) = (place.servers.first(), place.servers.last()) {
            words.insert("server_ports", format!("{}-{}", first.port(), last.port()));
        }
        words.extend(self.found.build.iter().cloned());
        words
    }
}

/// HAProxy's line that gives each thread a core of its own, if there are as many.
fn pin_threads(workers: u64) -> String {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores = cores(list.unwrap_or_default());
    if (cores.len() as u64) < workers {
        return String::new();
    }
    let cores = cores[..workers as usize].iter().map(u32::to_string);
    format!("cpu-map auto:1/1-{workers} {}", cores.collect::<Vec<_>>().join(" "))
}

/// Reads `0-2,5`.
fn cores(list: &str) -> Vec<u32> {
    let parts = list.trim().split(',');
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    };
    parts.filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_if_found(rival: &'static Rival) -> Proxy {
        let found = Found {
            rival,
            program: rival.program.into(),
            version: "1".into(),
            number: "1".into(),
            build: vec![("load_stream", String::new())],
        };
        Target::of(found).proxy.expect("a proxy")
    }

    /// Every rival, as if its program were there.
    fn found() -> impl Iterator<Item = Proxy> {
        RIVALS.into_iter().chain(SECURED).chain(UPGRADING).map(as_if_found)
    }

    fn place<'a>(
        listen: SocketAddr,
        servers: &'a [SocketAddr],
        certificate: &'a Files,
        room: Room,
    ) -> Place<'a> {
        Place { listen, servers, folder: Path::new("/run/x"), certificate, room, grace_seconds: 10 }
    }

    #[test]
    fn every_config_is_rendered_whole() {
        let servers: Vec<SocketAddr> =
            (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 9], port))).collect();
        let room = Room { descriptors: 20_000, workers: 2 };
        let listen = SocketAddr::from(([127, 0, 0, 8], 77));
        let certificate = Files::within(Path::new("/run/y"));
        let place = place(listen, &servers, &certificate, room);
        for proxy in found() {
            let name = proxy.found.rival.name;
            let config = proxy.config(1_000, &place).expect("every word stands for something");
            assert!(!config.contains("@server"), "{name}: {config}");
            let count = |text: &str| config.matches(text).count();
            assert_eq!(count("127.0.0.9"), 3, "{name}: {config}");
            assert_eq!((count("127.0.0.8"), count("77") > 0), (1, true), "{name}: {config}");
            assert_eq!(count("/run/y") > 0, proxy.found.rival.tls, "{name}: {config}");
            for arguments in [proxy.found.rival.start, proxy.found.rival.check] {
                let arguments = proxy.arguments(arguments, 1_000, &place).expect("known words");
                let path = format!("/run/x/{}", proxy.found.rival.config);
                assert!(arguments.contains(&path), "{name}: {arguments:?}");
            }
        }
    }

    #[test]
    fn a_limit_is_what_the_descriptors_allow() {
        let servers = [SocketAddr::from(([127, 0, 0, 1], 1))];
        let listen = SocketAddr::from(([127, 0, 0, 1], 2));
        let room = Room { descriptors: 20_000, workers: 2 };
        let certificate = Files::within(Path::new("/run/y"));
        let place = place(listen, &servers, &certificate, room);
        let limits: Vec<String> =
            found().map(|proxy| proxy.words(10, &place)["max_connections"].clone()).collect();
        assert_eq!(
            limits,
            [
                "100000", "100000", "9960", "9875", "9363", "15920", "9875", "100000", "9875",
                "15920", "9875", "100000", "9875", "15920", "9875"
            ]
        );
    }

    #[test]
    fn a_bound_is_measured_only_when_it_is_named() {
        let bounds = BOUNDS.map(|bound| bound.name);
        assert!(!default_names().iter().any(|name| bounds.contains(name)));
        let servers = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let room = Room { descriptors: 20_000, workers: 2 };
        let listen = SocketAddr::from(([127, 0, 0, 1], 77));
        let certificate = Files::within(Path::new("/run/y"));
        let place = place(listen, &servers, &certificate, room);
        for rival in BOUNDS {
            let proxy = as_if_found(rival);
            assert_eq!(proxy.config(10, &place).expect("no words").trim(), rival.template.trim());
            let arguments = proxy.arguments(rival.start, 10, &place).expect("known words");
            assert_eq!(arguments[..3], ["77", "1-3", "2"]);
            let check = proxy.arguments(rival.check, 10, &place).expect("known words");
            let compiled = proxy.compiled_path(place.folder).expect("a program");
            assert!(check.contains(&compiled.display().to_string()), "{check:?}");
            assert_eq!((rival.holds)(room), 15_200);
        }
    }

    #[test]
    fn cores_are_read_and_used_where_there_are_enough() {
        assert_eq!(cores("0-2,5\n"), [0, 1, 2, 5]);
        assert!(pin_threads(1).starts_with("cpu-map auto:1/1-1 "));
        assert_eq!(pin_threads(100_000), "");
    }

    #[test]
    fn an_unknown_target_and_a_wrong_path_are_errors() {
        let programs = Programs { portcullis: Some("/nowhere".into()), ..Programs::default() };
        let chosen = |name: &str| choose(&["direct".into(), name.into()], &programs);
        let (targets, skipped) = chosen("direct").expect("a known name");
        assert_eq!(targets.iter().map(|one| one.name).collect::<Vec<_>>(), [DIRECT]);
        assert_eq!(skipped, []);
        let error = chosen("squid").err().expect("nobody's name");
        assert!(error.contains("\"squid\"") && error.contains("nginx"), "{error}");
        assert!(error.contains("floor-multi"), "{error}");
        let error = chosen("portcullis").err().expect("no program there");
        assert_eq!(error, "--portcullis: /nowhere is no file");
    }
}
