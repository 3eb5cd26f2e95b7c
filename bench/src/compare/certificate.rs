//! The certificate that every target with TLS shows, and a client that asks one for it.

use std::fs::write;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::tls::{Connector, ConnectorPlan, State};

/// The name in it: what scenarios ask for when they are not told.
const NAME: &str = "localhost";

/// Where it lies, as each proxy wants it. Its key is of P-256, as most are.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file.
    pub(crate) pair: PathBuf,
}

impl Files {
    /// Where they lie in a folder.
    pub(crate) fn within(folder: &Path) -> Files {
        let file = |name: &str| folder.join(name);
        Files { certificate: file("certificate.pem"), key: file("key.pem"), pair: file("pair.pem") }
    }

    /// Makes a certificate that signs itself.
    pub(crate) fn make(folder: &Path) -> io::Result<Files> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.map_err(io::Error::other)?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = Files::within(folder);
        write(&files.certificate, &certificate)?;
        write(&files.key, &key)?;
        write(&files.pair, certificate + &key)?;
        Ok(files)
    }
}

/// One handshake to its end, with anybody.
pub(crate) fn answers(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let plan = ConnectorPlan { roots: None, identity: None, alpn: Vec::new(), min_tls13: false };
    let connector = Connector::new(&plan).map_err(io::Error::other)?;
    let name = NAME.try_into().map_err(io::Error::other)?;
    let mut handshake = connector.begin(name).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut memory = [0; 4_096];
    loop {
        stream.write_all(&handshake.words())?;
        let bytes = stream.read(&mut memory)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match handshake.take(&memory[..bytes]).state {
            State::More => {}
            State::Done(_) => return stream.write_all(&handshake.words()),
            State::Failed(fault) => return Err(io::Error::other(fault)),
        }
    }
}
