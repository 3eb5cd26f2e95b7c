//! The body for messages of workers in a handover.

use portcullis::wire::handover::{Message, RECORD_BYTES};

/// The shortest record that is read.
const SHORTEST: usize = 12;

/// How long the sender's records are, in a byte, and a message: it is refused in words, or what
/// was read of it is the same when it is written and read once more.
pub(crate) fn handover(data: &[u8]) {
    let Some((&longer, message)) = data.split_first() else { return };
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
        }
        Err(bad) => assert!(bad.to_string().len() > 10, "{bad:?}"),
    }
}
