//! The proxies that are measured: what each is called, where it comes from, how it is started.
//!
//! One more is one file here, its config in `bench/rivals/`, and its line in [`RIVALS`].

mod envoy;
mod floor;
mod haproxy;
mod nginx;
mod portcullis;
mod template;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

pub(crate) use template::{Words, render, replace};

/// All of them, in the order of the tables.
pub(crate) const RIVALS: [&Rival; 7] = [
    &portcullis::DEFAULT,
    &portcullis::BATCHING,
    &portcullis::EPOLL,
    &haproxy::COPYING,
    &haproxy::SPLICING,
    &nginx::NGINX,
    &envoy::ENVOY,
];

/// What is measured only when it is asked for by name: it bounds the rivals, and is none.
pub(crate) const BOUNDS: [&Rival; 2] = [&floor::SINGLE, &floor::MULTI];

/// The same with the clients' TLS ending in them, measured only when asked for by name.
pub(crate) const SECURED: [&Rival; 4] =
    [&portcullis::SECURED, &haproxy::SECURED, &nginx::SECURED, &envoy::SECURED];

/// Those that are upgraded while they serve, each in its own way.
pub(crate) const UPGRADING: [&Rival; 4] =
    [&portcullis::UPGRADING, &haproxy::UPGRADING, &nginx::UPGRADING, &envoy::UPGRADING];

/// What those are measured at: an upgrade, by `compare upgrade`.
const UPGRADE_ONLY: Option<&[&str]> = Some(&["upgrade"]);

/// What they are measured at: how a connection ends is the business of the plain ones.
const SECURED_ONLY: Option<&[&str]> = Some(&[
    "pingpong",
    "rate",
    "churn",
    "handshakes",
    "bulk-up",
    "bulk-down",
    "storm",
    "idle",
    "kept",
]);

/// Where Debian keeps servers, and an ordinary user's PATH does not look.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// One proxy with one config.
pub(crate) struct Rival {
    /// What `--targets` and the results call it.
    pub(crate) name: &'static str,
    /// Its program's name in PATH.
    pub(crate) program: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
    /// The name of its config in `bench/rivals/`, and the text.
    pub(crate) config: &'static str,
    pub(crate) template: &'static str,
    /// Arguments that make it print its version.
    pub(crate) version: &'static [&'static str],
    /// Arguments that start it in the foreground; the words in @ are those of the template.
    pub(crate) start: &'static [&'static str],
    /// Arguments that have it check its config.
    pub(crate) check: &'static [&'static str],
    /// Its config is a source, checking it writes the program @compiled@ that is started instead,
    /// and this is what tables say beside the compiler's version.
    pub(crate) compiled: Option<&'static str>,
    /// A version that was seen to exist when this was written, where packages bring an older one.
    pub(crate) newest_seen: Option<&'static str>,
    /// Words for the template that depend on how the program was built, or what the build lacks.
    pub(crate) build: fn(&Path) -> Result<Build, String>,
    /// How many connections it can hold in this room.
    pub(crate) holds: fn(Room) -> u64,
    /// The families of works that its config is for, when it is not for all of them.
    pub(crate) only: Option<&'static [&'static str]>,
    /// Its clients speak TLS.
    pub(crate) tls: bool,
    /// How its program is replaced while it serves.
    pub(crate) way: Option<Way>,
}

/// How a program is replaced while it serves. The old process is to be gone afterwards, by itself
/// or after the time that its config gives its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// `portcullis upgrade`: it returns when it is done.
    Command,
    /// A signal to the master, which starts new workers and tells the old ones to finish.
    Reload,
    /// A signal for a new master beside the old one, and when it runs, signals that end the old.
    /// nginx takes the signal only where its first parent has ended, as when it is a daemon.
    Replace {
        /// The file, in its folder, with the process of the newest master.
        pid_file: &'static str,
    },
    /// A second process, with these arguments, which ends the first.
    Second {
        /// Words in @ as for its start.
        arguments: &'static [&'static str],
    },
}

/// Words for the template that depend on how a program was built, and what they stand for.
type Build = Vec<(&'static str, String)>;

/// What the host gives to a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The hard limit of open files of one process.
    pub(crate) descriptors: u64,
    pub(crate) workers: u64,
}

/// Programs that are not to be looked for.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Programs {
    /// The gateway's program [default: beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) portcullis: Option<PathBuf>,
    /// HAProxy's program [default: from PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,
    /// nginx's program [default: from PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,
    /// Envoy's program [default: from PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn given(&self, program: &str) -> Option<&PathBuf> {
        match program {
            "portcullis" => self.portcullis.as_ref(),
            "haproxy" => self.haproxy.as_ref(),
            "nginx" => self.nginx.as_ref(),
            "envoy" => self.envoy.as_ref(),
            _ => None,
        }
    }
}

