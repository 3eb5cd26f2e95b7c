//! What the screen says, in much room and in little.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::frame::draw;
use super::state::{Flow, Link, State};
use crate::api::conns::{Conn, Conns};
use crate::summary::sample::{later, reading};

fn busy() -> State {
    let mut state = State::new(reading());
    state.on_reading(later());
    state
}

fn screen(state: &mut State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(frame, state)).expect("it is drawn");
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    let lines: Vec<String> = (0..height).map(row).collect();
    println!("{}\n", lines.join("\n"));
    lines
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
    assert!(lines[23].starts_with("q quit"));
}

#[test]
fn a_small_screen_has_what_matters_and_its_keys() {
    let lines = screen(&mut busy(), 40, 10);
    assert!(lines[0].contains("ready") && lines[0].trim_end().ends_with("live"));
    assert!(lines[1].contains("63,000 / 497,452"));
    assert!(line(&lines, "edge").contains("12 / 8,190"));
    assert!(lines[9].starts_with("q quit"));
}

#[test]
fn no_screen_is_too_small() {
    for width in [1, 2, 7, 20, 300] {
        for height in [1, 2, 3, 5, 6, 70] {
            for zoomed in [false, true] {
                let mut state = busy();
                state.zoomed = zoomed;
                screen(&mut state, width, height);
                state.on_lost("it is gone".into());
                screen(&mut state, width, height);
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
    while state.orders[1].column.map(|column| state.table(1).heads[column].title) != Some("failed")
    {
        press(&mut state, KeyCode::Right);
    }
    assert_eq!(names(&state), ["app/127.0.0.1:9001", "mail/imap", "app/127.0.0.1:9000"]);
    assert!(line(&screen(&mut state, 100, 30), "failed").contains("failed▼"));
    press(&mut state, KeyCode::Char('r'));
    assert_eq!(names(&state), ["app/127.0.0.1:9000", "mail/imap", "app/127.0.0.1:9001"]);
    press(&mut state, KeyCode::Char('r'));
    while state.orders[1].column.is_some() {
        press(&mut state, KeyCode::Left);
    }
    assert_eq!(names(&state), config);
}

#[test]
fn more_rows_than_room_are_scrolled_to_the_last_and_no_further() {
    let mut many = reading();
    many.workers = (0..40).map(|_| many.workers[0].clone()).collect();
    let mut state = State::new(many);
    state.focus = 2;
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

#[test]
fn the_busiest_connections_come_first_by_what_they_move_now() {
    let row = |id: &str, to_upstream_bytes: u64, to_client_bytes: u64| Conn {
        id: id.to_owned(),
        client: Some("192.0.2.7:4000".to_owned()),
        upstream: "app".to_owned(),
        server: Some("a".to_owned()),
        to_upstream_bytes,
        to_client_bytes,
        ..Conn::default()
    };
    let answer = |at_seconds: f64, process: f64, rows: &[Conn]| {
        let (rows, start_time_seconds) = (rows.to_vec(), Some(process));
        Some(Conns { at_seconds, rows, start_time_seconds, ..Conns::default() })
    };
    let mut state = State::new(reading());
    let now = [row("0-1-0", 9 << 20, 100), row("1-5-2", 4 << 20, 8 << 20), row("1-7-0", 5, 5)];
    let mut before = now.clone();
    before[1] = row("1-5-2", 4 << 20, 4 << 20);
    state.on_conns(answer(10.0, 1.0, &before));
    state.on_conns(answer(14.0, 1.0, &now));
    let lines = screen(&mut state, 100, 40);
    let first = lines.iter().position(|line| line.contains("connection ")).expect("a head") + 1;
    assert!(lines[first].starts_with("1-5-2 ") && lines[first].contains("1.00 MiB"), "{lines:?}");
    assert!(lines[first + 1].starts_with("0-1-0 "), "{lines:?}");
    // In little room it is one table more, and the last.
    assert!(line(&screen(&mut state, 80, 24), "connection of 3").contains("client"));
    // What a successor counts has nothing to do with what was counted before.
    state.on_conns(answer(20.0, 2.0, &before));
    let lines = screen(&mut state, 100, 40);
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
    press(&mut state, KeyCode::BackTab);
    assert!(room(&mut state, 12), "it has the whole screen itself");
}
