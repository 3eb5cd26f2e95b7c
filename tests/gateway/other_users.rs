//! A gateway of another user: root's commands neither find it nor believe it.

use std::io::{Write, stderr};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::geteuid;

use crate::support::command::ask;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::{Gateway, Home, program};

/// A user that this host need not know.
const USER: u32 = 4711;

#[test]
fn roots_commands_do_not_trust_a_directory_or_a_socket_of_another_user() {
    if !geteuid().is_root() {
        // Past what captures the words of tests that pass.
        let words = b"other_users checks nothing: only root can run programs as another user\n";
        return stderr().write_all(words).expect("stderr");
    }
    let home = Home::new();
    chown(home.path(), Some(USER), Some(USER)).expect("root may");
    // Where the program was built, that user may not be able to look.
    let copy = home.path().join("program");
    std::fs::copy(program(None).get_program(), &copy).expect("a copy");
    let mut command = Command::new(&copy);
    command.uid(USER).gid(USER);
    let gateway = Gateway::launch_in(home.clone(), command, Some(OWN_ECHO));
    gateway.wait_for_line(" ready ");

    let said = ask(&gateway, &["status"]);
    assert_eq!((said.code, said.answer.as_str()), (Some(1), ""), "{}", said.complaint);
    assert!(said.complaint.contains(&format!("uid {USER}")), "{}", said.complaint);
    assert!(said.complaint.contains("sudo -u"), "{}", said.complaint);

    let mut command = program(None);
    command.arg("status").env("RUNTIME_DIRECTORY", home.path());
    let output = command.output().expect("the program runs");
    let words = String::from_utf8_lossy(&output.stderr);
    let reason = format!("is passed over: it belongs to uid {USER}");
    assert!(!output.status.success() && words.contains(&reason), "{words}");

    // Nor does root keep its own files there.
    let own = Gateway::launch_in(home, program(None), Some(OWN_ECHO));
    let (status, lines) = own.ended_by_itself();
    let named = |line: &String| line.contains(&format!("it belongs to uid {USER}"));
    assert!(status.code() == Some(1) && lines.iter().any(named), "{lines:?}");

    let mut command = Command::new(copy);
    command.uid(USER).gid(USER).args(["status", "--admin"]).arg(gateway.admin_socket());
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    gateway.stop();
}
