//! What the screen says, in much room and in little.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::frame::draw;
use super::keys::{Flow, KEYS};
use super::state::{BUSIEST, EVENTS, Link, Listed, Mode, Outcome, State, TABLES};
use crate::api::conns::{Conn, Conns};
use crate::metrics::Reading;
use crate::metrics::reading::{Event, Severity, Trouble};
use crate::summary::sample::{later, reading};

fn busy() -> State {
    let mut state = State::new(reading());
    state.on_reading(later());
    state
}

fn drawn(state: &mut State, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, state)).expect("it is drawn");
    terminal
}

fn screen(state: &mut State, width: u16, height: u16) -> Vec<String> {
    let terminal = drawn(state, width, height);
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines: Vec<String> = (0..height).map(row).collect();
    println!("{}\n", lines.join("\n"));
    lines
}

/// One of two servers rests, and one listener is full.
fn troubled() -> State {
    let mut now = later();
    now.gateway = serde_json::from_value(serde_json::json!({
        "host": "edge-1", "pid": 4711, "config": "/etc/portcullis.toml" }))
    .expect("an identity");
    let server = &mut now.upstreams[0].servers[1];
    (server.state, server.up) = ("ejected".to_owned(), 0);
    server.last_error = Some("Connection refused (ECONNREFUSED)".to_owned());
    (server.connect_p50_seconds, server.connect_p99_seconds) = (Some(0.00042), Some(0.25));
    now.listeners[0].limit = Some(now.listeners[0].open);
    now.at_seconds_since_1970 = Some(1_000_100.0);
    let trouble = |severity, subject: &str, words: &str, since, remedy: &str| Trouble {
        severity,
        subject: subject.to_owned(),
        words: words.to_owned(),
        since_seconds_since_1970: since,
        remedy: Some(remedy.to_owned()),
    };
    now.troubles = vec![
        trouble(
            Severity::Error,
            "server/app/127.0.0.1:9001",
            "ejected: Connection refused (ECONNREFUSED)",
            Some(1_000_088.0),
            "start 127.0.0.1:9001, or: portcullis server app/127.0.0.1:9001 maintenance",
        ),
        trouble(
            Severity::Warning,
            "listener/edge",
            "full: 60,000 / 60,000, 12 clients wait",
            None,
            "new clients wait; raise max_connections of listener.edge",
        ),
    ];
    let event = |second, severity, words: &str| Event {
        at: format!("2026-11-29T15:00:0{second}Z"),
        severity,
        subject: "server/app/127.0.0.1:9001".to_owned(),
        words: words.to_owned(),
    };
    now.events = vec![
        event(1, Severity::Info, "the first"),
        event(2, Severity::Warning, "it rests for 10 s"),
        event(3, Severity::Error, "the last\u{1b}[2J"),
    ];
    let mut state = State::new(reading());
    state.on_reading(now);
    state
}

/// The colour of the first character of this word.
fn color(state: &mut State, width: u16, height: u16, word: &str) -> Color {
    let terminal = drawn(state, width, height);
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let found = (0..height).find_map(|y| {
        let before = row(y).split_once(word)?.0.chars().count();
        Some(buffer[(before as u16, y)].fg)
    });
    found.unwrap_or_else(|| panic!("no {word}"))
}

fn press(state: &mut State, code: KeyCode) -> Flow {
    state.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn line<'a>(lines: &'a [String], word: &str) -> &'a str {
    lines.iter().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word}"))
}

#[test]
fn an_ordinary_screen_has_everything() {
    let lines = screen(&mut busy(), 80, 24);
    assert!(lines[0].contains("ready") && lines[0].trim_end().ends_with("live"));
    assert!(line(&lines, "connections ").contains("63,000 / 497,452"));
    assert!(line(&lines, "accepts/s 1,235").contains("closes/s 1,004"));
    assert!(line(&lines, "edge ").contains("12 / 8,190"));
    for word in [
        "devices",
        "app/127.0.0.1:9001",
        "mail/imap",
        "balance",
        "+2 %",
        "client-reset",
        "to client/s",
    ] {
        line(&lines, word);
    }
    assert_eq!(lines[1].trim_end(), "All is well");
    assert_eq!(color(&mut busy(), 80, 24, "All is well"), Color::Green);
    assert!(lines[23].starts_with("? help  q quit"));
}

