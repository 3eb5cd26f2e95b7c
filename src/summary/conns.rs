//! Connections that somebody asked for, and of how many they are.

use std::time::Duration;

use serde_json::Value;

use super::cell::Cell;
use super::cell::Kind::{Bytes, Span, Word};
use super::{Head, Row, Table, laid_out};
use crate::query::server_title;

/// A connection in an answer that lists some.
#[derive(Clone, Copy)]
pub(super) struct Conn<'a>(&'a Value);

/// Those that an answer lists.
pub(super) fn listed(answer: &Value) -> impl Iterator<Item = Conn<'_>> {
    answer["rows"].as_array().into_iter().flatten().map(Conn)
}

impl<'a> Conn<'a> {
    /// A text, or a stroke.
    pub(super) fn word(self, key: &str) -> &'a str {
        self.0[key].as_str().unwrap_or("-")
    }

    /// Its upstream's name, and its server's if it has one.
    pub(super) fn server(self) -> String {
        server_title(self.word("upstream"), self.0["server"].as_str())
    }

    /// Bytes to its server, and to its client.
    pub(super) fn moved(self) -> [u64; 2] {
        ["to_upstream_bytes", "to_client_bytes"].map(|key| number(&self.0[key]))
    }

    fn span(self, key: &str) -> Duration {
        Duration::from_millis(number(&self.0[key]))
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

const HEADS: &[Head] = &[
    Head::new("id", "id", Word, 0),
    Head::new("client", "client", Word, 0),
    Head::new("listener", "listener", Word, 6),
    Head::new("server", "server", Word, 2),
    Head::new("state", "state", Word, 4),
    Head::new("idle", "idle_millis", Span, 1),
    Head::new("age", "age_millis", Span, 5),
    Head::new("to server", "to_upstream_bytes", Bytes, 3),
    Head::new("to client", "to_client_bytes", Bytes, 3),
];

/// The rows of an answer, in its order.
pub fn conns(answer: &Value) -> Table {
    let row = |conn: Conn<'_>| {
        let word = |key| Cell::Word(conn.word(key).to_owned());
        let [to_server, to_client] = conn.moved();
        let cells = vec![
            word("id"),
            word("client"),
            word("listener"),
            Cell::Word(conn.server()),
            word("state"),
            Cell::Span(conn.span("idle_millis")),
            Cell::Span(conn.span("age_millis")),
            Cell::Bytes(to_server),
            Cell::Bytes(to_client),
        ];
        Row { key: conn.word("id").to_owned(), cells }
    };
    let rows = listed(answer).map(row).collect();
    Table { title: "Connections", path: "rows", heads: HEADS, rows }
}

/// What the commands print: the table, and a line that says of how many.
pub fn listing(answer: &Value, width: Option<usize>) -> String {
    let table = conns(answer);
    let mut text = if table.rows.is_empty() { String::new() } else { laid_out(&table, width) };
    let (matched, open) = (number(&answer["matched"]), number(&answer["open"]));
    text += &format!("{} shown, {matched} matched, {open} open", table.rows.len());
    if number(&answer["nameless"]) > 0 {
        text += "\nsome addresses are not known: they need Linux 6.8 and a free descriptor";
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str, client: &str, server: Option<&str>) -> Value {
        json!({
            "id": id, "client": client, "listener": "edge", "upstream": "app", "server": server,
            "state": "joined", "idle_millis": 350, "age_millis": 7_200_000,
            "to_upstream_bytes": 1_258_291, "to_client_bytes": 7,
        })
    }

    #[test]
    fn columns_are_aligned_and_as_wide_as_they_must_be() {
        let rows =
            [row("0-5-1", "10.0.0.1:2", Some("a")), row("1-16-22", "10.0.0.100:65535", None)];
        let text = listing(&json!({ "matched": 7, "open": 9, "nameless": 0, "rows": rows }), None);
        let expected = "\
id       client            listener  server  state     idle  age  to server  to client
0-5-1    10.0.0.1:2        edge      app/a   joined  350 ms  2 h   1.20 MiB        7 B
1-16-22  10.0.0.100:65535  edge      app     joined  350 ms  2 h   1.20 MiB        7 B
2 shown, 7 matched, 9 open";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_gets_what_tells_most_and_a_pipe_everything() {
        let wide = row("0-5-1", "[2001:db8:1:2:3:4:5:6]:65535", Some("10.0.0.1:8080"));
        let answer = json!({ "matched": 1, "open": 1, "nameless": 1, "rows": [wide] });
        let heads = |width: Option<usize>| -> Vec<String> {
            let text = listing(&answer, width);
            assert!(text.contains("Linux 6.8"), "{text}");
            let table: Vec<&str> = text.lines().take(2).collect();
            let widest = table.iter().map(|line| line.chars().count()).max();
            assert!(widest <= width.or(widest), "{text}");
            let two = table[0].split("  ").map(str::trim);
            two.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let everything: Vec<&str> = HEADS.iter().map(|head| head.title).collect();
        assert_eq!(heads(None), everything);
        assert_eq!(heads(Some(80)), ["id", "client", "server", "idle", "to server"]);
        assert_eq!(heads(Some(50)), ["id", "client", "idle"]);
    }

    #[test]
    fn nobody_has_no_head() {
        let answer = json!({ "matched": 0, "open": 3 });
        assert_eq!(listing(&answer, None), "0 shown, 0 matched, 3 open");
    }
}
