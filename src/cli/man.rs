//! The man pages: clap's description of the flags, and what it knows nothing of.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::Cli;

/// Sections of portcullis(1): title, and entries of a term and its meaning.
const SECTIONS: [(&str, &[(&str, &str)]); 5] = [
    ("EXIT STATUS", &EXIT_STATUS),
    ("SIGNALS", &SIGNALS),
    ("ENVIRONMENT", &ENVIRONMENT),
    ("FILES", &FILES),
    ("SEE ALSO", &[("portcullis.toml(5), systemd.socket(5), tcp(7), io_uring(7)", "")]),
];

const EXIT_STATUS: [(&str, &str); 3] = [
    ("0", "Done. Of run: drained, including a drain that reached its deadline."),
    (
        "1",
        "Failed. Of doctor and check --host: what is asked for does not fit, or the host lacks \
         what the config names. Of run: it could not start, lost a worker, or was forced to end.",
    ),
    (
        "2",
        "Wrong usage or config. Wrong usage includes a filter, an id or a weight that is none, a \
         listener or server that the gateway does not have, and neither --config nor --admin where \
         several gateways run.",
    ),
];

const SIGNALS: [(&str, &str); 4] = [
    (
        "SIGTERM, SIGINT",
        "Drain, after drain_grace; a second one ends the gateway at once. The same signal within \
         half a second of the first repeats it.",
    ),
    ("SIGHUP", "Read the config file again, as reload does; the log has the answer."),
    ("SIGUSR1", "Close the access log's file and open it again, after a rotation."),
    ("SIGUSR2", "Hand over to a new process, as upgrade does; the log has the outcome."),
];

const ENVIRONMENT: [(&str, &str); 8] = [
    ("PORTCULLIS_ADMIN", "The admin socket that a command asks where no option names one."),
    (
        "RUNTIME_DIRECTORY",
        "Where the locks and the admin socket lie; systemd sets it. Without it: portcullis in \
         XDG_RUNTIME_DIR, /run/portcullis, or portcullis-UID in TMPDIR or /tmp.",
    ),
    (
        "STATE_DIRECTORY",
        "Where the last good servers are kept, if state_directory is \"auto\"; systemd sets it.",
    ),
    ("LISTEN_FDS, LISTEN_PID", "Passive sockets that a parent hands down."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Where the service manager hears, and how often it wants to."),
    ("SSL_CERT_FILE", "The certificates that ca = \"system\" trusts, in place of the host's."),
    ("XDG_RUNTIME_DIR, TMPDIR", "See RUNTIME_DIRECTORY."),
    ("any other", "\"${NAME}\" in the config file is replaced by its value."),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/portcullis/portcullis.toml",
        "The config file where none is named, if it is there: see portcullis.toml(5). The packages \
         and the unit name it.",
    ),
    ("RUNTIME_DIRECTORY/admin-PID.sock", "The admin socket of the gateway with this pid."),
    ("RUNTIME_DIRECTORY/*.lock", "A lock for each address: an address has one gateway."),
    ("STATE_DIRECTORY/*", "The last good servers of each name, file and etcd prefix."),
];

/// portcullis(1).
pub(super) fn page() -> io::Result<Vec<u8>> {
    let man = Man::new(Cli::command());
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    man.render_subcommands_section(&mut out)?;
    write!(
        out,
        ".PP\nLogs go to stderr, what a command answers goes to stdout.\nWithout a config file, \
         and with none in /etc/portcullis, 127.0.0.1:7000 answers with an echo.\n"
    )?;
    for (title, entries) in SECTIONS {
        writeln!(out, ".SH {title}")?;
        for (term, meaning) in entries {
            match *meaning {
                "" => writeln!(out, "{}", escaped(term))?,
                meaning => write!(out, ".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(meaning))?,
            }
        }
    }
    man.render_version_section(&mut out)?;
    Ok(out)
}

/// Writes portcullis(1) and a page for each command.
pub(super) fn write_all(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)?;
    std::fs::write(directory.join("portcullis.1"), page()?)
}

/// `text` without what roff would take for its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
