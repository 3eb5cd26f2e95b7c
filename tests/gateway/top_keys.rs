//! Keys of `portcullis top`: the help, a filter of connections, the end of one, in little room.

use std::net::{SocketAddr, TcpStream};

use crate::support::client;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::terminal::{SIZE, Terminal};
use crate::support::wait_until;

const ESCAPE: &str = "\x1b";
const ENTER: &str = "\r";
const TAB: &str = "\t";
const CONTROL_U: &str = "\x15";

fn has(lines: &[String], word: &str) -> bool {
    lines.iter().any(|line| line.contains(word))
}

/// Clients that have been served, each with its address.
fn clients<const COUNT: usize>(gateway: &Gateway) -> [(TcpStream, SocketAddr); COUNT] {
    std::array::from_fn(|_| {
        let stream = client::connect(gateway.address("edge"));
        client::echo(&stream, 3, 100);
        let address = stream.local_addr().expect("an address");
        (stream, address)
    })
}

#[test]
fn help_opens_and_any_key_closes_it() {
    let gateway = Gateway::start(OWN_ECHO);
    let mut terminal = Terminal::showing(&gateway);
    terminal.wait_for_line("All is well");
    terminal.press("?");
    let help = terminal.wait_to_show("help", |lines| has(lines, "portcullis top: help"));
    for word in ["end that connection", "filter connections", "any other key closes it"] {
        assert!(has(&help, word), "{word}: {help:?}");
    }
    assert!(!has(&help, "All is well"), "{help:?}");
    // Elsewhere it quits.
    terminal.press("q");
    terminal.wait_for_line("All is well");
    terminal.press("q");
    terminal.ends();
    gateway.stop();
}

#[test]
fn a_filter_narrows_the_rows_and_a_wrong_one_says_what_is_wrong() {
    let gateway = Gateway::start(OWN_ECHO);
    let [one, other] = clients(&gateway);
    let [own, others] = [&one, &other].map(|(_, address)| address.to_string());
    let mut terminal = Terminal::showing(&gateway);
    let both = |lines: &[String]| has(lines, &own) && has(lines, &others);
    terminal.wait_to_show("both", both);
    terminal.press(&format!("/src={own}{ENTER}"));
    let lines = terminal.wait_to_show("one of them", |lines| has(lines, ": 1 of 2 connections"));
    assert!(has(&lines, &format!("filter src={own}")), "{lines:?}");
    terminal.wait_to_show("its row alone", |lines| {
        let rows = lines.iter().filter(|line| !line.starts_with("filter"));
        let rows = Vec::from_iter(rows.cloned());
        has(&rows, &own) && !has(&rows, &others)
    });
    terminal.press(&format!("/{CONTROL_U}idle>soon{ENTER}"));
    terminal.wait_for_line("filter \"idle>soon\": ");
    terminal.wait_to_show("no row", |lines| !has(lines, &own) && !has(lines, &others));
    terminal.press(ESCAPE);
    terminal.wait_to_show("both again", |lines| both(lines) && !has(lines, "filter \""));
    terminal.press("q");
    terminal.ends();
    gateway.stop();
}

/// Makes connections the table in use.
fn to_connections(terminal: &mut Terminal) {
    for _ in 0..10 {
        let lines = terminal.wait_to_show("keys", |lines| has(lines, "? help"));
        let table = |lines: &[String]| lines.last().expect("keys").clone();
        let before = table(&lines);
        if before.contains("k end it") {
            return;
        }
        terminal.press(TAB);
        terminal.wait_to_show("another table", |lines| table(lines) != before);
    }
    panic!("no key comes to the connections");
}

#[test]
fn a_kill_is_asked_for_and_ends_that_connection_alone() {
    let gateway = Gateway::start(OWN_ECHO);
    let clients: [_; 3] = clients(&gateway);
    let mut terminal = Terminal::showing(&gateway);
    terminal.wait_to_show("all rows", |lines| {
        clients.iter().all(|(_, address)| has(lines, &address.to_string()))
    });
    terminal.press("k");
    terminal.wait_for_line("select one first");
    to_connections(&mut terminal);
    // The second row.
    terminal.press("\x1b[B");
    for answer in ["n", ENTER, "q", ESCAPE, "x"] {
        terminal.press("k");
        terminal.wait_for_line("? y/n");
        terminal.press(answer);
        terminal.wait_for_line("nothing was ended");
    }
    terminal.press("k");
    let question = terminal.wait_for_line("? y/n");
    let is_meant = |address: &SocketAddr| question.contains(&format!(", {address} to "));
    assert_eq!(clients.iter().filter(|(_, address)| is_meant(address)).count(), 1, "{question}");
    terminal.press("y");
    let connection = question.strip_prefix("end ").and_then(|rest| rest.split_once('?'));
    terminal.wait_for_line(&format!("ended {}", connection.expect("a question").0));
    for (stream, address) in &clients {
        match is_meant(address) {
            true => drop(client::ending(stream)),
            false => client::echo(stream, 4, 100),
        }
    }
    gateway.wait_for_reason("killed", 1);
    terminal.wait_to_show("two rows", |lines| {
        let rows = Vec::from_iter(lines.iter().filter(|line| !line.starts_with("ended")).cloned());
        clients.iter().all(|(_, address)| has(&rows, &address.to_string()) != is_meant(address))
    });
    terminal.press("q");
    terminal.ends();
    drop(clients);
    gateway.wait_for_reason("closed-by-client", 2);
    gateway.stop().expect(&[("killed", 1), ("closed-by-client", 2)]);
}

#[test]
fn little_room_breaks_nothing() {
    let full = OWN_ECHO.replacen("upstream", "max_connections = 1\nupstream", 1);
    let gateway = Gateway::start(&full);
    let [(stream, _)] = clients(&gateway);
    for size in [SIZE, (24, 60), (10, 60), (6, 20), (2, 8)] {
        let (rows, columns) = size;
        let mut terminal = Terminal::sized(size, &gateway.admin_socket());
        terminal.wait_for_line(if columns < 20 { "portcul" } else { "1 thing is wrong" });
        if columns >= 60 {
            let lines = terminal.wait_to_show("the trouble", |lines| has(lines, "● listener/edge"));
            assert!(lines[usize::from(rows) - 1].starts_with("? help"), "{lines:?}");
        }
        if rows >= 24 {
            terminal.wait_for_line("edge (full)");
        }
        let longer = "src=10.0.0.0/8 ".repeat(9);
        for keys in ["?", "\x1b[B", "q", "/", &longer, ESCAPE, "k", "n", TAB, ENTER, "p", "p"] {
            terminal.press(keys);
        }
        terminal.press("?");
        terminal.wait_for_line(if columns < 20 { "portcul" } else { "portcullis top: help" });
        terminal.press("qq");
        terminal.assert_within();
        terminal.ends();
    }
    wait_until("the client to be served still", || {
        client::echo(&stream, 4, 100);
        true
    });
    drop(stream);
    gateway.stop();
}
