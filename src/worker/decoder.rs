//! What a listener asks its clients' first bytes, and what they say.

use std::fmt::Debug;
use std::time::Duration;

use crate::base::{PreambleFault, RouteId};
use crate::config::Preamble;
use crate::tls::{ClientCertificate, Suite};
use crate::wire::{Certificate, Ends, Ssl, proxy_ssl};

/// Says what a client's first bytes, or those after another decoder's, come to.
pub trait Decoder: Debug + Send + Sync {
    /// Judges all that was read so far, which is more each time and never nothing. `answer` is the
    /// last one that it had the client given, whose request is not among the bytes.
    fn judge(&self, bytes: &[u8], answer: &[u8]) -> Judgement;

    /// How long it may be. What is read of a client is at most this and a buffer.
    fn most_bytes(&self) -> usize;
}

/// What a client's first bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// They are not all of it.
    More,
    /// The client waits for an answer before it goes on.
    Answer {
        /// So many are nobody's but ours.
        taken_bytes: usize,
        /// What it gets.
        say: &'static [u8],
    },
    /// They are.
    Done {
        /// So many are nobody's but ours: who comes next, in the end the server, gets what follows.
        taken_bytes: usize,
        /// What they say.
        told: Told,
    },
    /// They cannot be it.
    Bad(PreambleFault),
}

/// What a client's first bytes say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whose connection it is, where another has forwarded it, and where that came.
    pub ends: Option<Ends>,
    /// Fields of the header that it came with.
    pub fields: Box<[u8]>,
    /// The route of those that ask for the same.
    pub route: Option<RouteId>,
    /// The name of the server that it asks for.
    pub name: Option<Box<str>>,
    /// The protocol agreed on with it, or else the first one that it offers to speak.
    pub protocol: Option<Box<[u8]>>,
    /// How it speaks TLS, where that ends here and its server is to hear of it.
    pub tls: Option<Box<ToldTls>>,
    /// What the server is to be asked, as the client has asked us.
    pub request: Option<Request>,
}

/// What a server is asked before it gets the client's bytes, where it is one across a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The words.
    pub bytes: &'static [u8],
    /// All of the answer that lets it have them. With any other one the server has failed.
    pub consent: &'static [u8],
}

impl Told {
    /// What a later decoder has found.
    pub(super) fn add(&mut self, later: Told) {
        let Told { ends, fields, route, name, protocol, tls, request } = later;
        self.ends = self.ends.or(ends);
        if self.fields.is_empty() {
            self.fields = fields;
        }
        self.route = self.route.or(route);
        self.name = self.name.take().or(name);
        self.protocol = self.protocol.take().or(protocol);
        self.tls = self.tls.take().or(tls);
        self.request = self.request.or(request);
    }
}

/// How a client speaks TLS, for its server. It is gone when the header is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldTls {
    suite: Suite,
    certificate: Option<ClientCertificate>,
    is_resumed: bool,
}

impl ToldTls {
    /// Of a handshake. Without `gets_der` the certificate itself is dropped.
    pub(super) fn of(
        suite: Suite,
        mut certificate: Option<ClientCertificate>,
        is_resumed: bool,
        gets_der: bool,
    ) -> ToldTls {
        if let Some(certificate) = certificate.as_mut().filter(|_| !gets_der) {
            certificate.der = Box::default();
        }
        ToldTls { suite, certificate, is_resumed }
    }

    /// The value of a header's field.
    pub(super) fn field(&self) -> Vec<u8> {
        let certificate = self.certificate.as_ref().map(|certificate| Certificate {
            common_name: certificate.common_name.as_deref(),
            der: Some(&certificate.der[..]).filter(|der| !der.is_empty()),
            is_earlier: self.is_resumed,
        });
        let cipher = self.suite.spoken_name();
        let mut field = Vec::new();
        let ssl = Ssl { version: self.suite.version(), cipher: &cipher, certificate };
        proxy_ssl(&ssl, &mut field);
        field
    }
}

/// How the clients of a listener are read before a server is chosen.
#[derive(Debug)]
pub struct Preface {
    /// Judge what they say, one after the other.
    pub decoders: Vec<Box<dyn Decoder>>,
    /// How long the whole of it may take, from the accept on.
    pub within: Duration,
    /// Whose clients are read; `None`: all are.
    pub trust: Option<Preamble>,
}
