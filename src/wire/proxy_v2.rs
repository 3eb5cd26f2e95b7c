//! A PROXY header of version 2: binary, with fields behind its addresses.

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc, Table};

use super::{Decoded, Ends, Facts, lacking};
use crate::base::PreambleFault;

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, a byte of version and command, one of family and transport, two of length.
pub(super) const HEAD: usize = SIGNATURE.len() + 4;
/// Bytes of fields behind the addresses, at most.
pub(super) const FIELDS_MAX: usize = 4096;
/// Bytes of the longest addresses: two paths of UNIX sockets.
const ADDRESSES_MAX: usize = 216;

/// Bytes of the longest header that is taken.
pub(super) const HEADER_MAX: usize = HEAD + ADDRESSES_MAX + FIELDS_MAX;

/// The field with a checksum of the whole header.
pub(super) const CHECKSUM: u8 = 0x03;
/// The one that it has: CRC-32C.
static CRC_32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// The addresses that a header has, by its byte of family and transport.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    V4,
    V6,
    /// So many bytes, of no connection that could be a client's of ours.
    Foreign(usize),
    /// The length is all that is known of them.
    Unspecified,
}

impl Addresses {
    fn of(family_and_transport: u8) -> Option<Addresses> {
        match family_and_transport {
            0x00 => Some(Addresses::Unspecified),
            0x11 => Some(Addresses::V4),
            0x21 => Some(Addresses::V6),
            // Datagrams over either, and UNIX sockets.
            0x12 => Some(Addresses::Foreign(12)),
            0x22 => Some(Addresses::Foreign(36)),
            0x31 | 0x32 => Some(Addresses::Foreign(ADDRESSES_MAX)),
            _ => None,
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Decoded<Facts<'_>> {
    match lacking(bytes, &SIGNATURE) {
        Some(0) => {}
        Some(more) => return Decoded::More(more + HEAD - SIGNATURE.len()),
        None => return Decoded::NotMine,
    }
    match whole(bytes) {
        Ok(Ok((used, facts))) => Decoded::Done { used, facts },
        Ok(Err(more)) => Decoded::More(more),
        Err(fault) => Decoded::Bad(fault),
    }
}

/// How long it is and what it says, or how many bytes are missing.
type Whole<'a> = Result<(usize, Facts<'a>), usize>;

/// Of bytes that begin with the signature. What cannot become right is refused at once.
fn whole(bytes: &[u8]) -> Result<Whole<'_>, PreambleFault> {
    let missing = |wanted: usize| Ok(Err(wanted - bytes.len()));
    let Some(command) = bytes.get(SIGNATURE.len()) else { return missing(HEAD) };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(PreambleFault::BadVersion),
    };
    let Some(family) = bytes.get(SIGNATURE.len() + 1) else { return missing(HEAD) };
    // The family of a LOCAL header is to be ignored, as all that follows it.
    let addresses = if is_local { Some(Addresses::Unspecified) } else { Addresses::of(*family) };
    let addresses = addresses.ok_or(PreambleFault::BadFamily)?;
    let Some([high, low]) = bytes.get(SIGNATURE.len() + 2..HEAD) else { return missing(HEAD) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (least, most) = match addresses {
        Addresses::V4 => (12, 12),
        Addresses::V6 => (36, 36),
        Addresses::Foreign(bytes) => (bytes, bytes),
        Addresses::Unspecified => (0, ADDRESSES_MAX),
    };
    if length < least {
        return Err(PreambleFault::BadLength);
    }
    if length > most + FIELDS_MAX {
        return Err(PreambleFault::TooLong);
    }
    let used = HEAD + length;
    let Some(header) = bytes.get(..used) else { return missing(used) };
    let block = &header[HEAD..];
    let ends = match addresses {
        // All of it is to be ignored.
        Addresses::Unspecified => return Ok(Ok((used, Facts { ends: None, fields: &[] }))),
        Addresses::Foreign(_) => None,
        Addresses::V4 => Some(ends::<4>(block)),
        Addresses::V6 => Some(ends::<16>(block)),
    };
    let fields = &block[least..];
    check(header, HEAD + least)?;
    Ok(Ok((used, Facts { ends, fields })))
}

/// Two addresses of so many bytes, and their ports.
fn ends<const BYTES: usize>(block: &[u8]) -> Ends
where
    IpAddr: From<[u8; BYTES]>,
{
    let ip = |at: usize| {
        let bytes: [u8; BYTES] = block[at..at + BYTES].try_into().expect("so many were taken");
        IpAddr::from(bytes).to_canonical()
    };
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    Ends {
        source: SocketAddr::new(ip(0), port(2 * BYTES)),
        destination: SocketAddr::new(ip(BYTES), port(2 * BYTES + 2)),
    }
}

/// The checksum of bytes that come in parts.
pub(super) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = CRC_32C.digest();
    parts.into_iter().for_each(|part| digest.update(part));
    digest.finalize()
}

/// The fields from `at` on fill the header, and its checksum is right, if it has one.
fn check(header: &[u8], mut at: usize) -> Result<(), PreambleFault> {
    let mut is_checked = false;
    while at < header.len() {
        let Some([kind, high, low]) = header[at..].first_chunk() else {
            return Err(PreambleFault::BadField);
        };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([*high, *low]));
        let field = header.get(value..at).ok_or(PreambleFault::BadField)?;
        if *kind != CHECKSUM {
            continue;
        }
        let said: [u8; 4] = field.try_into().map_err(|_| PreambleFault::BadField)?;
        if std::mem::replace(&mut is_checked, true) {
            return Err(PreambleFault::BadField);
        }
        // It is made with zeros in its own place.
        let sum = crc32c([&header[..value], &[0; 4], &header[at..]]);
        if sum != u32::from_be_bytes(said) {
            return Err(PreambleFault::BadChecksum);
        }
    }
    Ok(())
}
