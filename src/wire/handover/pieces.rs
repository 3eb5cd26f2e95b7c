//! Batches that are longer than a message: they travel in pieces, the sockets with the last.
//!
//! ```text
//! Piece  4 | more follow 1 | bytes        of the message that all of them make together
//! ```

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::reader::{Bad, Reader};
use super::{LONG_MAX, PIECE};

/// A kind, and whether more follow.
const HEAD: usize = 2;

/// A message in pieces of so many bytes each, in their order.
///
/// # Panics
///
/// If a piece of so many bytes has no room for any of it.
pub fn in_pieces(message: &[u8], piece_bytes: usize) -> VecDeque<Zeroizing<Vec<u8>>> {
    let all = message.chunks(piece_bytes.saturating_sub(HEAD));
    let last = all.len().saturating_sub(1);
    let piece = |(nth, bytes): (usize, &[u8])| {
        // It may have secrets, and a vector that grows leaves them behind.
        let mut piece = Zeroizing::new(Vec::with_capacity(HEAD + bytes.len()));
        piece.extend_from_slice(&[PIECE, u8::from(nth < last)]);
        piece.extend_from_slice(bytes);
        piece
    };
    all.enumerate().map(piece).collect()
}

/// The pieces of a message that have come.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Zeroizing<Vec<u8>>>,
    bytes: usize,
}

impl Pieces {
    /// Takes in what has come: the message that it is or ends, if it does.
    ///
    /// # Errors
    ///
    /// Where a message comes between the pieces of another, a piece is none, or all of them make
    /// more than [`LONG_MAX`] bytes.
    pub fn add(&mut self, message: Vec<u8>) -> Result<Option<Zeroizing<Vec<u8>>>, Bad> {
        let message = Zeroizing::new(message);
        if message.first() != Some(&PIECE) {
            return match self.pieces.is_empty() {
                true => Ok(Some(message)),
                false => Err(Bad::Between { bytes: self.bytes }),
            };
        }
        let [_, more] = Reader::new(&message).number("head of a piece")?;
        self.bytes += message.len() - HEAD;
        if self.bytes > LONG_MAX {
            return Err(Bad::Long { bytes: self.bytes });
        }
        self.pieces.push(message);
        if more > 0 {
            return Ok(None);
        }
        let mut whole = Zeroizing::new(Vec::with_capacity(self.bytes));
        std::mem::take(self)
            .pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(&piece[HEAD..]));
        Ok(Some(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_pieces_is_whole_with_the_last() {
        let message: Vec<u8> = (0..100).collect();
        for piece_bytes in 3..120 {
            let mut pieces = Pieces::default();
            let mut sent = in_pieces(&message, piece_bytes);
            let last = sent.pop_back().expect("there is one");
            for piece in sent {
                assert!(piece.len() <= piece_bytes);
                assert_eq!(pieces.add(piece.to_vec()), Ok(None));
            }
            let whole = pieces.add(last.to_vec()).expect("it is right").expect("it is whole");
            assert_eq!(*whole, message);
            assert_eq!(pieces.add(vec![9]), Ok(Some(Zeroizing::new(vec![9]))), "it begins again");
        }
    }

    #[test]
    fn what_is_no_piece_may_not_come_between_them() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add(vec![PIECE, 1, 7, 7]), Ok(None));
        assert_eq!(pieces.add(vec![1, 2, 3]), Err(Bad::Between { bytes: 2 }));
    }

    #[test]
    fn pieces_have_bounds() {
        assert!(matches!(Pieces::default().add(vec![PIECE]), Err(Bad::Short { .. })));
        let mut pieces = Pieces::default();
        let mut piece = vec![0; 1 << 20];
        piece[..HEAD].copy_from_slice(&[PIECE, 1]);
        let long = (0..).find_map(|_| pieces.add(piece.clone()).err());
        assert!(matches!(long, Some(Bad::Long { bytes }) if bytes > LONG_MAX), "{long:?}");
    }
}