#[test]
fn a_small_screen_has_what_matters_and_its_keys() {
    let lines = screen(&mut busy(), 40, 10);
    assert!(lines[0].contains("ready") && lines[0].trim_end().ends_with("live"));
    assert_eq!(lines[1].trim_end(), "All is well");
    assert!(lines[2].contains("63,000 / 497,452"));
    assert!(line(&lines, "edge").contains("12 / 8,190"));
    assert!(lines[9].starts_with("? help  q quit"));
}

#[test]
fn no_screen_is_too_small() {
    for width in [1, 2, 7, 20, 300] {
        for height in [1, 2, 3, 5, 6, 70] {
            for zoomed in [false, true] {
                for mut state in [busy(), troubled()] {
                    state.zoomed = zoomed;
                    drawn(&mut state, width, height);
                    state.on_lost("it is gone".into());
                    drawn(&mut state, width, height);
                    for key in ['?', '?', '/', 'a'] {
                        press(&mut state, KeyCode::Char(key));
                        drawn(&mut state, width, height);
                    }
                    listed(&mut state, 3);
                    press(&mut state, KeyCode::Enter);
                    press(&mut state, KeyCode::Char('k'));
                    drawn(&mut state, width, height);
                }
            }
        }
    }
}

#[test]
fn rows_are_sorted_by_the_chosen_column_and_back() {
    let mut state = busy();
    press(&mut state, KeyCode::Tab);
    let names = |state: &State| -> Vec<String> {
        state.rows(state.focus).iter().map(|row| row.cells[0].text()).collect()
    };
    let config = names(&state);
    assert_eq!(config, ["app/127.0.0.1:9000", "app/127.0.0.1:9001", "mail/imap"]);
    let title = |state: &State| {
        let column = state.orders[state.focus].column;
        column.map(|column| state.table(state.focus).heads[column].title)
    };
    while title(&state) != Some("failed") {
        press(&mut state, KeyCode::Right);
    }
    assert_eq!(names(&state), ["app/127.0.0.1:9001", "mail/imap", "app/127.0.0.1:9000"]);
    assert!(line(&screen(&mut state, 100, 30), "failed").contains("failed▼"));
    press(&mut state, KeyCode::Char('r'));
    assert_eq!(names(&state), ["app/127.0.0.1:9000", "mail/imap", "app/127.0.0.1:9001"]);
    press(&mut state, KeyCode::Char('r'));
    while title(&state).is_some() {
        press(&mut state, KeyCode::Left);
    }
    assert_eq!(names(&state), config);
}

#[test]
fn more_rows_than_room_are_scrolled_to_the_last_and_no_further() {
    let mut many = reading();
    many.workers = (0..40).map(|_| many.workers[0].clone()).collect();
    let mut state = State::new(many);
    let workers = (0..TABLES).find(|index| state.table(*index).title == "Workers");
    state.focus = workers.expect("they have a table");
    press(&mut state, KeyCode::Enter);
    assert!(line(&screen(&mut state, 80, 24), "worker").contains("of 40"));
    for _ in 0..20 {
        press(&mut state, KeyCode::PageDown);
    }
    assert!(screen(&mut state, 80, 24)[22].starts_with("39 "));
    press(&mut state, KeyCode::Up);
    assert!(screen(&mut state, 80, 24)[22].starts_with("38 "));
}

#[test]
fn a_gateway_that_is_gone_is_said_to_be_until_it_is_back() {
    let mut state = busy();
    state.on_lost("no gateway runs there\nor here".into());
    let lines = screen(&mut state, 80, 24);
    assert!(lines[0].trim_end().ends_with("gone"));
    assert!(lines[1].starts_with("no gateway runs there; trying again"));
    // What was true last is still to be seen.
    line(&lines, "63,000 / 497,452");
    let mut restarted = reading();
    restarted.process.start_time_seconds = Some(2_000_000.0);
    state.on_reading(restarted);
    let lines = screen(&mut state, 80, 24);
    assert!(lines[0].trim_end().ends_with("live"));
    line(&lines, "accepts/s –");
}

