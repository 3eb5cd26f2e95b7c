//! `portcullis doctor` and a start that is refused: streams and exit codes, on this very host.

use std::process::{Command, Output};

/// A config that is there, whatever this host has in /etc.
const MINIMAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/minimal.toml");

fn portcullis(arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_portcullis");
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

#[test]
fn what_fits_exits_with_0_and_what_does_not_with_1() {
    let (code, stdout, stderr) = portcullis(&["doctor", MINIMAL, "--connections", "10"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("10 fit.") && stdout.contains(" = min("), "{stdout}");
    let (code, stdout, stderr) = portcullis(&["doctor", MINIMAL, "--connections", "4000000000"]);
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.contains("4,000,000,000 do not fit."), "{stdout}");
    assert!(stdout.contains("To hold 4,000,000,000, change:"), "{stdout}");
}

#[test]
fn without_a_number_it_says_what_fits() {
    let (code, stdout, _) = portcullis(&["doctor", MINIMAL]);
    assert!(code == 0 && stdout.contains("What binds: "), "{stdout}");
}

#[test]
fn json_is_one_object_with_a_schema() {
    for (connections, code) in [("10", 0), ("4000000000", 1)] {
        let answer = portcullis(&["doctor", MINIMAL, "--json", "--connections", connections]);
        assert_eq!((answer.0, answer.2.as_str()), (code, ""));
        let json: serde_json::Value = serde_json::from_str(&answer.1).expect("JSON");
        assert_eq!(json["schema"], 1);
        assert_eq!(json["holds"], code == 0);
    }
}

#[test]
fn no_number_and_a_missing_file_are_wrong_usage() {
    for arguments in [
        &["doctor", MINIMAL, "--connections", "0"][..],
        &["doctor", MINIMAL, "--connections", "many"],
        &["doctor", "--config", "/nowhere/p.toml"],
    ] {
        let (code, stdout, _) = portcullis(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
    }
}

#[test]
fn a_start_with_more_than_the_host_holds_is_refused_with_the_arithmetic() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("doctor-too-many.toml");
    // A gigabyte holds no more than 128,000 at 8,368 bytes each.
    let text = "[gateway]\nmax_connections = 8_000_000\nmemory_limit = \"1GiB\"\n\
                [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
                [upstream.app]\nservers = [\"127.0.0.1:9\"]\n";
    std::fs::write(&path, text).expect("the target directory is writable");
    let file = path.display().to_string();
    let (code, stdout, stderr) = portcullis(&["run", "--config", &file]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    for words in
        ["gateway.max_connections = 8000000: this host holds", " = min(", "To hold 8,000,000:"]
    {
        assert!(stderr.contains(words), "{stderr}");
    }
    assert!(portcullis(&["doctor", "--config", &file]).0 == 1);
    let asked = ["doctor", "--config", &file, "--connections", "10"];
    assert_eq!(portcullis(&asked).0, 0);
    let _ = std::fs::remove_file(&path);
}
