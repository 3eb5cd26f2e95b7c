//! A reader of PROXY headers that is not ours, to compare ours with: for the fuzz targets, and for
//! the tests of `wire`, which include this file by its path.

use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, v1, v2};

/// Source and destination in a header of TCP, addresses of IPv4 as such, and the fields of version
/// 2; `None`: it is no such header.
pub(crate) fn read(header: &[u8]) -> Option<([SocketAddr; 2], Vec<u8>)> {
    let ends = |source: (IpAddr, u16), destination: (IpAddr, u16)| {
        [source, destination].map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
    };
    let v4 = |it: v1::IPv4| {
        let (from, to) = (it.source_address.into(), it.destination_address.into());
        ends((from, it.source_port), (to, it.destination_port))
    };
    let v6 = |it: v1::IPv6| {
        let (from, to) = (it.source_address.into(), it.destination_address.into());
        ends((from, it.source_port), (to, it.destination_port))
    };
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(it) => Some((v4(it), Vec::new())),
            v1::Addresses::Tcp6(it) => Some((v6(it), Vec::new())),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) if header.protocol == v2::Protocol::Stream => {
            let ends = match header.addresses {
                v2::Addresses::IPv4(it) => v4(it),
                v2::Addresses::IPv6(it) => v6(it),
                v2::Addresses::Unix(_) | v2::Addresses::Unspecified => return None,
            };
            let is_whole = header.tlvs().all(|field| field.is_ok());
            is_whole.then(|| (ends, header.tlv_bytes().to_vec()))
        }
        HeaderResult::V1(Err(_)) | HeaderResult::V2(_) => None,
    }
}
