//! Networks as people write them, one by one, in lists and in files.

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::base::plain_word;
use crate::config::MAX_FILE_BYTES;
use crate::config::address::Fault;
use crate::config::error::ConfigError;
use crate::config::file::{Value, cut};
use crate::config::text::list;

/// What a list of networks is, in words.
pub(super) const A_LIST: &str = "a list of networks";
/// What a list is that may name files, in words.
pub(super) const A_LIST_OR_FILES: &str =
    "a list of networks, and of files as \"file:/path\" with one network in each line";
/// What the path of a file stands behind.
const FILE: &str = "file:";
/// The most networks of one list: 100 MB where they are looked up.
const NETWORKS_MAX: usize = 1_000_000;

/// Why a text is no network.
enum Wrong {
    /// It is neither a network nor an address.
    NoNetwork,
    /// It has bits beyond its prefix; without them it is this one.
    BitsBeyond(IpNet),
}

/// A network, or a single address, which is one, too.
fn network(text: &str) -> Result<IpNet, Wrong> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => Err(Wrong::BitsBeyond(network.trunc())),
        Err(_) => Err(Wrong::NoNetwork),
    }
}

/// The networks of a list in a config: written there, or in files that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkList {
    entries: Vec<Entry>,
    networks: Arc<[IpNet]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Network(IpNet),
    File(PathBuf),
}

impl NetworkList {
    /// The networks, in order, each once.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// The networks that stand in the config itself, as it lists them.
    pub fn written_out(&self) -> impl Iterator<Item = IpNet> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Network(network) => Some(*network),
            Entry::File(_) => None,
        })
    }

    /// The config says nothing here. A list that names a file without a network says something.
    pub fn is_unsaid(&self) -> bool {
        self.entries.is_empty()
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::File(path) => Some(&**path),
            Entry::Network(_) => None,
        })
    }

    /// The same list with its files as they are now.
    ///
    /// # Errors
    /// Names the first file that cannot be read or has a wrong line, and says what to do.
    pub fn read_again(&self) -> Result<NetworkList, String> {
        let mut networks = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Network(network) => networks.push(*network),
                Entry::File(path) => {
                    networks.extend(of_file(path).map_err(|(rule, remedy)| {
                        format!("{}: {rule}; {remedy}", path.display())
                    })?)
                }
            }
        }
        let networks = in_order(networks);
        if networks.len() > NETWORKS_MAX {
            return Err(format!("{} networks are more than {NETWORKS_MAX}", networks.len()));
        }
        Ok(NetworkList { entries: self.entries.clone(), networks: networks.into() })
    }

    /// As a config file has it. What the networks of files are goes into a comment, so that a
    /// change of a file is a difference.
    pub(super) fn written(&self) -> String {
        let entries = list(&self.entries);
        if !self.entries.iter().any(|entry| matches!(entry, Entry::File(_))) {
            return entries;
        }
        let mut digest = Sha256::new();
        self.networks.iter().for_each(|network| digest.update(format!("{network}\n")));
        let digest: String =
            digest.finalize()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{entries} # {} networks, {digest}", self.networks.len())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Network(network) => network.fmt(out),
            Entry::File(path) => write!(out, "{FILE}{}", path.display()),
        }
    }
}

