//! The stream of a check, with a session of TLS over it where its server is spoken to in TLS.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::TlsFault;
use crate::tls::{
    self, ALERT_BYTES, Alert, Awake, Connector, HEAD_BYTES, Opened, PLAIN_MAX, Session, State,
    TAIL_BYTES, UpstreamMaterials,
};
use crate::upstream::Failure;

/// What a check says its words to and hears its answer from.
pub(super) struct Channel {
    stream: TcpStream,
    secured: Option<Secured>,
}

struct Secured {
    session: Session,
    awake: Awake,
    /// Records that are not opened.
    came: Vec<u8>,
}

/// Why a handshake has come to nothing.
pub(super) enum Fault {
    /// The server's part of it was wrong.
    Tls(TlsFault),
    /// It ended its stream.
    Ended,
    /// The stream failed.
    Stream(io::Error),
}

impl Channel {
    pub(super) fn plain(stream: TcpStream) -> Channel {
        Channel { stream, secured: None }
    }

    /// Shakes hands with a server as connections of clients do. It gets `first` before all else.
    pub(super) async fn secure(
        mut stream: TcpStream,
        first: &[u8],
        materials: &UpstreamMaterials,
        address: SocketAddr,
    ) -> Result<Channel, Fault> {
        let ours = |_| Fault::Tls(TlsFault::Other);
        let connector = Connector::new(&materials.plan()).map_err(ours)?;
        let name = materials.server_name.clone();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
        let mut handshake = connector.begin(name).map_err(ours)?;
        let mut words = [first, &handshake.words()].concat();
        let mut came = Vec::new();
        loop {
            stream.write_all(&words).await.map_err(Fault::Stream)?;
            if stream.read_buf(&mut came).await.map_err(Fault::Stream)? == 0 {
                return Err(Fault::Ended);
            }
            let taken = handshake.take(&came);
            came.drain(..taken.used_bytes);
            words = handshake.words();
            match taken.state {
                State::More => {}
                State::Done(established) => {
                    stream.write_all(&words).await.map_err(Fault::Stream)?;
                    let session = established.session;
                    let secured = Some(Secured { session, awake: Awake::default(), came });
                    return Ok(Channel { stream, secured });
                }
                State::Failed(fault) => {
                    // The server may hear why, and nothing comes of it if not.
                    let _ = stream.write_all(&words).await;
                    return Err(Fault::Tls(fault.into()));
                }
            }
        }
    }

    pub(super) async fn say(&mut self, words: &[u8]) -> io::Result<()> {
        let Some(Secured { session, awake, .. }) = &mut self.secured else {
            return self.stream.write_all(words).await;
        };
        for piece in words.chunks(PLAIN_MAX) {
            let mut memory = vec![0; HEAD_BYTES + piece.len() + TAIL_BYTES];
            let plain = HEAD_BYTES..HEAD_BYTES + piece.len();
            memory[plain.clone()].copy_from_slice(piece);
            let sealed = session.seal(awake, &mut memory, plain);
            self.stream.write_all(&memory[sealed]).await?;
        }
        Ok(())
    }

    /// Why the server ends the session at once: in TLS 1.3 it sees our certificate, or that there
    /// is none, when the handshake is over for us (RFC 8446, 4.4.2). We end our direction, so that
    /// a server that sends no tickets has something to say.
    pub(super) async fn refusal(&mut self) -> Option<Fault> {
        let secured = self.secured.as_mut().filter(|secured| secured.session.is_tls13())?;
        let mut memory = [0; ALERT_BYTES];
        let bytes = secured.session.alert(&mut secured.awake, &mut memory, Alert::CLOSE_NOTIFY);
        // A server that has ended the stream has said why.
        let _ = self.stream.write_all(&memory[..bytes]).await;
        match secured.next(&mut self.stream).await {
            Err(Next::Fault(fault)) => Some(Fault::Tls(fault.into())),
            Ok(_) | Err(Next::Stream(_)) => None,
        }
    }

    /// Appends what comes to `answer`, and says how much: nothing at the end of the stream.
    pub(super) async fn hear(&mut self, answer: &mut Vec<u8>) -> io::Result<usize> {
        let Some(secured) = &mut self.secured else { return self.stream.read_buf(answer).await };
        loop {
            match secured.next(&mut self.stream).await {
                Ok(Came::Data(data)) => {
                    answer.extend_from_slice(&data);
                    return Ok(data.len());
                }
                Ok(Came::Nothing) => {}
                Ok(Came::End) => return Ok(0),
                Err(Next::Stream(error)) => return Err(error),
                Err(Next::Fault(fault)) => {
                    let failure = Failure::Tls(TlsFault::from(fault));
                    return Err(io::Error::other(failure.to_string()));
                }
            }
        }
    }
}

/// What a record of a server came to.
enum Came {
    Data(Vec<u8>),
    Nothing,
    End,
}

/// Why there is no next record.
enum Next {
    Fault(tls::Fault),
    Stream(io::Error),
}

impl Secured {
    /// Takes the next record.
    async fn next(&mut self, stream: &mut TcpStream) -> Result<Came, Next> {
        let mut record: Vec<u8> = loop {
            let bytes = self.session.record_bytes(&self.came).map_err(Next::Fault)?;
            if let Some(bytes) = bytes.filter(|bytes| self.came.len() >= *bytes) {
                break self.came.drain(..bytes).collect();
            }
            if stream.read_buf(&mut self.came).await.map_err(Next::Stream)? == 0 {
                return Ok(Came::End);
            }
        };
        match self.session.open(&mut self.awake, &mut record).map_err(Next::Fault)? {
            Opened::Data(data) => Ok(Came::Data(record[data].to_vec())),
            Opened::Nothing => Ok(Came::Nothing),
            Opened::Closed => Ok(Came::End),
        }
    }
}
