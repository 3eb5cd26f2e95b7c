//! TLS hellos of clients.

/// Bytes behind their length, which takes so many bytes.
fn sized(length_bytes: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&length[4 - length_bytes..], bytes].concat()
}

fn extension(kind: u16, bytes: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(2, bytes)].concat()
}

/// A ClientHello that asks for this name and offers these protocols, with a key share of so many
/// bytes, in records of at most so many.
pub(crate) fn hello(name: &str, protocols: &[&str], share: usize, record: usize) -> Vec<u8> {
    let mut extensions = extension(51, &vec![7; share]);
    if !name.is_empty() {
        let name = [&[0][..], &sized(2, name.as_bytes())].concat();
        extensions.extend(extension(0, &sized(2, &name)));
    }
    if !protocols.is_empty() {
        let all: Vec<u8> = protocols.iter().flat_map(|one| sized(1, one.as_bytes())).collect();
        extensions.extend(extension(16, &sized(2, &all)));
    }
    let (version, random) = ([3, 3], [9; 32]);
    let (suites, compressions) = (sized(2, &[0x13, 1]), sized(1, &[0]));
    let body = [
        &version[..],
        &random,
        &sized(1, &[5; 32]),
        &suites,
        &compressions,
        &sized(2, &extensions),
    ];
    let message = [&[1][..], &sized(3, &body.concat())].concat();
    let pieces = message.chunks(record).map(|piece| [&[22, 3, 1][..], &sized(2, piece)].concat());
    pieces.flatten().collect()
}
