//! TLS servers of Python, each with a certificate of its own, that say what they see of a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::program::{Daemon, folder, output, program};
use crate::support::network::free_port;

/// Answers every GET with its letter and what the client asked for. A handshake has a thread of its
/// own: a browser opens connections that it may never use.
const SERVER: &str = r#"
import http.server, ssl, sys

letter, port, folder = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
context.set_alpn_protocols(["http/1.1"])
def remember(tls, name, _):
    tls.asked_for = name
context.sni_callback = remember

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        tls = self.connection
        asked_for, agreed = getattr(tls, "asked_for", None), tls.selected_alpn_protocol()
        body = f"{letter} {asked_for} {tls.version()} {agreed}".encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    def finish_request(self, request, address):
        request.settimeout(60)
        with context.wrap_socket(request, server_side=True) as tls:
            Page(tls, address, self)
            tls.unwrap()
    def handle_error(self, request, address):
        pass

Server(("127.0.0.1", int(port)), Page).serve_forever()
"#;

/// What a server says of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) letter: char,
    /// The name that the client asked for, or "None".
    pub(crate) name: String,
    pub(crate) version: String,
    /// The protocol that was agreed on, or "None".
    pub(crate) protocol: String,
}

impl Seen {
    /// Reads the body of an answer, with or without its head.
    pub(crate) fn read(answer: &str) -> Seen {
        let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default();
        let words: Vec<&str> = body.split_whitespace().collect();
        let [letter, name, version, protocol] = words[..] else { panic!("no answer: {answer:?}") };
        let letter = letter.parse().expect("a letter");
        let [name, version, protocol] = [name, version, protocol].map(str::to_owned);
        Seen { letter, name, version, protocol }
    }
}

/// A server that is known by its letter.
pub(crate) struct Tls {
    _daemon: Daemon,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Tls {
    /// Starts one, with a certificate for this name.
    pub(crate) fn start(letter: char, name: &str) -> Tls {
        let (folder, port) = (folder("tls"), free_port());
        // Without the host's own file, which makes an authority of it: no server may be one.
        std::fs::write(folder.join("config"), "[req]\ndistinguished_name = name\n[name]\n")
            .expect("a config");
        let mut command = program("openssl");
        command.arg("req").arg("-config").arg(folder.join("config"));
        command.args(["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=interop"]);
        command.arg("-addext").arg(format!("subjectAltName=DNS:{name}"));
        command.arg("-keyout").arg(folder.join("key.pem"));
        output(command.arg("-out").arg(folder.join("cert.pem")));
        let mut command = program("python3");
        command.args(["-c", SERVER, &letter.to_string(), &port.to_string()]).arg(&folder);
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let daemon = Daemon::start(&mut command, folder.clone(), address);
        Tls { _daemon: daemon, folder, address }
    }

    /// The certificate, which has signed itself: no other server passes where it is trusted.
    pub(crate) fn certificate(&self) -> PathBuf {
        Path::new(&self.folder).join("cert.pem")
    }
}
