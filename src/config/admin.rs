//! `[admin]`: where the gateway is steered.

use std::path::PathBuf;

use crate::config::AdminSocket;
use crate::config::form::{Optional, Word};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;

pub(super) const ADMIN: SectionKeys =
    SectionKeys { section: "admin", about: "", keys: &[Admin::KEYS], later: &[] };

/// What the kernel's `sun_path` holds beside its final zero (unix(7)), less one: the socket is made
/// under a name with one more byte and gets its own when it is complete.
const MAX_PATH_BYTES: usize = 106;

const SOCKETS: Word<AdminSocket> = Word {
    values: "\"auto\", \"off\" or an absolute path of at most 106 bytes",
    accept: |word| match word {
        "auto" => Some(AdminSocket::Auto),
        "off" => Some(AdminSocket::Off),
        path if path.starts_with('/') && path.len() <= MAX_PATH_BYTES => {
            Some(AdminSocket::At(PathBuf::from(path)))
        }
        _ => None,
    },
    show: |socket| match socket {
        AdminSocket::Auto => "auto".into(),
        AdminSocket::Off => "off".into(),
        AdminSocket::At(path) => path.to_string_lossy(),
    },
};

const MODES: Word<u32> = Word {
    values: "permissions in octal, in quotes",
    accept: |word| u32::from_str_radix(word, 8).ok().filter(|mode| *mode <= 0o777),
    show: |mode| format!("{mode:04o}").into(),
};

const GROUPS: Word<String> = Word {
    values: "the name or number of a group",
    accept: |word| (!word.is_empty()).then(|| word.to_owned()),
    show: |group| group.as_str().into(),
};

keys! {
    /// The unix socket of the commands that change something or name clients.
    Admin;

    /// The unix socket that the commands status, conns, kill, listener, server, reload and drain
    /// speak to.
    /// auto: admin-PID.sock in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/portcullis or /run/portcullis.
    /// The commands find it there, and a socket elsewhere by a link of that name. PATH.lock beside
    /// a socket keeps a second start out.
    ///
    /// Write a path when scripts need a fixed one.
    "socket" socket: AdminSocket = "auto", Live, SOCKETS, "write \"/run/portcullis/admin.sock\"";

    /// Its permissions. A user who can write to it can end every connection.
    ///
    /// Write "0660" and a group when operators are not the user that the gateway runs as.
    "mode" mode: u32 = "0600", Live, MODES, "write \"0600\" or \"0660\"";

    /// The group that owns the socket. Without this line: the process's own.
    "group" group: Option<String> as "wheel", Live, Optional(GROUPS), "write \"wheel\"";
}

impl Admin {
    /// Connections at one time: operators and their scripts.
    pub const CONNECTIONS: usize = 16;
}