#[test]
fn keys_end_it_or_pause_it() {
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut busy(), code), Flow::End);
    }
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(busy().on_key(interrupt), Flow::End);
    let mut state = busy();
    press(&mut state, KeyCode::Enter);
    assert_eq!(press(&mut state, KeyCode::Esc), Flow::On);
    press(&mut state, KeyCode::Char('p'));
    let before = state.summary.clone();
    state.on_reading(reading());
    assert_eq!((&state.link, &state.summary), (&Link::Paused, &before));
    press(&mut state, KeyCode::Char('p'));
    state.on_reading(reading());
    assert_ne!(state.summary, before);
}

fn answer(at_seconds: f64, process: f64, rows: &[Conn]) -> Listed {
    let (rows, start_time_seconds) = (rows.to_vec(), Some(process));
    let matched = rows.len() as u64;
    Listed::Conns(Conns {
        at_seconds,
        matched,
        open: 9,
        rows,
        start_time_seconds,
        ..Conns::default()
    })
}

fn conn(id: &str, to_upstream_bytes: u64, to_client_bytes: u64) -> Conn {
    Conn {
        id: id.to_owned(),
        client: Some("192.0.2.7:4000".to_owned()),
        upstream: "app".to_owned(),
        server: Some("a".to_owned()),
        to_upstream_bytes,
        to_client_bytes,
        ..Conn::default()
    }
}

/// So many connections are listed, whatever the filter is.
fn listed(state: &mut State, count: u64) {
    let rows: Vec<Conn> = (0..count).map(|nth| conn(&format!("0-{nth}-1"), 5, 5)).collect();
    let filter = state.filter.clone();
    state.on_conns(&filter, answer(10.0, 1_000_000.0, &rows));
}

#[test]
fn the_busiest_connections_come_first_by_what_they_move_now() {
    let mut state = State::new(reading());
    let now = [conn("0-1-0", 9 << 20, 100), conn("1-5-2", 4 << 20, 8 << 20), conn("1-7-0", 5, 5)];
    let mut before = now.clone();
    before[1] = conn("1-5-2", 4 << 20, 4 << 20);
    state.on_conns("", answer(10.0, 1.0, &before));
    state.on_conns("", answer(14.0, 1.0, &now));
    let lines = screen(&mut state, 100, 45);
    let first = lines.iter().position(|line| line.contains("connection ")).expect("a head") + 1;
    assert!(lines[first].starts_with("1-5-2 ") && lines[first].contains("1.00 MiB"), "{lines:?}");
    assert!(lines[first + 1].starts_with("0-1-0 "), "{lines:?}");
    // In little room it is one table more.
    assert!(line(&screen(&mut state, 80, 24), "connection of 3").contains("client"));
    // What a successor counts has nothing to do with what was counted before.
    state.on_conns("", answer(20.0, 2.0, &before));
    let lines = screen(&mut state, 100, 45);
    assert!(line(&lines, "1-5-2 ").contains(" – "), "{lines:?}");
}

#[test]
fn connections_are_asked_for_while_there_is_room_for_them() {
    let mut state = busy();
    let room = |state: &mut State, height| {
        screen(state, 80, height);
        state.conns_have_room
    };
    assert!(room(&mut state, 40) && !room(&mut state, 12));
    press(&mut state, KeyCode::Enter);
    assert!(!room(&mut state, 40), "another table has the whole screen");
    state.focus = BUSIEST;
    assert!(room(&mut state, 12), "it has the whole screen itself");
}

