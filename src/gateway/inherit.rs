//! Passive sockets that somebody else made and keeps: socket activation by LISTEN_FDS.

use std::fmt;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// Where inherited descriptors begin (sd_listen_fds(3)).
const FIRST_FD: usize = 3;

/// Sockets passed by the parent process.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    sockets: Vec<Passive>,
    /// Sockets were announced, but to this process, which is not us.
    meant_for: Option<String>,
}

/// An inherited socket.
#[derive(Debug)]
struct Passive {
    fd: usize,
    address: SocketAddr,
    /// It is bound to the IPv6 wildcard and takes IPv4, too.
    both_families: bool,
    /// Until its bind takes it.
    socket: Option<TcpListener>,
}

/// Why the inherited sockets cannot be used.
#[derive(Debug)]
pub enum InheritError {
    /// A descriptor is no passive TCP socket.
    NotPassive {
        /// Its number, 3 for the first.
        fd: usize,
        /// The error in words.
        why: String,
    },
    /// No bind asks for it, so its clients would wait for ever.
    Unasked {
        /// Its number, 3 for the first.
        fd: usize,
        /// Where it listens.
        address: SocketAddr,
        /// It takes IPv4 as well, and only the IPv6 address was asked for.
        both_families: bool,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritError::NotPassive { fd, why } => write!(
                out,
                "inherited descriptor {fd}: {why}; only listening TCP sockets can be handed down: \
                 in a systemd socket unit ListenStream= with an address, and Accept=no"
            ),
            InheritError::Unasked { fd, address, both_families: false } => write!(
                out,
                "inherited descriptor {fd} listens on {address}, where no listener binds; \
                 add \"{address}\" to a bind, or take it out of the socket unit"
            ),
            InheritError::Unasked { fd, address, both_families: true } => write!(
                out,
                "inherited descriptor {fd} listens on {address} for IPv4, too; write \
                 bind = [\"*:{}\"], or BindIPv6Only=ipv6-only in the socket unit",
                address.port()
            ),
        }
    }
}

impl std::error::Error for InheritError {}

impl Inherited {
    /// What LISTEN_FDS and LISTEN_PID say; both vanish from the environment. To be called before
    /// there is a second thread, and before anything is opened.
    ///
    /// # Errors
    /// When a descriptor is not what it should be.
    pub(super) fn from_environment() -> Result<Inherited, InheritError> {
        let announced = std::env::var_os("LISTEN_FDS").is_some();
        let pid = std::env::var("LISTEN_PID").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let fd = FIRST_FD + index;
            let taken = handed.take_tcp_listener(index);
            let taken = taken.and_then(|socket| socket.map(|s| Passive::new(fd, s)).transpose());
            match taken {
                Ok(passive) => sockets.extend(passive),
                Err(error) => {
                    return Err(InheritError::NotPassive { fd, why: error.to_string() });
                }
            }
        }
        let meant_for = (announced && handed.len() == 0).then_some(pid);
        Ok(Inherited { sockets, meant_for })
    }

    /// For the log: sockets were announced to another process, which did not hand them on.
    pub(super) fn meant_for(&self) -> Option<&str> {
        self.meant_for.as_deref()
    }

    /// Every socket on exactly this address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let of_address = self.sockets.iter_mut().filter(|passive| passive.address == address);
        of_address.filter_map(|passive| passive.socket.take()).collect()
    }

    /// Whether one of them listens on this address.
    pub(super) fn serves(&self, address: SocketAddr) -> bool {
        self.sockets.iter().any(|passive| passive.address == address) || self.covers(address)
    }

    /// Whether the IPv4 wildcard `address` is served by a socket of both families, and no other.
    pub(super) fn covers(&self, address: SocketAddr) -> bool {
        let v4_wildcard = address.is_ipv4() && address.ip().is_unspecified();
        let both =
            |passive: &Passive| passive.both_families && passive.address.port() == address.port();
        v4_wildcard
            && self.sockets.iter().any(both)
            && !self.sockets.iter().any(|passive| passive.address == address)
    }

    /// That every socket is asked for, by one of the listeners, each with its binds. One of both
    /// families must be asked for in both by the same listener.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check<'a>(
        &self,
        listeners: impl Iterator<Item = &'a [SocketAddr]> + Clone,
    ) -> Result<(), InheritError> {
        for &Passive { fd, address, both_families, .. } in &self.sockets {
            let v4 = SocketAddr::from(([0, 0, 0, 0], address.port()));
            let asked = listeners.clone().find(|binds| binds.contains(&address));
            let whole = asked.is_some_and(|binds| !both_families || binds.contains(&v4));
            if !whole {
                let both_families = asked.is_some();
                return Err(InheritError::Unasked { fd, address, both_families });
            }
        }
        Ok(())
    }
}

impl Passive {
    fn new(fd: usize, socket: TcpListener) -> std::io::Result<Passive> {
        let reference = SockRef::from(&socket);
        if !reference.is_listener()? {
            return Err(std::io::Error::other("the socket does not listen"));
        }
        let address = socket.local_addr()?;
        let wildcard = address.is_ipv6() && address.ip().is_unspecified();
        let both_families = wildcard && !reference.only_v6()?;
        Ok(Passive { fd, address, both_families, socket: Some(socket) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(binds: &[&str]) -> Inherited {
        let sockets = binds.iter().enumerate().map(|(index, bind)| {
            let socket = TcpListener::bind(bind).expect("a free port");
            Passive::new(FIRST_FD + index, socket).expect("it listens")
        });
        Inherited { sockets: sockets.collect(), meant_for: None }
    }

    #[test]
    fn a_socket_goes_to_the_bind_of_its_address_and_to_no_other() {
        let mut handed = inherited(&["127.0.0.1:0", "127.0.0.1:0"]);
        let [one, two] = [0, 1].map(|index| handed.sockets[index].address);
        assert!(handed.check([&[one][..], &[two][..]].into_iter()).is_ok());
        let error = handed.check([&[one][..]].into_iter()).expect_err("nobody asks for the other");
        let words = error.to_string();
        assert!(words.contains(&two.to_string()) && words.contains("descriptor 4"), "{words}");
        assert_eq!(handed.take(two).len(), 1);
        assert_eq!(handed.take(two).len(), 0);
        assert_eq!(handed.take(one).len(), 1);
    }

    #[test]
    fn a_socket_of_both_families_is_asked_for_in_both() {
        if TcpListener::bind("[::1]:0").is_err() {
            return eprintln!("no IPv6 here: not checked");
        }
        let handed = inherited(&["[::]:0"]);
        let v6 = handed.sockets[0].address;
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.port()));
        assert!(handed.covers(v4) && !handed.covers(v6));
        assert!(handed.check([&[v4, v6][..]].into_iter()).is_ok());
        for listeners in [vec![&[v6][..]], vec![&[v4][..], &[v6][..]]] {
            let error = handed.check(listeners.into_iter()).expect_err("IPv4 belongs to nobody");
            assert!(error.to_string().contains("ipv6-only"), "{error}");
        }
    }
}
