//! `psql` reaches the PostgreSQL server of the name that it asks for, by TLS from end to end.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Daemon, folder, output, program};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home};
use crate::support::network::free_port;
use crate::support::tls::{self, Authority};

/// PostgreSQL does not run as root: nobody takes its place.
const NOBODY: u32 = 65_534;

/// A server with a name of its own, which it tells.
struct Postgres {
    _daemon: Daemon,
    address: SocketAddr,
    certificate: PathBuf,
}

impl Postgres {
    /// With TLS if it has a certificate for a host's name.
    fn start(name: &str, host: Option<&str>) -> Postgres {
        let (folder, port) = (folder("postgres"), free_port());
        let data = folder.join("data");
        let certificate = folder.join("cert.pem");
        if let Some(host) = host {
            make_certificate(&folder, host);
        }
        let mut files = vec![folder.clone()];
        files.extend(host.map(|_| folder.join("key.pem")));
        if nix::unistd::geteuid().is_root() {
            files.iter().for_each(|file| chown(file, Some(NOBODY), Some(NOBODY)).expect("ours"));
        }
        let mut initdb = server_program("initdb");
        initdb.args(["--auth=trust", "--username=anna", "--no-sync", "--encoding=UTF8", "-D"]);
        output(initdb.arg(&data));
        let mut command = server_program("postgres");
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string()).args(["-h", "127.0.0.1"]);
        let mut set = |setting: String| {
            command.arg("-c").arg(setting);
        };
        set(format!("cluster_name={name}"));
        set("unix_socket_directories=".into());
        set("fsync=off".into());
        if host.is_some() {
            set("ssl=on".into());
            set(format!("ssl_cert_file={}", certificate.display()));
            set(format!("ssl_key_file={}", folder.join("key.pem").display()));
        }
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let is_ready = || {
            let mut command = psql(port, "localhost", "sslmode=disable");
            command.stderr(Stdio::null()).stdout(Stdio::null());
            command.status().expect("an installed program runs").success()
        };
        let daemon = Daemon::start_until(command.stderr(Stdio::null()), folder, is_ready);
        Postgres { _daemon: daemon, address, certificate }
    }
}

fn make_certificate(folder: &Path, host: &str) {
    let mut command = program("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"]);
    command.arg(format!("subjectAltName=DNS:{host}"));
    command.arg("-keyout").arg(folder.join("key.pem"));
    output(command.arg("-out").arg(folder.join("cert.pem")).stderr(Stdio::null()));
}

/// A program of the server, which Debian keeps by version, to be run by somebody without rights.
fn server_program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let found = versions.map(|version| version.expect("a version").path().join("bin").join(name));
    let mut command = match found.filter(|file| file.is_file()).max() {
        Some(file) => Command::new(file),
        None => program(name),
    };
    command.current_dir("/");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Asks at this port, by this host's name, which server answers and whether by TLS.
fn psql(port: u16, host: &str, more: &str) -> Command {
    let mut command = program("psql");
    command.args(["--no-psqlrc", "-At", "-c"]);
    command.arg(
        "select current_setting('cluster_name'), ssl from pg_stat_ssl \
                 where pid = pg_backend_pid()",
    );
    command.arg(format!(
        "host={host} hostaddr=127.0.0.1 port={port} user=anna dbname=postgres connect_timeout=60 \
         {more}"
    ));
    command
}

#[test]
fn psql_reaches_the_server_of_its_name_by_tls_and_else_the_listeners_own() {
    let plain = Postgres::start("plain", None);
    let one = Postgres::start("one", Some("db1.example.com"));
    let two = Postgres::start("two", Some("db2.example.com"));
    let config = format!(
        "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"plain\"\nsniff = \"postgres\"\n\
         [[listener.edge.route]]\nserver_names = [\"db1.example.com\"]\nupstream = \"one\"\n\
         [[listener.edge.route]]\nserver_names = [\"db2.example.com\"]\nupstream = \"two\"\n{}{}{}",
        upstream("plain", &[plain.address]),
        upstream("one", &[one.address]),
        upstream("two", &[two.address]),
    );
    let gateway = Gateway::start(&config);
    let port = gateway.address("edge").port();
    for (server, name) in [(&one, "one"), (&two, "two")] {
        let host = if name == "one" { "db1.example.com" } else { "db2.example.com" };
        let file = server.certificate.display();
        for more in [
            "sslmode=require",
            "sslmode=prefer",
            &format!("sslmode=verify-full sslrootcert={file}"),
        ] {
            assert_eq!(output(&mut psql(port, host, more)), format!("{name}|t\n"), "{more}");
        }
        assert_eq!(output(&mut psql(port, host, "sslmode=disable")), "plain|f\n");
    }
    // A server without TLS is one for nobody who must have it.
    let host = "other.example.com";
    let refused = psql(port, host, "sslmode=require").output().expect("an installed program runs");
    assert!(!refused.status.success(), "{refused:?}");
    gateway.wait_for_reason("no-server", 1);
    // One who need not goes on without.
    assert_eq!(output(&mut psql(port, host, "sslmode=prefer")), "plain|f\n");
    gateway.stop();
}

#[test]
fn psql_verifies_the_gateway_and_a_server_without_tls_answers() {
    let plain = Postgres::start("plain", None);
    let (home, authority) = (Home::new(), Authority::new());
    authority.write(&home, "ca.pem");
    let host = "db1.example.com";
    let pair = authority.issue(&[host], 2090).write(&home, "edge");
    let rest = upstream("app", &[plain.address]);
    let gateway = tls::start(&home, &tls::edge(&[pair], "", "sniff = \"postgres\"", &rest));
    let port = gateway.address("edge").port();
    let file = home.path().join("ca.pem");
    let verified = format!("sslmode=verify-full sslrootcert={}", file.display());
    for more in [&*verified, "sslmode=require", "sslmode=prefer"] {
        assert_eq!(output(&mut psql(port, host, more)), "plain|f\n", "{more}");
    }
    assert_eq!(tls::metric(&gateway, "portcullis_tls_handshakes_total", ""), 3);
    for (host, more) in [("other.example.com", &*verified), (host, "sslmode=disable")] {
        let mut command = psql(port, host, more);
        let refused = command.output().expect("an installed program runs");
        assert!(!refused.status.success(), "{refused:?}");
    }
    gateway.stop();
}
