//! The connections that moved most, and what they move now.

use std::collections::HashMap;

use super::cell::Cell;
use super::cell::Kind::{ByteRate, Bytes, Word};
use super::conns::{client, server};
use super::{Head, Moment, Row, Table};
use crate::api::conns::{Conn, Conns};

const HEADS: &[Head] = &[
    Head::new("connection", "id", Word, 0).means("its id, as kill takes it"),
    Head::new("client", "client", Word, 2).means("the address of its client"),
    Head::new("server", "server", Word, 3).means("its upstream and its server"),
    Head::new("to server/s", "to_upstream_bytes", ByteRate, 1).means("bytes from its client"),
    Head::new("to client/s", "to_client_bytes", ByteRate, 1).means("bytes to its client"),
    Head::new("moved", "bytes", Bytes, 4).means("bytes both ways since its accept"),
];

/// Rows of an answer that lists connections, the fastest first. Rates are those since an earlier
/// answer, unless that is another process's or there is none.
pub fn busiest(answer: &Conns, earlier: Option<&Conns>) -> Table {
    let rows = earlier.into_iter().flat_map(|earlier| &earlier.rows);
    let then: HashMap<&str, [u64; 2]> = rows.map(|conn| (conn.id.as_str(), moved(conn))).collect();
    let passed = earlier.and_then(|earlier| moment(answer).since(moment(earlier)));
    let rate = |now: u64, then: Option<u64>| Some(now.saturating_sub(then?) as f64 / passed?);
    let row = |conn: &Conn| {
        let now = moved(conn);
        let before = then.get(conn.id.as_str());
        let rates = [0, 1].map(|way| rate(now[way], before.map(|before| before[way])));
        let cells = vec![
            Cell::Word(conn.id.clone()),
            Cell::Word(client(conn)),
            Cell::Word(server(conn)),
            Cell::ByteRate(rates[0]),
            Cell::ByteRate(rates[1]),
            Cell::Bytes(now.iter().sum()),
        ];
        (rates.into_iter().flatten().sum(), Row { key: conn.id.clone(), cells })
    };
    let mut rows: Vec<(f64, Row)> = answer.rows.iter().map(row).collect();
    rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Table { title: "Connections", path: "rows", heads: HEADS, rows }
}

/// Bytes to its server, and to its client.
fn moved(conn: &Conn) -> [u64; 2] {
    [conn.to_upstream_bytes, conn.to_client_bytes]
}

/// When an answer was given, and by which process.
fn moment(answer: &Conns) -> Moment {
    Moment { process: answer.start_time_seconds, at_seconds: answer.at_seconds }
}
