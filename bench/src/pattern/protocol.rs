//! What scenarios and `serve` say to each other before and after the bytes that count.

use super::run::Pattern;
use super::wrong::{self, HELLO_SEED, Wrong};

/// What a request for `serve` begins with: one that bytes follow, and one for a receipt.
const TRANSFER: [u8; 8] = *b"PCBENCH2";
const RECEIPT: [u8; 8] = *b"PCRECPT2";

/// Magic, run, seed and length, eight bytes each, little-endian.
pub(crate) const HEADER_BYTES: usize = 32;

/// The length of the greeting of a server that speaks first, in the pattern of [`HELLO_SEED`].
pub(crate) const HELLO_BYTES: u32 = 32;

/// Takes a piece of a greeting of which so many bytes are missing; whether it is whole now.
pub(crate) fn greeted(missing_bytes: &mut u32, arrived: &[u8]) -> Result<bool, String> {
    let mut next = Pattern::new(HELLO_SEED);
    next.position = u64::from(HELLO_BYTES - *missing_bytes);
    wrong::take(&mut next, u64::from(*missing_bytes), arrived)?;
    *missing_bytes -= arrived.len() as u32;
    Ok(*missing_bytes == 0)
}

/// What a scenario asks of a server that is no echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: Request,
    /// Tells receipts of one run from those of another.
    pub(crate) run: u64,
    /// Of the pattern that follows, or is to follow.
    pub(crate) seed: u64,
    /// How much the server is to send.
    pub(crate) length_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Bytes, this way or that or both.
    Transfer,
    /// What came of a transfer on another connection.
    Receipt,
}

impl Asked {
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let magic = match self.what {
            Request::Transfer => TRANSFER,
            Request::Receipt => RECEIPT,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&magic);
        bytes[8..16].copy_from_slice(&self.run.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.seed.to_le_bytes());
        bytes[24..].copy_from_slice(&self.length_bytes.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8; HEADER_BYTES]) -> Option<Asked> {
        let what = match bytes[..8].try_into().expect("eight bytes") {
            TRANSFER => Request::Transfer,
            RECEIPT => Request::Receipt,
            _ => return None,
        };
        let [run, seed, length_bytes] = [8, 16, 24].map(|at| word(&bytes[at..at + 8]));
        Some(Asked { what, run, seed, length_bytes })
    }
}

/// The beginning of what a client sends, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    bytes: [u8; HEADER_BYTES],
    have: u8,
}

impl Header {
    /// Takes what belongs to the header; the rest of it, and what is asked when it becomes whole.
    pub(crate) fn take<'a>(&mut self, arrived: &'a [u8]) -> (&'a [u8], Option<Asked>) {
        let have = usize::from(self.have);
        let count = arrived.len().min(HEADER_BYTES - have);
        let (mine, rest) = arrived.split_at(count);
        self.bytes[have..have + count].copy_from_slice(mine);
        self.have += count as u8;
        (rest, if count > 0 { self.asked() } else { None })
    }

    /// What a scenario has asked.
    pub(crate) fn asked(&self) -> Option<Asked> {
        if usize::from(self.have) == HEADER_BYTES { Asked::of(&self.bytes) } else { None }
    }
}

/// What a server says about what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Behind the header.
    pub(crate) bytes: u64,
    /// What was wrong first.
    pub(crate) wrong: Option<Wrong>,
}

impl Receipt {
    pub(crate) const BYTES: u32 = 40;

    /// The transfer has not ended, or nobody has heard of it.
    pub(crate) const NOT_YET: Receipt = Receipt { bytes: u64::MAX, wrong: None };

    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let wrong = self.wrong.map_or([0; 4], Wrong::to_words);
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.bytes.to_le_bytes());
        for (place, word) in bytes[8..].chunks_exact_mut(8).zip(wrong) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn of(bytes: &[u8; 40]) -> Receipt {
        let wrong = [8, 16, 24, 32].map(|at| word(&bytes[at..at + 8]));
        Receipt { bytes: word(&bytes[..8]), wrong: Wrong::of(wrong) }
    }

    /// What does not agree with so many bytes that were sent.
    pub(crate) fn complaint(self, server: &str, sent_bytes: u64) -> Option<String> {
        match self {
            Receipt { wrong: Some(wrong), .. } => {
                Some(format!("wrong bytes at the {server}: {wrong}"))
            }
            Receipt { bytes, .. } if bytes < sent_bytes => {
                Some(format!("bytes were lost: the {server} got fewer than were sent"))
            }
            Receipt { bytes, .. } if bytes > sent_bytes => {
                Some(format!("the {server} got more bytes than were sent"))
            }
            Receipt { .. } => None,
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::wrong::Kind;

    #[test]
    fn a_header_is_taken_however_it_is_cut() {
        let asked = Asked { what: Request::Receipt, run: 5, seed: 7, length_bytes: 9 };
        let mut bytes = asked.to_bytes().to_vec();
        bytes.extend(b"rest");
        for cut in 0..=bytes.len() {
            let mut header = Header::default();
            let (first, one) = header.take(&bytes[..cut]);
            let (second, two) = header.take(&bytes[cut..]);
            assert_eq!([first, second].concat(), b"rest", "cut at {cut}");
            assert_eq!(one.or(two), Some(asked));
            assert_eq!(header.asked(), Some(asked));
        }
        let mut other = Header::default();
        assert_eq!(other.take(&[b'x'; 40]), (&[b'x'; 8][..], None));
        assert_eq!(other.asked(), None);
    }

    #[test]
    fn a_greeting_is_taken_in_pieces_and_nothing_else_is() {
        let mut hello = [0; 33];
        Pattern::new(HELLO_SEED).fill(&mut hello);
        for cut in 1..32 {
            let mut missing = HELLO_BYTES;
            assert_eq!(greeted(&mut missing, &hello[..cut]), Ok(false));
            assert_eq!(greeted(&mut missing.clone(), &hello[cut..32]), Ok(true));
            assert!(greeted(&mut missing.clone(), &hello[cut..]).is_err());
            assert!(greeted(&mut missing, &hello[cut + 1..]).is_err());
        }
    }

    #[test]
    fn a_receipt_survives_the_round_trip() {
        let wrong = Wrong { place: 7, kind: Kind::Another { seed: 8, place: 9 } };
        let all = [None, Some(wrong)].map(|wrong| Receipt { bytes: 99, wrong });
        for receipt in all.into_iter().chain([Receipt::NOT_YET]) {
            assert_eq!(Receipt::of(&receipt.to_bytes()), receipt);
        }
    }
}