/// A list of networks, each with zeros beyond its prefix.
pub(super) fn networks(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<Vec<IpNet>> {
    let Some(elements) = value.elements() else {
        problems.push(value.error(format!("must be {A_LIST}"), remedy));
        return None;
    };
    let mut networks = Vec::new();
    for element in elements {
        let written = element.read::<String>().unwrap_or_default();
        match network(&written) {
            Ok(network) => networks.push(network),
            Err(wrong) => problems.push(refused(&element, &wrong, A_LIST, remedy)),
        }
    }
    Some(networks)
}

/// A list of networks and of files that have some.
pub(super) fn networks_or_files(
    value: &Value<'_>,
    remedy: &str,
    problems: &mut Vec<ConfigError>,
) -> Option<NetworkList> {
    let Some(elements) = value.elements() else {
        problems.push(value.error(format!("must be {A_LIST_OR_FILES}"), remedy));
        return None;
    };
    let (mut entries, mut networks) = (Vec::new(), Vec::new());
    for element in elements {
        let written = element.read::<String>().unwrap_or_default();
        if let Some(path) = written.strip_prefix(FILE) {
            match of_file(Path::new(path)) {
                Ok(found) => networks.extend(found),
                Err((rule, remedy)) => problems.push(element.error(rule, &remedy)),
            }
            entries.push(Entry::File(path.into()));
            continue;
        }
        match network(&written) {
            Ok(network) => {
                entries.push(Entry::Network(network));
                networks.push(network);
            }
            Err(wrong) => problems.push(refused(&element, &wrong, A_LIST_OR_FILES, remedy)),
        }
    }
    let networks = in_order(networks);
    if networks.len() > NETWORKS_MAX {
        let rule = format!("has {} networks, more than {NETWORKS_MAX}", networks.len());
        problems.push(value.error(rule, "write larger networks instead of many small ones"));
    }
    Some(NetworkList { entries, networks: networks.into() })
}

/// Each once.
fn in_order(mut networks: Vec<IpNet>) -> Vec<IpNet> {
    networks.sort_unstable();
    networks.dedup();
    networks
}

fn refused(element: &Value<'_>, wrong: &Wrong, values: &str, remedy: &str) -> ConfigError {
    match wrong {
        Wrong::NoNetwork => element.error(format!("must be {values}"), remedy),
        Wrong::BitsBeyond(meant) => element.fault(&Fault {
            must: "has bits beyond its prefix",
            remedy: "write zeros there",
            instead: Some(format!("write \"{meant}\"")),
        }),
    }
}

/// The networks in a file; or the rule that it breaks, and the remedy.
fn of_file(path: &Path) -> Result<Vec<IpNet>, (String, String)> {
    if !path.is_absolute() {
        let remedy = "write it as in \"file:/etc/portcullis/networks\"";
        return Err(("must be an absolute path".to_owned(), remedy.to_owned()));
    }
    let readable = "name a file that this user can read, or make it".to_owned();
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), readable.clone());
    // One that is no file might never end, or never begin.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(("is no file".to_owned(), readable));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let remedy = "write larger networks instead of many small ones".to_owned();
        return Err((format!("is larger than {MAX_FILE_BYTES} bytes"), remedy));
    }
    parse(&String::from_utf8_lossy(&bytes))
        .map_err(|LineError { line, rule, remedy }| (format!("line {line} {rule}"), remedy))
}

/// The first line of a file that has something other than a network.
#[derive(Debug, PartialEq, Eq)]
struct LineError {
    line: usize,
    rule: String,
    remedy: String,
}

/// The networks in the text of a file: one in a line, or an address; `#` begins a comment.
fn parse(text: &str) -> Result<Vec<IpNet>, LineError> {
    let mut networks = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let written = whole.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        match network(written) {
            Ok(network) => networks.push(network),
            Err(wrong) => {
                let shown = cut(plain_word(written).into_owned());
                let (rule, remedy) = match wrong {
                    Wrong::NoNetwork => (
                        "must be a network or an address",
                        "write one in each line, as in 10.0.0.0/8, and # before a comment".into(),
                    ),
                    Wrong::BitsBeyond(meant) => {
                        ("has bits beyond its prefix", format!("write {meant} there"))
                    }
                };
                let rule = format!("is {shown:?}, which {rule}");
                return Err(LineError { line: index + 1, rule, remedy });
            }
        }
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_networks_addresses_comments_and_blank_lines() {
        let text = "# ours\n10.0.0.0/8\n\n  192.0.2.7 # one host\r\n2001:db8::/32\n10.0.0.0/8";
        let networks = parse(text).expect("it is right");
        let shown: Vec<String> = networks.iter().map(IpNet::to_string).collect();
        assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "10.0.0.0/8"]);
        assert_eq!(parse("").expect("nothing is right, too"), []);
    }

    #[test]
    fn a_wrong_line_is_named_and_what_was_meant() {
        for (text, line, rule, remedy) in [
            ("10.0.0.0/8\n10.1.2.3/16", 2, "\"10.1.2.3/16\"", "write 10.1.0.0/16 there"),
            ("\n#\n2001:db8::1/32", 3, "has bits beyond its prefix", "write 2001:db8::/32 there"),
            ("10.0.0.0/33", 1, "must be a network or an address", "one in each line"),
            ("10.0.0.0/8 10.1.0.0/16", 1, "must be a network", "one in each line"),
            ("a\u{1b}[2J", 1, "a\\\\u{1b}[2J", "one in each line"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(error.rule.contains(rule), "{rule}: {error:?}");
            assert!(error.remedy.contains(remedy), "{remedy}: {error:?}");
        }
    }
}