#[test]
fn what_is_wrong_since_when_and_what_to_do_come_first() {
    let mut state = troubled();
    let lines = screen(&mut state, 120, 40);
    assert!(lines[0].contains("ready  pid 4711 on edge-1, /etc/portcullis.toml"), "{lines:?}");
    let said = [
        "2 things are wrong",
        "● server/app/127.0.0.1:9001: ejected: Connection refused (ECONNREFUSED), for 12 s",
        "  → start 127.0.0.1:9001, or: portcullis server app/127.0.0.1:9001 maintenance",
        "● listener/edge: full: 60,000 / 60,000, 12 clients wait",
        "  → new clients wait; raise max_connections of listener.edge",
    ];
    let first: Vec<&str> = lines[1..6].iter().map(|line| line.trim_end()).collect();
    assert_eq!(first, said);
    assert!(lines[6].starts_with("connections "), "{lines:?}");
    for (word, shown) in [
        ("2 things", Color::Red),
        ("● server", Color::Red),
        ("● listener", Color::Yellow),
        ("up  ", Color::Green),
        ("ejected  ", Color::Red),
    ] {
        assert_eq!(color(&mut state, 120, 40, word), shown, "{word}");
    }
    // Servers come first, those that fail before the others, with their last error and latency.
    let place = |word: &str| lines.iter().position(|line| line.starts_with(word)).expect(word);
    assert!(place("server ") < place("listener "));
    let row = &lines[place("server ") + 1];
    assert!(row.starts_with("app/127.0.0.1:9001  ejected"), "{row}");
    assert!(row.contains("Connection refused") && row.contains(" 250 ms"), "{row}");
    assert!(lines[place("edge ")].contains("██████ 60,000 / 60,000"), "{lines:?}");
    // Events are last, the latest first.
    let events = place("time (UTC)");
    assert!(events > place("reason "), "{lines:?}");
    assert!(lines[events + 1].starts_with("15:00:03 "), "{lines:?}");
    assert!(lines[events + 1].contains("the last\\u{1b}[2J"), "{lines:?}");
    assert_eq!(color(&mut state, 120, 40, "15:00:03"), Color::Red);
    assert_eq!(color(&mut state, 120, 40, "15:00:01"), Color::Reset);
}

#[test]
fn troubles_are_cut_to_the_screen_and_none_is_forgotten() {
    for (width, height) in [(80, 24), (40, 15)] {
        let lines = screen(&mut troubled(), width, height);
        let has = |word: &str| lines.iter().any(|line| line.contains(word));
        assert!(has("● server/app/127.0.0.1:9001: ejected:"), "{lines:?}");
        assert!(has("● listener/edge: full: 60,000 / 60,00"), "{lines:?}");
        assert!(has("pid 4711 on edge-1"), "{lines:?}");
        assert!(has("app/127.0.0.1:9001  ejected"), "{lines:?}");
        assert!(lines[usize::from(height) - 1].starts_with("? help  q quit"), "{lines:?}");
    }
    let mut state = troubled();
    let many = state.summary.troubles[1].clone();
    state.summary.troubles.extend(vec![many; 30]);
    line(&screen(&mut state, 80, 24), "  and 27 more; portcullis status has all");
}

#[test]
fn the_help_has_every_key_and_every_column_and_any_key_closes_it() {
    let mut state = troubled();
    press(&mut state, KeyCode::Char('?'));
    let mut seen = screen(&mut state, 80, 24).join("\n");
    assert!(seen.contains("any other key closes it"));
    for _ in 0..10 {
        press(&mut state, KeyCode::PageDown);
        seen += &screen(&mut state, 80, 24).join("\n");
    }
    assert!(seen.contains("any key closes it"));
    for (key, does) in KEYS {
        assert!(seen.contains(key) && seen.contains(does), "{key}");
    }
    for index in 0..TABLES {
        for head in state.table(index).heads {
            assert!(!head.means.is_empty(), "{}", head.title);
            assert!(seen.contains(head.title) && seen.contains(head.means), "{}", head.title);
        }
    }
    for code in [KeyCode::Char('q'), KeyCode::Esc, KeyCode::Char('?'), KeyCode::Enter] {
        state.mode = Mode::Help;
        assert_eq!(press(&mut state, code), Flow::On);
        assert_eq!((&state.mode, state.zoomed), (&Mode::Tables, false));
    }
}

fn write(state: &mut State, text: &str) {
    text.chars().for_each(|c| drop(press(state, KeyCode::Char(c))));
}

