//! The Debian package: twice the same bytes, nothing that lintian warns of, in and out again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::{PROGRAM, ended, installed, said, script};

/// The package, with the folder that it lies in.
static DEB: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| build(&[]));

fn build(variables: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut build = script("config/packaging/deb");
    said(build.args([PROGRAM.as_path(), folder.path()]).envs(variables.iter().copied()));
    let files = fs::read_dir(folder.path()).expect("it is there");
    let files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    let [file] = &files[..] else { panic!("one package: {files:?}") };
    (folder, file.clone())
}

/// A system of nothing but dpkg's own files.
struct System(TempDir);

impl System {
    fn new() -> System {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
            fs::create_dir_all(root.path().join(folder)).expect("it is ours");
        }
        fs::write(root.path().join("var/lib/dpkg/status"), "").expect("it is ours");
        System(root)
    }

    /// dpkg on this system. The package's scripts run outside, with the system's root in DPKG_ROOT.
    fn dpkg(&self, action: &str, what: &Path) -> String {
        let mut dpkg = installed("dpkg");
        dpkg.arg(format!("--root={}", self.0.path().display()));
        dpkg.args(["--force-script-chrootless", "--force-depends", "--force-not-root"]);
        dpkg.args(["--force-confdef", "--force-confold", "--force-bad-path", action]);
        said(dpkg.arg(what))
    }

    fn path(&self, place: &str) -> PathBuf {
        self.0.path().join(place)
    }

    fn text(&self, place: &str) -> String {
        fs::read_to_string(self.path(place)).unwrap_or_else(|error| panic!("{place}: {error}"))
    }
}

#[test]
fn two_builds_are_the_same_bytes() {
    let (_folder, other) =
        build(&[("TZ", "Pacific/Kiritimati"), ("LANG", "C.UTF-8"), ("XZ_DEFAULTS", "-T0")]);
    assert_eq!(DEB.1.file_name(), other.file_name());
    let bytes = |path: &Path| fs::read(path).expect("it is there");
    assert!(bytes(&DEB.1) == bytes(&other), "two builds differ");
}

/// Debian's own static program stands for ours: a package depends on the C library that it links.
#[test]
fn a_static_program_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut build = script("config/packaging/deb");
    build.arg(installed("ldconfig").get_program()).arg(folder.path());
    let (code, said) = ended(&mut build);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("links no C library"), "{said}");
}

#[test]
fn lintian_has_nothing_to_say() {
    let mut lintian = installed("lintian");
    let said = ended(lintian.args(["--allow-root", "--fail-on=error,warning"]).arg(&DEB.1));
    assert_eq!(said, (Some(0), String::new()));
}

#[test]
fn it_installs_and_goes_without_a_trace() {
    let system = System::new();
    system.dpkg("--install", &DEB.1);
    let unit = system.text("lib/systemd/system/portcullis.service");
    assert!(unit.contains("ExecStart=/usr/bin/portcullis run"), "{unit}");
    assert!(unit.contains("User=portcullis") && !unit.contains("DynamicUser"), "{unit}");
    assert!(system.text("etc/passwd").contains("portcullis:x:"), "the service's user is there");
    let mut program = Command::new(system.path("usr/bin/portcullis"));
    let config = system.path("etc/portcullis/portcullis.toml");
    assert!(said(program.args(["check", "--config"]).arg(&config)).contains("ok"));
    for place in [
        "lib/systemd/system/portcullis.socket",
        "usr/share/man/man1/portcullis.1.gz",
        "usr/share/man/man1/portcullis-drain.1.gz",
        "usr/share/man/man5/portcullis.toml.5.gz",
        "usr/share/bash-completion/completions/portcullis",
        "usr/share/zsh/vendor-completions/_portcullis",
        "usr/share/fish/vendor_completions.d/portcullis.fish",
        "usr/share/doc/portcullis/copyright",
        "usr/share/doc/portcullis/crates.gz",
    ] {
        assert!(system.path(place).metadata().is_ok_and(|file| file.len() > 0), "{place}");
    }

    // What an operator wrote outlives a new version and the removal, and goes with a purge.
    let written = "# ours\n";
    fs::write(&config, written).expect("it is ours");
    system.dpkg("--install", &DEB.1);
    assert_eq!(fs::read_to_string(&config).expect("it is there"), written);
    system.dpkg("--remove", Path::new("portcullis"));
    assert_eq!(fs::read_to_string(&config).expect("it is there"), written);
    assert!(!system.path("usr/bin/portcullis").exists());
    fs::create_dir_all(system.path("var/lib/portcullis")).expect("it is ours");
    system.dpkg("--purge", Path::new("portcullis"));
    for place in ["etc/portcullis", "var/lib/portcullis", "usr/share/doc/portcullis"] {
        assert!(!system.path(place).exists(), "{place} is still there");
    }
}