/// A rival whose program is there.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) rival: &'static Rival,
    pub(crate) program: PathBuf,
    /// What the program says of itself, and only the number.
    pub(crate) version: String,
    pub(crate) number: String,
    pub(crate) build: Build,
}

impl Rival {
    /// Looks for its program; the error says why it cannot be measured.
    pub(crate) fn find(&'static self, programs: &Programs) -> Result<Found, String> {
        let program = match programs.given(self.program) {
            Some(path) if path.is_file() => path.clone(),
            Some(path) => return Err(format!("{} is no file", path.display())),
            None => self.search()?,
        };
        let output = Command::new(&program).args(self.version).output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let said = String::from_utf8_lossy(&said).into_owned();
        let (version, number) = version(self.program, &said)
            .ok_or_else(|| format!("{} tells no version: {said:?}", program.display()))?;
        let said_of = |text: String| match self.compiled {
            Some(how) => format!("{} {text}, {how}", self.program),
            None => text,
        };
        let (version, number) = (said_of(version), said_of(number));
        let build = (self.build)(&program)?;
        Ok(Found { rival: self, program, version, number, build })
    }

    fn search(&self) -> Result<PathBuf, String> {
        let own = std::env::current_exe().unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let (folders, place): (Vec<PathBuf>, _) = if self.program == "portcullis" {
            (own.parent().map(Path::to_owned).into_iter().collect(), "beside this program")
        } else {
            let more = MORE_FOLDERS.map(PathBuf::from);
            (std::env::split_paths(&path).chain(more).collect(), "in PATH")
        };
        let mut files = folders.iter().map(|folder| folder.join(self.program));
        files.find(|file| file.is_file()).ok_or_else(|| format!("not found {place}"))
    }
}

impl Found {
    /// What is to be said when a newer version than this is known of.
    pub(crate) fn age(&self) -> Option<String> {
        let newest = self.rival.newest_seen?;
        let (name, number) = (self.rival.program, &self.number);
        (parts(number) < parts(newest)).then(|| {
            format!(
                "{name} is {number}, as this host's packages have it; newer versions exist \
                 ({newest} at least) and were not measured"
            )
        })
    }
}

/// From what a program prints: its words on its version, and the number in them.
fn version(program: &str, said: &str) -> Option<(String, String)> {
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    let rest = line.rsplit_once("version").map_or(line, |(_, rest)| rest);
    let rest = rest.split(" - ").next()?.trim_start_matches([':', ' ']);
    let rest = rest.strip_prefix(program).unwrap_or(rest).trim_matches(['/', ' ']);
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut words = rest.split([' ', '/', '-', '+']).filter(is_number);
    let number = words.find(|word| word.contains('.'))?;
    Some((rest.to_owned(), number.to_owned()))
}

fn parts(number: &str) -> Vec<u64> {
    number.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// No word of the template depends on the build.
fn any_build(_: &Path) -> Result<Build, String> {
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (program, said, version_text, number) in [
            ("portcullis", "portcullis 0.1.0\n", "0.1.0", "0.1.0"),
            (
                "haproxy",
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: x\n",
                "2.6.12-1+deb12u4 2026/10/17",
                "2.6.12",
            ),
            ("nginx", "nginx version: nginx/1.22.1\n", "1.22.1", "1.22.1"),
            (
                "envoy",
                "\n/x/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n",
                "9e55/1.40.0/Clean/RELEASE/BoringSSL",
                "1.40.0",
            ),
            (
                "cc",
                "cc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022 Free Software\n",
                "(Debian 12.2.0-14+deb12u1) 12.2.0",
                "12.2.0",
            ),
        ] {
            let expected = (version_text.to_owned(), number.to_owned());
            assert_eq!(version(program, said), Some(expected), "{said}");
        }
        assert_eq!(version("x", "x: command not found"), None);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parts("2.6.12") < parts("3.4"));
        assert!(parts("1.30.2") > parts("1.30") && parts("1.9") < parts("1.30"));
    }

    #[test]
    fn a_given_program_that_is_not_there_is_named() {
        let programs = Programs { envoy: Some("/nowhere/envoy".into()), ..Programs::default() };
        let error = envoy::ENVOY.find(&programs).err().expect("no such file");
        assert_eq!(error, "/nowhere/envoy is no file");
    }
}
