//! MQTT by mosquitto: clients whose TLS ends at the gateway, and a broker of TLS behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use crate::program::{Daemon, folder, output, program};
use crate::stage::{NAME, Stage};
use crate::support::config::upstream;
use crate::support::gateway::Gateway;
use crate::support::network::free_port;
use crate::support::tls;
use crate::typed::Typed;

/// A broker with these settings of its listener.
fn broker(settings: &str) -> (Daemon, SocketAddr) {
    let (folder, port) = (folder("mosquitto"), free_port());
    // Were it another user, it could not read what is ours.
    let config = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n{settings}");
    std::fs::write(folder.join("config"), config).expect("it is written");
    let mut command = program("mosquitto");
    command.arg("-c").arg(folder.join("config")).stderr(Stdio::null());
    let address = (Ipv4Addr::LOCALHOST, port).into();
    (Daemon::start(&mut command, folder, address), address)
}

/// One of mosquitto's clients, by a gateway.
fn client(name: &str, host: &str, gateway: &Gateway, more: &[String]) -> Command {
    let mut command = program(name);
    let port = gateway.address("edge").port().to_string();
    command.args(["-h", host, "-p", &port, "-q", "1", "-t", "room"]).args(more);
    command
}

/// Words and a large message go from one client to another.
fn talk(host: &str, gateway: &Gateway, more: &[String]) {
    // What is kept says that who listens is there.
    output(client("mosquitto_pub", host, gateway, more).args(["-r", "-m", "begin"]));
    let mut listening = Typed::start(&mut client("mosquitto_sub", host, gateway, more));
    listening.hears("begin\n");
    for turn in 0..3 {
        let words = format!("words {turn}");
        output(client("mosquitto_pub", host, gateway, more).args(["-m", &words]));
        listening.hears(&format!("{words}\n"));
    }
    let folder = folder("message");
    let (file, message) = (folder.join("message"), "0123456789".repeat(50_000));
    std::fs::write(&file, &message).expect("it is written");
    output(client("mosquitto_pub", host, gateway, more).arg("-r").arg("-f").arg(&file));
    listening.hears(&message);
    // It is kept for those who come later.
    let kept = output(client("mosquitto_sub", host, gateway, more).args(["-C", "1"]));
    assert!(kept.trim_end() == message, "{} bytes were kept", kept.len());
    std::fs::remove_dir_all(folder).expect("ours");
}

/// Flags of a client that speaks TLS.
fn secure(stage: &Stage, version: &str) -> Vec<String> {
    let ca = stage.file("ca.pem").display().to_string();
    ["--cafile", &ca, "--tls-version", version].map(str::to_owned).to_vec()
}

#[test]
fn clients_of_mosquitto_speak_to_a_plain_broker() {
    let (stage, (_broker, address)) = (Stage::new(), broker(""));
    // A host that is an address is an address in what the client asks for, too.
    for host in ["localhost", "127.0.0.1"] {
        let pair = stage.authority.issue(&[host], 2090).write(&stage.home, "edge");
        let config = tls::edge(&[pair], "", "", &upstream("app", &[address]));
        let gateway = tls::start(&stage.home, &config);
        for version in ["tlsv1.2", "tlsv1.3"] {
            talk(host, &gateway, &secure(&stage, version));
        }
        gateway.stop();
    }
}

#[test]
fn clients_of_mosquitto_show_certificates() {
    let (stage, (_broker, address)) = (Stage::new(), broker(""));
    let edge = stage.authority.issue(&["localhost"], 2090).write(&stage.home, "edge");
    stage.authority.issue(&["client"], 2090).write(&stage.home, "client");
    let ca = format!(", client_ca = {:?}", stage.file("ca.pem").display().to_string());
    let config = tls::edge(&[edge], &ca, "", &upstream("app", &[address]));
    let gateway = tls::start(&stage.home, &config);
    for (turn, version) in ["tlsv1.2", "tlsv1.3"].into_iter().enumerate() {
        let mut flags = secure(&stage, version);
        let mut stranger = client("mosquitto_pub", "localhost", &gateway, &flags);
        let refused = stranger.args(["-m", "x"]).output().expect("an installed program runs");
        assert!(!refused.status.success(), "{refused:?}");
        let failed = "portcullis_tls_failed_total";
        let refusals = tls::metric(&gateway, failed, "reason=\"no-certificate\"");
        assert_eq!(refusals, turn as u64 + 1);
        for (flag, file) in [("--cert", "client.pem"), ("--key", "client.key")] {
            flags.extend([flag.to_owned(), stage.file(file).display().to_string()]);
        }
        talk("localhost", &gateway, &flags);
    }
    gateway.stop();
}

#[test]
fn plain_clients_speak_to_a_broker_of_tls() {
    let stage = Stage::new();
    stage.authority.issue(&[NAME], 2090).write(&stage.home, "server");
    let own = stage.authority.issue(&["gateway"], 2090).write(&stage.home, "own");
    let file = |name| stage.file(name).display().to_string();
    let settings = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\n",
        file("ca.pem"),
        file("server.pem"),
        file("server.key")
    );
    for wants in ["", "require_certificate true\n"] {
        for version in ["tlsv1.2", "tlsv1.3"] {
            let (_broker, address) = broker(&format!("{settings}{wants}tls_version {version}\n"));
            let ca = file("ca.pem");
            let shown = if wants.is_empty() { "" } else { &format!(", {own}") };
            let keys = format!("tls = {{ ca = {ca:?}, server_name = {NAME:?}{shown} }}\n");
            let edge = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n";
            let app = upstream("app", &[address]);
            let gateway = Gateway::start(&format!("{edge}{app}{keys}"));
            talk("127.0.0.1", &gateway, &[]);
            gateway.stop();
        }
    }
}