#[test]
fn a_filter_is_written_applied_found_wrong_and_cleared() {
    let mut state = busy();
    press(&mut state, KeyCode::Char('/'));
    // Letters that are keys elsewhere.
    write(&mut state, "src=qkpx");
    press(&mut state, KeyCode::Backspace);
    assert!(screen(&mut state, 80, 24)[23].starts_with("/src=qkp "));
    assert_eq!(state.filter, "");
    press(&mut state, KeyCode::Enter);
    assert_eq!((&*state.filter, state.focus), ("src=qkp", BUSIEST));
    // An answer to the question before it says nothing about this one.
    state.on_conns("", answer(10.0, 1.0, &[conn("0-1-0", 5, 5)]));
    assert!(state.rows(BUSIEST).is_empty());
    state.on_conns("src=qkp", Listed::Wrong("\"src=qkp\": src is a network".to_owned()));
    let lines = screen(&mut state, 80, 24);
    assert!(lines[22].starts_with("filter \"src=qkp\": src is a network"), "{lines:?}");
    assert_eq!(color(&mut state, 80, 24, "filter \""), Color::Red);
    line(&lines, "nothing here");
    press(&mut state, KeyCode::Char('/'));
    let control_u = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
    state.on_key(control_u);
    write(&mut state, "idle>5m");
    press(&mut state, KeyCode::Enter);
    state.on_conns("idle>5m", answer(10.0, 1.0, &[conn("0-1-0", 5, 5)]));
    let lines = screen(&mut state, 80, 24);
    assert!(lines[22].starts_with("filter idle>5m: 1 of 9 connections "), "{lines:?}");
    assert_eq!(press(&mut state, KeyCode::Esc), Flow::On);
    assert!(!screen(&mut state, 80, 24).iter().any(|line| line.starts_with("filter")));
    assert_eq!(state.filter, "");
    assert_eq!(press(&mut state, KeyCode::Esc), Flow::End);
}

#[test]
fn the_selection_stays_with_its_connection_and_a_kill_is_asked_for_first() {
    let mut state = busy();
    listed(&mut state, 3);
    assert_eq!(press(&mut state, KeyCode::Char('k')), Flow::On);
    line(&screen(&mut state, 80, 24), "select one first");
    while state.focus != BUSIEST {
        press(&mut state, KeyCode::Tab);
    }
    press(&mut state, KeyCode::Down);
    let before = state.chosen().expect("one is selected");
    assert_eq!(before.title(), "connection 0-1-1, 192.0.2.7:4000 to app/a");
    // It moves most from here on, and its row is the first.
    let rows = [conn("0-0-1", 5, 5), conn("0-1-1", 9 << 20, 5), conn("0-2-1", 5, 5)];
    state.on_conns("", answer(12.0, 1_000_000.0, &rows));
    assert_eq!((state.selected(), state.chosen()), (Some(0), Some(before.clone())));
    press(&mut state, KeyCode::Char('k'));
    let asked = screen(&mut state, 80, 24)[23].trim_end().to_owned();
    assert_eq!(asked, "end connection 0-1-1, 192.0.2.7:4000 to app/a? y/n");
    assert_eq!(press(&mut state, KeyCode::Enter), Flow::On);
    line(&screen(&mut state, 80, 24), "nothing was ended");
    press(&mut state, KeyCode::Char('k'));
    assert_eq!(press(&mut state, KeyCode::Char('y')), Flow::Kill(before));
    state.on_killed(Outcome { done: true, words: "ended connection 0-1-1".to_owned() });
    assert!(screen(&mut state, 80, 24)[22].starts_with("ended connection 0-1-1"));
    press(&mut state, KeyCode::Up);
    assert!(!screen(&mut state, 80, 24)[22].contains("ended"));
}

#[test]
fn a_question_about_a_connection_ends_with_its_gateway() {
    let mut state = busy();
    listed(&mut state, 2);
    state.focus = BUSIEST;
    press(&mut state, KeyCode::Char('k'));
    let mut successor: Reading = later();
    successor.process.start_time_seconds = Some(2_000_000.0);
    state.on_reading(successor);
    line(&screen(&mut state, 80, 24), "another process now: nothing was ended");
    assert_eq!((&state.mode, state.chosen()), (&Mode::Tables, None));
    assert!(state.rows(BUSIEST).is_empty() && state.rows(EVENTS).is_empty());
}
