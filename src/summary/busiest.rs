//! The connections that moved most, and what they move now.

use std::collections::HashMap;

use serde_json::Value;

use super::cell::Cell;
use super::cell::Kind::{ByteRate, Bytes, Word};
use super::conns::{Conn, listed};
use super::{Head, Moment, Row, Table};

const HEADS: &[Head] = &[
    Head::new("connection", "id", Word, 0),
    Head::new("client", "client", Word, 2),
    Head::new("server", "server", Word, 3),
    Head::new("to server/s", "to_upstream_bytes", ByteRate, 1),
    Head::new("to client/s", "to_client_bytes", ByteRate, 1),
    Head::new("moved", "bytes", Bytes, 4),
];

/// Rows of an answer that lists connections, the fastest first. Rates are those since an earlier
/// answer, unless that is another process's or none (`null`).
pub fn busiest(answer: &Value, earlier: &Value) -> Table {
    let then: HashMap<&str, [u64; 2]> =
        listed(earlier).map(|conn| (conn.word("id"), conn.moved())).collect();
    let passed = moment(answer).zip(moment(earlier)).and_then(|(now, then)| now.since(then));
    let rate = |now: u64, then: Option<u64>| Some(now.saturating_sub(then?) as f64 / passed?);
    let row = |conn: Conn<'_>| {
        let (id, now) = (conn.word("id"), conn.moved());
        let before = then.get(id);
        let rates = [0, 1].map(|way| rate(now[way], before.map(|before| before[way])));
        let cells = vec![
            Cell::Word(id.to_owned()),
            Cell::Word(conn.word("client").to_owned()),
            Cell::Word(conn.server()),
            Cell::ByteRate(rates[0]),
            Cell::ByteRate(rates[1]),
            Cell::Bytes(now.iter().sum()),
        ];
        (rates.into_iter().flatten().sum(), Row { key: id.to_owned(), cells })
    };
    let mut rows: Vec<(f64, Row)> = listed(answer).map(row).collect();
    rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Table { title: "Connections", path: "rows", heads: HEADS, rows }
}

/// When an answer was given, and by which process.
fn moment(answer: &Value) -> Option<Moment> {
    let process = answer["start_time_seconds"].as_f64();
    Some(Moment { process, at_seconds: answer["at_seconds"].as_f64()? })
}
