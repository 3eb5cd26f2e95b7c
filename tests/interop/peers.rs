//! The TLS of Go and of Java, as clients of a gateway and as servers behind one: both versions,
//! sessions that are resumed, new keys, and streams of which one direction ends before the other.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;

use crate::program::{output, program};
use crate::stage::{NAME, Stage};
use crate::support::client;
use crate::support::config::upstream;
use crate::support::network::free_port;
use crate::support::server::Server;
use crate::support::tls;
use crate::typed::Typed;

/// What each client sends, and what its server says behind that once the client has ended.
const SENT_BYTES: usize = 3_000_000;
const LAST_BYTES: usize = 1_000_000;

/// Where the programs are built; they are built again only where a file has changed.
const BUILT: &str = env!("CARGO_TARGET_TMPDIR");

static GO: LazyLock<PathBuf> = LazyLock::new(|| {
    let file = PathBuf::from(BUILT).join("peer-of-go");
    let mut command = program("go");
    // No module, no toolchain from elsewhere, and no compiler of C.
    command.envs([("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]);
    command.env("GOCACHE", PathBuf::from(BUILT).join("cache-of-go"));
    output(command.args(["build", "-o"]).arg(&file).arg(source("peer.go")));
    file
});

static JAVA: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(BUILT).join("peer-of-java");
    output(program("javac").arg("-d").arg(&folder).arg(source("Peer.java")));
    folder
});

fn source(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

fn go() -> Command {
    Command::new(&*GO)
}

fn java() -> Command {
    java_with(&[])
}

fn java_with(flags: &[String]) -> Command {
    let mut command = program("java");
    command.arg("-cp").arg(&*JAVA).args(flags).arg("Peer");
    command
}

/// Java that changes its key after 256 KiB, and says that it does. It speaks in turns.
fn java_of_many_keys(stage: &Stage) -> Command {
    let limits = "jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate 2^18, \
                  ChaCha20-Poly1305 KeyUpdate 2^18\n";
    std::fs::write(stage.file("limits"), limits).expect("it is written");
    let limits = format!("-Djava.security.properties={}", stage.file("limits").display());
    let more = ["-Dpeer.turns=true", "-Djavax.net.debug=ssl:handshake"].map(str::to_owned);
    java_with(&[&[limits], &more[..]].concat())
}

/// The byte of the pattern at a place.
fn at(place: usize) -> u8 {
    (place ^ place >> 8 ^ place >> 16) as u8
}

/// Echoes to the end, and has so many bytes of last words.
fn last_words(last_bytes: usize) -> Server<usize> {
    Server::start(move |mut stream: TcpStream| {
        let (mut piece, mut place) = (vec![0; 30_001], 0);
        while let count @ 1.. = stream.read(&mut piece).expect("bytes or an end") {
            stream.write_all(&piece[..count]).expect("it is sent");
            place += count;
        }
        let words: Vec<u8> = (place..place + last_bytes).map(at).collect();
        stream.write_all(&words).expect("it is sent");
        place
    })
}

/// A client that does not speak TLS, and so many bytes of its server's last words; without any,
/// both speak in turns.
fn talk(gateway: SocketAddr, last_bytes: usize) {
    let stream = client::connect(gateway);
    let bytes: Vec<u8> = (0..SENT_BYTES + last_bytes).map(at).collect();
    let end = || stream.shutdown(Shutdown::Write).expect("it is connected");
    let mut heard = Vec::new();
    thread::scope(|scope| {
        if last_bytes > 0 {
            scope.spawn(|| {
                (&stream).write_all(&bytes[..SENT_BYTES]).expect("it is sent");
                end();
            });
        } else {
            // The last turn is a byte, as in `Peer.java`, which says why.
            let (turns, last) = bytes.split_at(bytes.len() - 1);
            for piece in turns.chunks(120_000).chain([last]) {
                let mut back = vec![0; piece.len()];
                (&stream).write_all(piece).expect("it is sent");
                (&stream).read_exact(&mut back).expect("it comes back");
                heard.extend(back);
            }
            end();
        }
        (&stream).read_to_end(&mut heard).expect("a clean end");
    });
    assert_eq!(heard.len(), bytes.len());
    let wrong = heard.iter().zip(&bytes).position(|(byte, right)| byte != right);
    assert_eq!(wrong, None, "a byte is not the pattern's");
}

/// A program connects twice to a gateway where TLS ends. Returns all that it says.
fn connect_twice(stage: &Stage, mut client: Command, version: &str, last_bytes: usize) -> String {
    let server = last_words(last_bytes);
    let gateway = stage.gateway("", &upstream("app", &[server.address]));
    let port = gateway.address("edge").port().to_string();
    client.args(["client", &port]).arg(stage.file("ca.pem")).arg(version);
    let output = client.stdin(Stdio::null()).output().expect("an installed program runs");
    let mut said = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client:?} ended with {}: {said}{errors}", output.status);
    assert_eq!(server.outcomes(2), [SENT_BYTES; 2]);
    gateway.wait_for_ended(2);
    assert_eq!(tls::metric(&gateway, "portcullis_tls_handshakes_total", ""), 2, "{version}");
    assert_eq!(tls::metric(&gateway, "portcullis_tls_resumed_total", ""), 1, "{version}");
    let ended = gateway.stop().ended;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["closed-by-client"], "{ended:?}");
    said.write_str(&errors).expect("memory takes it");
    said
}

