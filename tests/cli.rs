//! What a command answers: which stream, which words, which exit code.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn portcullis(arguments: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_portcullis");
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(name);
    path.display().to_string()
}

/// A config file that goes when the test ends.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Written {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).expect("the target directory is writable");
        Written(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_right_file_is_answered_on_stdout_with_0() {
    let file = example("minimal.toml");
    let (code, stdout, stderr) = portcullis(&["check", "--config", &file]);
    let answer = format!("{file}: ok: 1 listener, 1 upstream\n");
    assert_eq!((code, stdout, stderr), (0, answer, String::new()));
}

#[test]
fn a_file_is_named_in_several_ways_and_may_come_over_standard_input() {
    let file = example("minimal.toml");
    for arguments in [&["check", &*file][..], &["check", "-c", &file]] {
        let (code, stdout, _) = portcullis(arguments);
        assert_eq!((code, stdout), (0, format!("{file}: ok: 1 listener, 1 upstream\n")));
    }
    for (text, set, code, answer, complaint) in [
        (
            "[listener.a]\nbind = [\"127.0.0.1:1\"]\nupstream = \"b\"\n[upstream.b]\n",
            "upstream.b.builtin=echo",
            0,
            "stdin: ok: 1 listener, 1 upstream\n",
            "",
        ),
        (
            "[gateway]\nworkers = 0\n",
            "log.level=debug",
            2,
            "",
            "stdin:2: gateway.workers = 0: must be 1 to 1024",
        ),
        ("", "log.level=loud", 2, "", "--set: log.level = \"loud\": must be \"error\""),
        (
            "include = [\"a.toml\"]\n",
            "log.level=debug",
            2,
            "",
            "stdin:1: include = \"a.toml\": must be an absolute path: standard input has no",
        ),
        ("\u{ff}workers ==", "log.level=debug", 2, "", "stdin:1: is not TOML: "),
    ] {
        let given = Written::new("cli-input.toml", text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["check", "-", "--set", set]);
        command.stdin(std::fs::File::open(&given.0).expect("it was written"));
        let output = command.output().expect("the program runs");
        let said = String::from_utf8(output.stderr).expect("it speaks UTF-8");
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(String::from_utf8(output.stdout).expect("it speaks UTF-8"), answer);
        assert!(said.contains(complaint), "{said}");
    }
}

#[test]
fn what_this_host_lacks_is_a_warning_of_check_and_a_no_of_doctor() {
    let text = "[listener.edge]\nbind = [\"192.0.2.77:7000\"]\nupstream = \"app\"\n\
        [upstream.app]\nservers = [\"10.0.0.1:9\", \"[fd00::1]:9\"]\n\
        source_addresses = [\"192.0.2.77\", \"2001:db8::77\"]\n\
        [admin]\ngroup = \"no-such-group\"\n[access_log]\npath = \"/nowhere/access.log\"\n\
        [status]\nbind = \"192.0.2.77:7001\"\n";
    let file = Written::new("cli-lacks.toml", text);
    let path = file.0.display().to_string();
    let keys = [
        "listener.edge.bind = \"192.0.2.77:7000\"",
        "status.bind = \"192.0.2.77:7001\"",
        "upstream.app.source_addresses = \"192.0.2.77\"",
        "upstream.app.source_addresses = \"2001:db8::77\"",
        "admin.group = \"no-such-group\"",
        "access_log.path = \"/nowhere/access.log\"",
    ];
    let (code, stdout, stderr) = portcullis(&["check", "--config", &path]);
    assert_eq!((code, stdout), (0, format!("{path}: ok: 1 listener, 1 upstream\n")), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), keys.len(), "{stderr}");
    let (code, report, _) = portcullis(&["doctor", "--config", &path]);
    assert_eq!(code, 1, "{report}");
    let (_, json, _) = portcullis(&["doctor", "--json", "--config", &path]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for (index, key) in keys.iter().enumerate() {
        let told = format!("{path}: warning: a start on this host fails: {key}: ");
        assert!(lines[index].starts_with(&told), "{stderr}");
        assert!(report.contains(&format!("A start fails: {key}: ")), "{report}");
        assert!(key.starts_with(json["lacks"][index]["key"].as_str().expect("a key")), "{json}");
    }
}

#[test]
fn a_wrong_file_is_explained_on_stderr_with_2() {
    let file = Written::new("cli-wrong.toml", "[gateway]\nworkers = 0\n");
    let path = file.0.display().to_string();
    for arguments in [["check", "--config", &path], ["run", "--config", &path]] {
        let (code, stdout, stderr) = portcullis(&arguments);
        assert_eq!((code, stdout), (2, String::new()));
        let lines: Vec<&str> = stderr.lines().collect();
        let place = format!("{path}:2: gateway.workers = 0: must be 1 to 1024");
        assert!(lines.len() == 2 && lines.iter().any(|line| line.starts_with(&place)), "{stderr}");
    }
}

#[test]
fn wrong_usage_is_explained_on_stderr_with_2() {
    for arguments in [&[][..], &["walk"], &["check", "f", "-c", "f"], &["run", "--confg", "x"]] {
        let (code, stdout, stderr) = portcullis(arguments);
        assert_eq!((code, stdout), (2, String::new()), "{arguments:?}");
        assert!(stderr.contains("Usage: portcullis"), "{stderr}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let (code, stdout, stderr) = portcullis(&["--version"]);
    let commit = option_env!("PORTCULLIS_COMMIT").map(|commit| format!(" ({commit})"));
    let version =
        format!("portcullis {}{}\n", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default());
    assert_eq!((code, stdout, stderr), (0, version, String::new()));
    let (code, stdout, _) = portcullis(&["--help"]);
    assert!(code == 0 && stdout.contains("check") && stdout.contains("Exit codes"), "{stdout}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure_and_a_full_disk_is() {
    let minimal = example("minimal.toml");
    for (arguments, answer) in [
        (&["completions", "bash"][..], 0),
        (&["man"], 0),
        (&["--help"], 0),
        (&["doctor", &minimal, "--connections", "100000000000"], 1),
    ] {
        let code = |stdout: Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
            let output = command.args(arguments).stdout(stdout).output().expect("the program runs");
            (output.status.code(), String::from_utf8(output.stderr).expect("it speaks UTF-8"))
        };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(code(writer.into()), (Some(answer), String::new()), "{arguments:?}");
        let full = OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let (code, complaint) = code(full.into());
        assert!(code == Some(1) && complaint.contains("cannot write to stdout"), "{complaint}");
    }
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let commands = [
        "run",
        "check",
        "doctor",
        "drain",
        "conns",
        "kill",
        "listener",
        "server",
        "dump",
        "completions",
        "man",
    ];
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, stderr) = portcullis(&["completions", shell]);
        assert_eq!((code, stderr), (0, String::new()));
        assert!(commands.iter().all(|command| stdout.contains(command)), "{stdout}");
    }
    let (code, page, _) = portcullis(&["man"]);
    assert!(code == 0 && page.contains(".TH portcullis 1"), "{page}");
    for title in ["EXIT STATUS", "SIGNALS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
        assert!(page.contains(&format!("\n.SH {title}\n")), "{title}: {page}");
    }
    let (code, of_config, _) = portcullis(&["man", "--config"]);
    assert!(code == 0 && of_config.contains(".TH portcullis.toml 5"), "{of_config}");
    let directory = tempfile::tempdir().expect("a directory");
    let (code, _, stderr) =
        portcullis(&["man", "--directory", &directory.path().display().to_string()]);
    assert_eq!((code, stderr), (0, String::new()));
    for command in commands {
        let page = directory.path().join(format!("portcullis-{command}.1"));
        assert!(std::fs::read_to_string(page).expect("a page").contains(".SH SYNOPSIS"));
    }
    let whole = std::fs::read_to_string(directory.path().join("portcullis.1")).expect("a page");
    assert_eq!(whole.trim_end(), page.trim_end(), "the same as without a directory");
    let (code, _, stderr) = portcullis(&["man", "--directory", "/nowhere/at/all"]);
    assert!(code == 1 && stderr.contains("/nowhere/at/all"), "{stderr}");
}
