//! Where a config comes from: standard input, /etc, other files, keys that the command line sets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::support::client;
use crate::support::command::{ask, ask_json, tell};
use crate::support::gateway::{Gateway, Home, program, program_with_etc};
use crate::support::lineage::{Lineage, runs};
use crate::support::log::field;
use crate::support::network::in_own_network;
use crate::support::wait_until;

const ECHO: &str = "[gateway]\nworkers = 2\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
                    upstream = \"app\"\n[upstream.app]\nbuiltin = \"echo\"\n\
                    [status]\nbind = \"127.0.0.1:0\"\n";

/// The program of a lineage, which gets the file over standard input and a key besides.
fn from_input() -> Command {
    let mut command = Command::new("sh");
    let script = "exec \"$1\" \"$2\" - --set gateway.workers=1 --set=log.level=debug <\"$4\"";
    command.args(["-c", script, "sh"]).arg(program(None).get_program());
    command
}

fn workers(lineage: &Lineage) -> usize {
    lineage.status()["workers"].as_array().expect("a list").len()
}

#[test]
fn a_config_comes_from_standard_input_and_stays_over_an_upgrade() {
    let lineage = Lineage::start_with(Home::new(), from_input(), ECHO);
    let first = &lineage.first;
    assert_eq!(field(&first.lines()[0], "config"), Some("stdin"), "{:?}", first.lines());
    assert_eq!(workers(&lineage), 1, "the command line's");
    let stream = client::connect(first.address("edge"));
    client::echo(&stream, 1, 100);
    let said = lineage.ask(&["reload"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.complaint.contains("came over standard input"), "{said:?}");
    assert!(said.complaint.contains("upgrade --successor-config FILE"), "{said:?}");
    first.signal(Signal::SIGHUP);
    first.wait_for_line("reload refused, nothing was changed: the config came over standard input");
    // Twice: the successor has the text, too.
    for seed in [2, 3] {
        let former = lineage.pid();
        lineage.upgrade(&[]);
        wait_until("the predecessor's end", || !runs(former));
        client::echo(&stream, seed, 100);
        assert_eq!(workers(&lineage), 1, "the command line's, passed on");
        assert_eq!(lineage.ask(&["reload"]).code, Some(2));
    }
    let file = lineage.write("other.toml", &format!("{ECHO}[log]\nlevel = \"debug\"\n"));
    lineage.upgrade(&["--successor-config", &file.display().to_string()]);
    client::echo(&stream, 4, 100);
    assert_eq!(workers(&lineage), 1, "the command line's, over any file");
    let said = lineage.ask(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A gateway whose main file includes others, and the folder of these.
fn including(home: &Arc<Home>, settings: &str) -> (Gateway, PathBuf) {
    let folder = home.path().join("conf.d");
    std::fs::create_dir(&folder).expect("made");
    std::fs::write(folder.join("app.toml"), "[upstream.app]\nbuiltin = \"echo\"\n")
        .expect("written");
    let main = "include = [\"conf.d/*.toml\"]\n[listener.edge]\nbind = [\"127.0.0.1:0\"]\n\
                upstream = \"app\"\n[status]\nbind = \"127.0.0.1:0\"\n";
    let path = home.write("main.toml", main);
    let mut command = Command::new("sh");
    let script = format!("exec \"$1\" \"$2\" \"$4\" {settings}");
    command.args(["-c", &script, "sh"]).arg(program(None).get_program());
    let gateway = Gateway::launch_with(Arc::clone(home), command, Some(&path));
    gateway.wait_for_line(" ready with ");
    (gateway, folder)
}

#[test]
fn a_reload_reads_all_files_again_and_keeps_what_the_command_line_sets() {
    let home = Home::new();
    let (gateway, folder) = including(&home, "--set listener.edge.idle_timeout=77s");
    let first = gateway.lines().remove(0);
    assert!(first.contains("conf.d/app.toml"), "{first}");
    assert!(first.contains("listener.edge.idle_timeout=77s"), "{first}");
    let second = "[listener.second]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n";
    std::fs::write(folder.join("second.toml"), second).expect("written");
    let answer = ask_json(&gateway, &["reload"]);
    let changes = answer["changes"].as_array().expect("a list").iter();
    let keys: Vec<&str> = changes.filter_map(|one| one["key"].as_str()).collect();
    assert_eq!(keys, ["listener.second"], "{answer}");
    client::echo(&client::connect(gateway.address("second")), 1, 100);
    std::fs::write(folder.join("third.toml"), "[listener.third]\nbind = 1\n").expect("written");
    let said = ask(&gateway, &["reload"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let place = "conf.d/third.toml:2: listener.third.bind = 1: must be a list";
    assert!(said.complaint.contains(place), "{said:?}");
    let dump = tell(&gateway, &["dump"]);
    for words in ["conf.d/second.toml", "\"listener.edge.idle_timeout=77s\"", "[listener.second]"] {
        assert!(dump.contains(words), "{words}: {dump}");
    }
    assert!(!dump.contains("third"), "what is in force");
    gateway.stop();
}

#[test]
fn where_no_config_is_named_the_one_in_etc_is_taken_and_the_log_says_so() {
    let home = Home::new();
    let file = home.write("default.toml", ECHO);
    let Some(command) = program_with_etc(Some(&file)) else { return };
    let gateway = Gateway::launch_with(Arc::clone(&home), command, None);
    gateway.wait_for_line(" ready with 2 workers");
    let first = gateway.lines().remove(0);
    assert_eq!(field(&first, "config"), Some("/etc/portcullis/portcullis.toml"), "{first}");
    assert_eq!(field(&first, "by_default"), Some("true"), "{first}");
    client::echo(&client::connect(gateway.address("edge")), 1, 100);
    gateway.stop();
}

#[test]
fn without_a_config_it_echoes_on_port_7000() {
    in_own_network(|own| {
        let Some(command) = program_with_etc(None).filter(|_| own) else {
            return eprintln!("no network and no /etc of its own: not checked");
        };
        let gateway = Gateway::launch_with(Home::new(), command, None);
        gateway.wait_for_line("ready");
        let first = gateway.lines().remove(0);
        assert_eq!(field(&first, "config"), Some("embedded"), "{first}");
        assert_eq!(field(&first, "by_default"), None, "{first}");
        let stream = client::connect(([127, 0, 0, 1], 7000).into());
        client::echo(&stream, 1, 10_000);
        let said = ask(&gateway, &["reload"]);
        assert!(said.complaint.contains("run --config FILE"), "{said:?}");
        drop(stream);
        gateway.stop();
    });
}

#[test]
fn check_and_doctor_take_the_one_in_etc_and_say_which() {
    const DEFAULT: &str = "/etc/portcullis/portcullis.toml";
    let home = Home::new();
    let file = home.write("default.toml", ECHO);
    let said = |config: Option<&Path>, arguments: &[&str]| {
        let output = program_with_etc(config)?.args(arguments).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((output.status.code(), text(output.stdout), text(output.stderr)))
    };
    let Some((code, answer, complaint)) = said(Some(&file), &["check"]) else { return };
    let right = format!("{DEFAULT}: ok: 1 listener, 1 upstream\n");
    assert_eq!((code, answer, complaint), (Some(0), right, String::new()));
    let (code, answer, complaint) = said(Some(&file), &["doctor"]).expect("as before");
    assert_eq!(code, Some(0), "{answer}");
    assert_eq!(complaint, format!("portcullis: no config is named: {DEFAULT} is taken\n"));
    let (code, _, complaint) = said(None, &["check"]).expect("as before");
    assert_eq!(code, Some(2), "{complaint}");
    assert!(complaint.contains(&format!("there is no {DEFAULT}")), "{complaint}");
    assert!(complaint.contains("Usage: portcullis check"), "{complaint}");
    assert_eq!(said(None, &["doctor"]).expect("as before").0, Some(0));
}
