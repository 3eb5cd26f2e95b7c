//! Scripts of tlsfuzzer talk to a gateway where TLS ends: each a client that does one thing wrong,
//! or right and rarely done, and knows which alert or answer is due.
//!
//! `tests/interop/fetch-tlsfuzzer` brings them; no registry of packages has them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{output, program};
use crate::stage::Stage;
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::server::Server;
use crate::support::tls;

/// Where the scripts and the Python that they need are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tlsfuzzer");
/// How long one script may take.
const LIMIT: Duration = Duration::from_secs(40);

/// Which listener a script talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// A server answers each request.
    Server,
    /// All that is sent comes back.
    Echo,
    /// Clients are asked for a certificate.
    Clients,
}

/// What a script runs with, beside its host and port.
struct Script(&'static str, To, &'static [&'static str]);

/// TLS 1.2 with what is spoken of it here.
const GCM: &str = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

/// Behind `-e` are cases that are left out, behind `-x` those that end otherwise than the script
/// has it, and behind `-X` how.
const SCRIPTS: [Script; 36] = [
    Script("tls13-ccs", To::Server, &[]),
    Script("tls13-connection-abort", To::Server, &["-n", "20", "-e", "After NewSessionTicket"]),
    Script("tls13-conversation", To::Server, &[]),
    Script("tls13-count-tickets", To::Server, &[]),
    // An alert without a byte is decode_error before the handshake is over.
    Script(
        "tls13-empty-alert",
        To::Server,
        &[
            "-x",
            "empty alert with no padding using handshake keys",
            "-X",
            "decode_error",
            "-x",
            "empty alert with 2 bytes of padding using handshake keys",
            "-X",
            "decode_error",
            "-x",
            "empty alert with 5 bytes of padding using handshake keys",
            "-X",
            "decode_error",
            "-x",
            "empty alert with 30 bytes of padding using handshake keys",
            "-X",
            "decode_error",
        ],
    ),
    // Where a sealed record is due, one that is not fails to open.
    Script(
        "tls13-finished-plaintext",
        To::Server,
        &["-x", "Unencrypted Finished message", "-X", "bad_record_mac"],
    ),
    Script("tls13-hrr", To::Server, &[]),
    Script("tls13-invalid-ciphers", To::Server, &[]),
    // Requests in a row get one update, before the next data (RFC 8446, 4.6.3).
    Script(
        "tls13-keyupdate",
        To::Server,
        &["--coalescing", "-e", "app data split, conversation with KeyUpdate msg"],
    ),
    Script("tls13-lengths", To::Echo, &["-n", "30"]),
    Script("tls13-nociphers", To::Server, &[]),
    Script("tls13-record-padding", To::Server, &[]),
    // A certificate's own key of RSA-PSS is none that the gateway has here.
    Script(
        "tls13-rsa-signatures",
        To::Server,
        &[
            "-e",
            "tls13 signature rsa_pss_pss_sha256",
            "-e",
            "tls13 signature rsa_pss_pss_sha384",
            "-e",
            "tls13 signature rsa_pss_pss_sha512",
        ],
    ),
    Script("tls13-unencrypted-alert", To::Server, &[]),
    Script("tls13-zero-content-type", To::Server, &[]),
    Script("tls13-zero-length-data", To::Server, &[]),
    Script("tls13-certificate-verify", To::Clients, &["-e", "check sigalgs in cert request"]),
    Script("ccs", To::Server, &["-d", "-C", GCM, "-x", "two bytes long CCS", "-X", "decode_error"]),
    Script("connection-abort", To::Server, &["-d", "-C", GCM, "-n", "20"]),
    Script("conversation", To::Server, &["-d", "-C", GCM]),
    Script("cve-2004-0079", To::Server, &["-C", GCM]),
    Script("early-application-data", To::Server, &["-d", "-C", GCM]),
    Script("fuzzed-ciphertext", To::Server, &["-d", "-C", GCM, "-n", "30"]),
    Script("hello-request-by-client", To::Server, &["-d", "-C", GCM]),
    Script("interleaved-CKE-with-CCS", To::Server, &["-C", GCM]),
    Script("invalid-compression-methods", To::Server, &["-d", "-C", GCM]),
    Script("invalid-content-type", To::Server, &["-d", "-C", GCM]),
    Script("lengths", To::Echo, &["-d", "-C", GCM, "-n", "30"]),
    Script("no-mlkem-in-old-tls", To::Server, &["-d", "-C", GCM]),
    // A handshake takes 64 KiB in all.
    Script(
        "record-layer-fragmentation",
        To::Server,
        &[
            "-d",
            "-C",
            GCM,
            "-x",
            "maximum size: max fragment - 65385B extension",
            "-X",
            "record_overflow",
        ],
    ),
    Script("sslv2-force-cipher", To::Server, &[]),
    Script("version-numbers", To::Server, &["-d", "-C", GCM]),
    Script("zero-length-data", To::Server, &["-d", "-C", GCM]),
    Script("certificate-malformed", To::Clients, &["-d", "-C", GCM, "-n", "30"]),
    Script("certificate-verify", To::Clients, &["-d", "-C", GCM]),
    Script("certificate-verify-malformed", To::Clients, &["-d", "-C", GCM, "-n", "30"]),
];

/// A certificate that is its own authority, with a key that the scripts can use.
fn certify(stage: &Stage, name: &str) -> String {
    let file = |end: &str| stage.file(&format!("{name}.{end}"));
    std::fs::write(file("config"), "[req]\ndistinguished_name = name\n[name]\n").expect("ours");
    let mut command = program("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"]);
    command.arg(file("config")).arg("-subj").arg(format!("/CN={name}"));
    command.arg("-addext").arg(format!("subjectAltName=DNS:{name}"));
    output(command.arg("-keyout").arg(file("key")).arg("-out").arg(file("pem")));
    format!("certificate = {:?}, key = {:?}", file("pem"), file("key"))
}

/// Answers whatever ends with an empty line.
fn answering() -> Server<()> {
    Server::start(|mut stream: TcpStream| {
        let (mut heard, mut piece) = (Vec::new(), [0; 16_384]);
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            heard.extend_from_slice(&piece[..count]);
            if heard.ends_with(b"\n\r\n") || heard.ends_with(b"\n\n") {
                heard.clear();
                if stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nwords\n").is_err() {
                    return;
                }
            }
        }
    })
}

