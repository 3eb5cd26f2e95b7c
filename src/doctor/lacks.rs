//! Things that a config names and this host lacks: addresses, a group, directories.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use serde::Serialize;

use crate::config::{AccessPath, Admin, AdminSocket, Config, Listener, Upstream};
use crate::host::accounts::{GROUPS_ARE_THOSE, group_named};

/// Addresses of the host that a message names.
const NAMED_MAX: usize = 8;

/// One thing that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The key that names it.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The host's state instead.
    pub says: String,
    /// The remedy.
    pub remedy: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lack { key, value, says, remedy } = self;
        write!(out, "{key} = \"{value}\": {says}; {remedy}")
    }
}

/// Everything that `config` names and the host lacks. A start fails of each.
pub fn lacks(config: &Config) -> Vec<Lack> {
    let mut lacks: Vec<Lack> = config.listeners.iter().flat_map(of_binds).collect();
    let status = config.status.bind.into_iter();
    lacks.extend(status.filter_map(|address| of_bind("status.bind", address)));
    lacks.extend(lacks_beside_binds(config));
    lacks
}

/// The same without the addresses to listen on: whether those are there, the bind itself says, and
/// an inherited socket needs none.
pub fn lacks_beside_binds(config: &Config) -> Vec<Lack> {
    let mut lacks: Vec<Lack> = config.upstreams.iter().flat_map(of_sources).collect();
    lacks.extend(of_admin(&config.admin));
    if let AccessPath::File(path) = &config.access_log.path {
        let stdout = "name a file in a directory that is there, \"stdout\" or \"off\"";
        lacks.extend(of_file("access_log.path", path, stdout, |found| !found.is_dir()));
    }
    lacks
}

fn of_binds(listener: &Listener) -> Vec<Lack> {
    let key = format!("listener.{}.bind", listener.name);
    listener.needed_addresses().filter_map(|bind| of_bind(&key, bind)).collect()
}

fn of_bind(key: &str, address: SocketAddr) -> Option<Lack> {
    let mut any_port = address;
    any_port.set_port(0);
    (!is_own(any_port)).then(|| Lack {
        key: key.to_owned(),
        value: address.to_string(),
        says: no_such_address(address.ip()),
        remedy: format!("write an address of this host, or add it: {}", add(address.ip())),
    })
}

/// The source addresses of an upstream that this host does not have.
pub fn lacking_sources(upstream: &Upstream) -> Vec<IpAddr> {
    let sources = upstream.sources.iter().copied();
    sources.filter(|ip| !is_own(SocketAddr::new(*ip, 0))).collect()
}

fn of_sources(upstream: &Upstream) -> Vec<Lack> {
    lacking_sources(upstream)
        .iter()
        .map(|ip| Lack {
            key: format!("upstream.{}.source_addresses", upstream.name),
            value: ip.to_string(),
            says: no_such_address(*ip),
            remedy: format!("write an address of this host, or add it: {}", add(*ip)),
        })
        .collect()
}

/// Whether a socket can be bound to this address, whose port is 0: it is this host's, or the host
/// lets one bind to what it does not have. Another errno says nothing of the address.
fn is_own(address: SocketAddr) -> bool {
    let foreign = [Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT, Errno::ENODEV, Errno::EINVAL];
    let errno = UdpSocket::bind(address).err().and_then(|error| error.raw_os_error());
    !errno.is_some_and(|errno| foreign.contains(&Errno::from_raw(errno)))
}

fn no_such_address(ip: IpAddr) -> String {
    let own = own_addresses(ip.is_ipv4());
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    match own.len() {
        0 => format!("this host has no {family} address at all"),
        many if many > NAMED_MAX => {
            let more = many - NAMED_MAX;
            format!("this host has {} and {more} more, not this", own[..NAMED_MAX].join(", "))
        }
        _ => format!("this host has {}, not this", own.join(", ")),
    }
}

/// The command that adds an address to this host.
fn add(ip: IpAddr) -> String {
    let (bits, family) = if ip.is_ipv4() { (32, "ipv4") } else { (128, "ipv6") };
    format!(
        "ip address add {ip}/{bits} dev INTERFACE, or, for one that comes later, \
         sysctl -w net.{family}.ip_nonlocal_bind=1"
    )
}

/// The addresses of one family on this host's interfaces.
fn own_addresses(v4: bool) -> Vec<String> {
    let addresses = getifaddrs().into_iter().flatten().filter_map(|one| one.address);
    let of_family = addresses.filter_map(|address| match v4 {
        true => address.as_sockaddr_in().map(|one| one.ip().to_string()),
        false => address.as_sockaddr_in6().map(|one| one.ip().to_string()),
    });
    let mut own: Vec<String> = of_family.collect();
    own.dedup();
    own
}

fn of_admin(admin: &Admin) -> Vec<Lack> {
    if admin.socket == AdminSocket::Off {
        return Vec::new();
    }
    let mut lacks: Vec<Lack> = of_group(admin.group.as_deref()).into_iter().collect();
    if let AdminSocket::At(path) = &admin.socket {
        let remedy = "name a socket in a directory that is there, or write \"auto\"";
        let is_socket = |found: &fs::Metadata| found.file_type().is_socket();
        lacks.extend(of_file("admin.socket", path, remedy, is_socket));
    }
    lacks
}

/// A number needs no entry in the table of groups.
fn of_group(group: Option<&str>) -> Option<Lack> {
    let name = group.filter(|group| group.parse::<u32>().is_err())?;
    matches!(group_named(name), Ok(None)).then(|| Lack {
        key: "admin.group".to_owned(),
        value: name.to_owned(),
        says: "this host has no group of that name".to_owned(),
        remedy: format!("write one that {GROUPS_ARE_THOSE}, or make it: groupadd {name}"),
    })
}

/// A file that is to be made, or made again where something lies that is `right`. What this user
/// may not see is no lack: another may run the gateway.
fn of_file(
    key: &str,
    path: &Path,
    remedy: &str,
    right: impl FnOnce(&fs::Metadata) -> bool,
) -> Option<Lack> {
    let lack = |says: String| Lack {
        key: key.to_owned(),
        value: path.display().to_string(),
        says,
        remedy: remedy.to_owned(),
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    match fs::metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Some(lack(format!("there is no directory {}", directory.display())));
        }
        Ok(found) if !found.is_dir() => {
            return Some(lack(format!("{} is no directory", directory.display())));
        }
        _ => {}
    }
    let found = fs::metadata(path).ok().filter(|found| !right(found))?;
    let what = if found.is_dir() { "a directory" } else { "a file of another kind" };
    Some(lack(format!("{what} lies there")))
}
