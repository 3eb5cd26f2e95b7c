//! The body for messages of workers in a handover.

use portcullis::tls::Session;
use portcullis::wire::handover::{
    Departure, Extra, Message, Pieces, RECORD_BYTES, SecuredSide, TlsFacts, in_pieces,
};

/// The shortest record that is read.
const SHORTEST: usize = 12;

/// How long the sender's records are, in a byte, and a message: it is refused in words, or what
/// was read of it is the same when it is written and read once more. So are extras about TLS, and
/// the message as one of them.
pub(crate) fn handover(data: &[u8]) {
    let Some((&longer, message)) = data.split_first() else { return };
    secured(message);
    facts(message);
    pieces(message);
    match Message::decode(message, SHORTEST + usize::from(longer)) {
        Ok(read) => {
            let is_plain = match &read {
                // The lanes of a record that is not understood speak of bytes that were not read.
                Message::Batch(batch) => batch.records.iter().all(|it| it.record.is_understood()),
                _ => true,
            };
            let mut written = Vec::new();
            read.encode(RECORD_BYTES, &mut written);
            let again = Message::decode(&written, RECORD_BYTES);
            assert!(!is_plain || again.as_ref() == Ok(&read), "{read:?}, then {again:?}");
            if let Message::Batch(batch) = &read {
                batch.records.iter().flat_map(|it| &it.extras).for_each(extra);
            }
        }
        Err(bad) => assert!(bad.to_string().len() > 10, "{bad:?}"),
    }
}

/// A message is whole again after its pieces; and any messages, each behind its length, are pieces
/// or refused.
fn pieces(message: &[u8]) {
    let mut come = Pieces::default();
    let sent = in_pieces(message, 3 + message.len() % 97);
    let whole = sent.into_iter().filter_map(|piece| come.add(piece.to_vec()).expect("a piece"));
    assert!(message.is_empty() || whole.map(|whole| whole.to_vec()).eq([message]));
    let (mut come, mut rest) = (Pieces::default(), message);
    while let Some((&length, more)) = rest.split_first() {
        let (one, after) = more.split_at(more.len().min(length.into()));
        match come.add(one.to_vec()) {
            Ok(_) => rest = after,
            Err(bad) => return assert!(bad.to_string().len() > 10, "{bad:?}"),
        }
    }
}

fn extra(extra: &Extra) {
    match extra.kind {
        Departure::CLIENT_SESSION | Departure::SERVER_SESSION => secured(&extra.bytes),
        Departure::TLS_FACTS => facts(&extra.bytes),
        _ => {}
    }
}

fn secured(bytes: &[u8]) {
    match SecuredSide::from_bytes(bytes) {
        Ok(side) => {
            assert_eq!(side.to_bytes()[..], *bytes);
            if let Ok(session) = Session::from_bytes(&side.session) {
                assert_eq!(session.to_bytes()[..], side.session[..], "another session");
            }
        }
        Err(bad) => assert!(bad.to_string().len() > 10, "{bad:?}"),
    }
}

fn facts(bytes: &[u8]) {
    match TlsFacts::from_bytes(bytes) {
        Ok(facts) => assert_eq!(facts.to_bytes(), bytes),
        Err(bad) => assert!(bad.to_string().len() > 10, "{bad:?}"),
    }
}