fn gateway(stage: &Stage, server: SocketAddr) -> Gateway {
    let (own, client) = (certify(stage, "localhost"), certify(stage, "client"));
    let _ = client;
    let ca = stage.file("client.pem");
    let listener = |to: To| {
        let app = if to == To::Echo { "echo" } else { "app" };
        let asks = match to {
            To::Clients => format!(", client_ca = {ca:?}, client_certificate = \"optional\""),
            To::Server | To::Echo => String::new(),
        };
        format!(
            "[listener.{to:?}]\nbind = [\"127.0.0.1:0\"]\nupstream = {app:?}\n\
             tls = {{ certificates = [{{ {own} }}]{asks} }}\n"
        )
    };
    let listeners = [To::Server, To::Echo, To::Clients].map(listener).concat();
    let echo = "[upstream.echo]\nbuiltin = \"echo\"\n";
    tls::start(&stage.home, &format!("{listeners}{}{echo}", upstream("app", &[server])))
}

/// Runs a script; what it counts if it fails.
fn run(script: &Script, gateway: &Gateway, stage: &Stage) -> Result<String, String> {
    let Script(name, to, more) = script;
    let said = stage.file(&format!("{name}.said"));
    let file = std::fs::File::create(&said).expect("ours");
    let mut command = Command::new(Path::new(FOLDER).join("python/bin/python"));
    command.current_dir(Path::new(FOLDER).join("tlsfuzzer"));
    command.arg(format!("scripts/test-{name}.py"));
    let port = gateway.address(&format!("{to:?}")).port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port]).args(*more);
    if *to == To::Clients {
        command.arg("-k").arg(stage.file("client.key")).arg("-c").arg(stage.file("client.pem"));
    }
    command.stdin(Stdio::null()).stderr(file.try_clone().expect("ours")).stdout(file);
    let began = Instant::now();
    let mut child = command.spawn().expect("tests/interop/fetch-tlsfuzzer brings it");
    let ended = loop {
        match child.try_wait().expect("it is our child") {
            None if began.elapsed() > LIMIT => {
                child.kill().and_then(|()| child.wait().map(drop)).expect("it is our child");
                break None;
            }
            None => thread::sleep(Duration::from_millis(20)),
            ended => break ended,
        }
    };
    let said = std::fs::read_to_string(&said).unwrap_or_default();
    match ended {
        Some(status) if status.success() => {}
        ended => return Err(format!("{name} {to:?} {more:?}: {ended:?}: {said}")),
    }
    let count = |word: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(": "));
        line.and_then(|count| count.parse::<u64>().ok())
    };
    let counts = ["TOTAL", "PASS", "XFAIL", "FAIL", "XPASS"].map(count);
    match counts {
        [Some(total), Some(passed), Some(expected), Some(0), Some(0)]
            if passed + expected == total && passed > 0 =>
        {
            Ok(format!("{total:>5} {name}, of which {expected} end otherwise"))
        }
        _ => Err(format!("{name} counts {counts:?}: {said}")),
    }
}

#[test]
#[ignore = "needs the scripts: tests/interop/fetch-tlsfuzzer"]
fn scripts_of_tlsfuzzer_get_what_is_due() {
    let is_there = PathBuf::from(FOLDER).join("tlsfuzzer/scripts").is_dir();
    assert!(is_there, "the scripts are not there: tests/interop/fetch-tlsfuzzer brings them");
    let (stage, server) = (Stage::new(), answering());
    let gateway = gateway(&stage, server.address);
    let (left, failures) = (Mutex::new(SCRIPTS.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let next = || left.lock().expect("no panic").next();
                while let Some(script) = next() {
                    match run(script, &gateway, &stage) {
                        Ok(counts) => println!("{counts}"),
                        Err(failure) => failures.lock().expect("no panic").push(failure),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic");
    assert!(failures.is_empty(), "{} scripts fail:\n{}", failures.len(), failures.join("\n\n"));
    gateway.stop();
}
