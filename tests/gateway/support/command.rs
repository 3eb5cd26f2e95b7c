//! Commands that ask a running gateway.

use std::process::{Command, Output};

use serde_json::Value;

use super::gateway::{Gateway, program};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) answer: String,
    pub(crate) complaint: String,
}

/// Runs a command of the program under test.
pub(crate) fn command(arguments: &[&str]) -> Said {
    let mut command: Command = program(None);
    let Output { status, stdout, stderr } =
        command.args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code(), answer: text(stdout), complaint: text(stderr) }
}

/// Asks this gateway.
pub(crate) fn ask(gateway: &Gateway, arguments: &[&str]) -> Said {
    let socket = gateway.admin_socket().display().to_string();
    command(&[arguments, &["--admin", &socket]].concat())
}

/// What this gateway answers, without the line's end; it must be a yes. Beside it nothing is said
/// but which gateway it is.
pub(crate) fn tell(gateway: &Gateway, arguments: &[&str]) -> String {
    let said = ask(gateway, arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    let name = format!("portcullis: pid {} on ", gateway.pid());
    let named = said.complaint.starts_with(&name) && said.complaint.lines().count() == 1;
    assert!(named || said.complaint.is_empty(), "{arguments:?}: {}", said.complaint);
    said.answer.trim_end().to_owned()
}

/// Asks this gateway for an answer in JSON.
pub(crate) fn ask_json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let answer = tell(gateway, &[arguments, &["--json"]].concat());
    let answer: Value = serde_json::from_str(&answer).expect("an answer in JSON");
    assert_eq!(answer["schema"], 1);
    answer
}

/// The rows of an answer.
pub(crate) fn rows(answer: &Value) -> &[Value] {
    answer["rows"].as_array().expect("an answer has rows")
}

/// What each row says under this key.
pub(crate) fn words<'a>(answer: &'a Value, key: &str) -> Vec<&'a str> {
    rows(answer).iter().map(|row| row[key].as_str().unwrap_or("-")).collect()
}
