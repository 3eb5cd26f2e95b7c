//! What is made of the program for others to install: a Debian package, an image, manifests.
//!
//! Each test fails where the programs that it needs are not installed: none is skipped.

mod deb;
mod image;
mod kubernetes;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// What the tests here need, as Debian names it.
const INSTALL: &str = "apt-get install dpkg lintian binutils crun umoci iproute2 util-linux \
    systemd-standalone-sysusers python3 golang-github-containers-common";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program to put into packages, without symbols: the tests' own, or that of
/// `PORTCULLIS_PROGRAM`.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let given = std::env::var_os("PORTCULLIS_PROGRAM");
    let program = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_portcullis").into());
    let stripped = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portcullis-in-packages");
    said(installed("strip").arg("-o").arg(&stripped).arg(program));
    stripped
});

/// A command for a program that must be installed.
fn installed(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps some where an ordinary user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder: PathBuf| folder.join(name)).find(|file| file.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is not installed: {INSTALL}")))
}

/// A script of the repository.
fn script(name: &str) -> Command {
    Command::new(root().join(name))
}

/// Runs a command to its end; its exit code, and what it said on either stream.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// The same for one that must end well.
fn said(command: &mut Command) -> String {
    let (code, said) = ended(command);
    assert_eq!(code, Some(0), "{command:?}:\n{said}");
    said
}