/// A program is a server behind a gateway whose clients do not speak TLS. Returns it when it has
/// served two.
fn serve_two(stage: &Stage, mut server: Command, version: &str, last_bytes: usize) -> Typed {
    let port = free_port();
    stage.authority.issue(&[NAME], 2090).write(&stage.home, "server");
    server.args(["server", &port.to_string()]).arg(stage.file("server.pem"));
    let mut typed = Typed::start(server.arg(stage.file("server.key")).arg(version));
    typed.hears("ready");
    let gateway = stage.towards((Ipv4Addr::LOCALHOST, port).into());
    for _ in 0..2 {
        talk(gateway.address("edge"), last_bytes);
    }
    gateway.wait_for_ended(2);
    let ended = gateway.stop().ended;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["closed-by-client"], "{ended:?}");
    typed
}

#[test]
fn clients_of_go_are_served() {
    let (stage, bytes) = (Stage::new(), SENT_BYTES + LAST_BYTES);
    for version in ["1.2", "1.3"] {
        let said = connect_twice(&stage, go(), version, LAST_BYTES);
        let line = |resumed| format!("{version} resumed {resumed} bytes {bytes}\n");
        assert_eq!(said, line(false) + &line(true));
    }
}

#[test]
fn servers_of_go_serve() {
    let stage = Stage::new();
    for version in ["1.2", "1.3"] {
        let mut typed = serve_two(&stage, go(), version, LAST_BYTES);
        let line = format!("{version} resumed false bytes {SENT_BYTES}\n");
        typed.hears(&line.repeat(2));
    }
}

#[test]
fn clients_of_java_are_served() {
    let (stage, bytes) = (Stage::new(), SENT_BYTES + LAST_BYTES);
    for version in ["1.2", "1.3"] {
        let said = connect_twice(&stage, java(), version, LAST_BYTES);
        assert_eq!(said, format!("TLSv{version} bytes {bytes}\n").repeat(2));
    }
}

#[test]
fn clients_of_java_change_keys() {
    let stage = Stage::new();
    // Each connection sends and gets megabytes.
    let said = connect_twice(&stage, java_of_many_keys(&stage), "1.3", 0);
    let updates = said.matches("Produced KeyUpdate").count();
    assert!(updates >= 10, "{updates} new keys: {said}");
    assert!(said.contains("Consuming KeyUpdate"), "none of the gateway's: {said}");
}

#[test]
fn servers_of_java_serve() {
    let stage = Stage::new();
    // In TLS 1.2 it takes close_notify for the end of both directions, and says no more.
    for (version, last_bytes) in [("1.2", 0), ("1.3", LAST_BYTES)] {
        let mut typed = serve_two(&stage, java(), version, last_bytes);
        if version == "1.3" {
            typed.hears(&format!("TLSv1.3 bytes {SENT_BYTES}\n").repeat(2));
        }
    }
}

#[test]
fn servers_of_java_change_keys() {
    let stage = Stage::new();
    let mut typed = serve_two(&stage, java_of_many_keys(&stage), "1.3", 0);
    for _ in 0..2 {
        typed.hears(&format!("TLSv1.3 bytes {SENT_BYTES}\n"));
    }
    let updates = typed.said().matches("Produced KeyUpdate").count();
    assert!(updates >= 10, "{updates} new keys");
}
