//! Connections that somebody asked for, and of how many they are.

use std::time::Duration;

use super::cell::Cell;
use super::cell::Kind::{Bytes, Count, Span, Word};
use super::{Head, Row, Table, laid_out};
use crate::api::conns::{Conn, ConnCounts, ConnGroup, Conns};
use crate::doctor::count;
use crate::query::{By, server_title};

/// The name of a connection's upstream, and of its server if it has one.
pub(super) fn server(conn: &Conn) -> String {
    server_title(&conn.upstream, conn.server.as_deref())
}

/// The address of a connection's client, or a stroke, and who has said that it is this one.
pub(super) fn client(conn: &Conn) -> String {
    let client = conn.client.clone().unwrap_or_else(|| "-".to_owned());
    conn.via.as_ref().map_or(client.clone(), |via| format!("{client} via {via}"))
}

const HEADS: &[Head] = &[
    Head::new("id", "id", Word, 0),
    Head::new("client", "client", Word, 0),
    Head::new("listener", "listener", Word, 6),
    Head::new("server", "server", Word, 2),
    Head::new("source", "source", Word, 7),
    Head::new("state", "state", Word, 4),
    Head::new("idle", "idle_millis", Span, 1),
    Head::new("age", "age_millis", Span, 5),
    Head::new("to server", "to_upstream_bytes", Bytes, 3),
    Head::new("to client", "to_client_bytes", Bytes, 3),
];

/// The rows of an answer, in its order.
pub fn conns(answer: &Conns) -> Table {
    let row = |conn: &Conn| {
        let cells = vec![
            Cell::Word(conn.id.clone()),
            Cell::Word(client(conn)),
            Cell::Word(conn.listener.clone()),
            Cell::Word(server(conn)),
            Cell::Word(conn.source.clone().unwrap_or_else(|| "-".to_owned())),
            Cell::Word(conn.state.clone()),
            Cell::Span(Duration::from_millis(conn.idle_millis)),
            Cell::Span(Duration::from_millis(conn.age_millis)),
            Cell::Bytes(conn.to_upstream_bytes),
            Cell::Bytes(conn.to_client_bytes),
        ];
        Row { key: conn.id.clone(), cells }
    };
    let rows = answer.rows.iter().map(row).collect();
    Table { title: "Connections", path: "rows", heads: HEADS, rows }
}

/// The output of the commands: the table, and a line with the totals.
pub fn listing(answer: &Conns, width: Option<usize>) -> String {
    let table = conns(answer);
    let mut text = if table.rows.is_empty() { String::new() } else { laid_out(&table, width) };
    let Conns { matched, open, nameless, .. } = answer;
    text += &format!("{} shown, {matched} matched, {open} open", table.rows.len());
    text + nameless_words(*nameless)
}

fn nameless_words(nameless: u64) -> &'static str {
    match nameless {
        0 => "",
        _ => "\nsome addresses are not known: they need Linux 6.8 and a free descriptor",
    }
}

const GROUPS: &[Head] = &[
    Head::new("connections", "connections", Count, 0),
    Head::new("share", "share", Word, 1),
    Head::new("by", "name", Word, 0),
];

/// The output of the command that counts: the largest groups, and how many others there are.
pub fn counts(answer: &ConnCounts) -> String {
    let ConnCounts { by, groups, matched, nameless, open, .. } = answer;
    let (others, rest) = (answer.other_groups, answer.other_connections);
    let row = |group: &ConnGroup| {
        let percent = 100.0 * group.connections as f64 / (*matched).max(1) as f64;
        // What it says is a filter, but for a pair of addresses, which takes two.
        let name = match by == By::Pair.word() {
            true => group.name.clone(),
            false => format!("{by}={}", group.name),
        };
        let share = Cell::Word(format!("{percent:>3.0} %"));
        let cells = vec![Cell::Count(group.connections), share, Cell::Word(name)];
        Row { key: group.name.clone(), cells }
    };
    let rows: Vec<Row> = groups.iter().map(row).collect();
    let table = Table { title: "Connections", path: "groups", heads: GROUPS, rows };
    let mut text = if table.rows.is_empty() { String::new() } else { laid_out(&table, None) };
    if rest > 0 {
        let others = if others == 0 { "others".to_owned() } else { count(others, "other") };
        text += &format!("and {others} with {}\n", count(rest, "connection"));
    }
    text + &format!("{matched} matched, {open} open") + nameless_words(*nameless)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, client: &str, server: Option<&str>) -> Conn {
        Conn {
            id: id.to_owned(),
            client: Some(client.to_owned()),
            listener: "edge".to_owned(),
            upstream: "app".to_owned(),
            server: server.map(str::to_owned),
            source: server.map(|_| "10.0.0.9:4".to_owned()),
            state: "joined".to_owned(),
            idle_millis: 350,
            age_millis: 7_200_000,
            to_upstream_bytes: 1_258_291,
            to_client_bytes: 7,
            ..Conn::default()
        }
    }

    #[test]
    fn columns_are_aligned_and_as_wide_as_they_must_be() {
        let rows =
            vec![row("0-5-1", "10.0.0.1:2", Some("a")), row("1-16-22", "10.0.0.100:65535", None)];
        let text = listing(&Conns { matched: 7, open: 9, rows, ..Conns::default() }, None);
        let expected = "\
id       client            listener  server  source      state     idle  age  to server  to client
0-5-1    10.0.0.1:2        edge      app/a   10.0.0.9:4  joined  350 ms  2 h   1.20 MiB        7 B
1-16-22  10.0.0.100:65535  edge      app     -           joined  350 ms  2 h   1.20 MiB        7 B
2 shown, 7 matched, 9 open";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_narrow_terminal_gets_what_tells_most_and_a_pipe_everything() {
        let wide = row("0-5-1", "[2001:db8:1:2:3:4:5:6]:65535", Some("10.0.0.1:8080"));
        let answer =
            Conns { matched: 1, open: 1, nameless: 1, rows: vec![wide], ..Conns::default() };
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
    fn groups_are_written_as_the_filter_that_finds_them() {
        let group = |name: &str, connections| ConnGroup { connections, name: name.to_owned() };
        let answer = ConnCounts {
            by: "src".to_owned(),
            groups: vec![group("10.0.0.1", 1412), group("2001:db8::1", 40)],
            matched: 1460,
            open: 2000,
            other_connections: 8,
            other_groups: 3,
            ..ConnCounts::default()
        };
        let expected = "\
connections  share  by
      1,412   97 %  src=10.0.0.1
         40    3 %  src=2001:db8::1
and 3 others with 8 connections
1460 matched, 2000 open";
        assert_eq!(counts(&answer), expected);
        let none = ConnCounts { open: 3, ..ConnCounts::default() };
        assert_eq!(counts(&none), "0 matched, 3 open");
    }

    #[test]
    fn nobody_has_no_head() {
        let answer = Conns { open: 3, ..Conns::default() };
        assert_eq!(listing(&answer, None), "0 shown, 0 matched, 3 open");
    }
}
