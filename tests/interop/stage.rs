//! Where TLS of others ends at a gateway, or begins: files, gateways and a plain server's file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::nginx::Nginx;
use crate::program::{output, program};
use crate::support::config::upstream;
use crate::support::gateway::{Gateway, Home};
use crate::support::network::free_port;
use crate::support::tls::{self, Authority};

/// The name in every certificate.
pub(crate) const NAME: &str = "db.example.com";
/// What every server here answers a request with, many times over.
pub(crate) const WORDS: &str = "0123456789abcdef";
pub(crate) const TIMES: usize = 200_000;

/// An authority whose file others read.
pub(crate) struct Stage {
    pub(crate) home: Arc<Home>,
    pub(crate) authority: Authority,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let (home, authority) = (Home::new(), Authority::new());
        authority.write(&home, "ca.pem");
        Stage { home, authority }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A gateway where TLS ends.
    pub(crate) fn gateway(&self, tls: &str, rest: &str) -> Gateway {
        let pair = self.authority.issue(&[NAME], 2090).write(&self.home, "edge");
        tls::start(&self.home, &tls::edge(&[pair], tls, "", rest))
    }

    /// A gateway where TLS towards this server begins.
    pub(crate) fn towards(&self, address: SocketAddr) -> Gateway {
        let ca = self.file("ca.pem").display().to_string();
        let keys = format!("tls = {{ ca = {ca:?}, server_name = {NAME:?} }}\n");
        let config = "[listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n".to_owned();
        Gateway::start(&(config + &upstream("app", &[address]) + &keys))
    }

    /// Nginx with a file, which is spoken to in TLS or not.
    pub(crate) fn nginx(&self, is_secure: bool) -> (Nginx, SocketAddr) {
        let port = free_port();
        self.authority.issue(&[NAME], 2090).write(&self.home, "server");
        std::fs::write(self.file("file"), WORDS.repeat(TIMES)).expect("it is written");
        let (certificate, key) = (self.file("server.pem"), self.file("server.key"));
        let secure = match is_secure {
            true => format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                certificate.display(),
                key.display()
            ),
            false => String::new(),
        };
        let listen = if is_secure { " ssl" } else { "" };
        let nginx = Nginx::start(
            &format!(
                "server {{ listen 127.0.0.1:{port}{listen}; {secure} root {}; \
                 location /small {{ return 200 \"small\"; }} }}",
                self.home.path().display()
            ),
            "",
        );
        let address = nginx.address(port);
        (nginx, address)
    }

    pub(crate) fn curl(
        &self,
        gateway: &Gateway,
        scheme: &str,
        path: &str,
        more: &[&str],
    ) -> String {
        let mut command = program("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "60"]).args(more);
        command.arg("--cacert").arg(self.file("ca.pem"));
        let edge = gateway.address("edge");
        command.arg("--connect-to").arg(format!("{NAME}:{}:{edge}", edge.port()));
        output(command.arg(format!("{scheme}://{NAME}:{}/{path}", edge.port())))
    }
}
