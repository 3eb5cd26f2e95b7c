//! What a guest has for a root: the program, the checks, what both link, and busybox.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{installed, root};

/// An archive as `cpio --format=newc` writes it: Documentation/driver-api/early-userspace of Linux.
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = 1;
        let name_bytes = name.len() + 1;
        let (uid, gid, time, device) = (0, 0, 0, 0);
        let sizes = [content.len() as u32, device, device, device, device, name_bytes as u32, 0];
        let fields = [self.entries, mode, uid, gid, links, time].into_iter().chain(sizes);
        self.bytes.extend_from_slice(b"070701");
        fields.for_each(|field| self.bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, from: &Path) {
        let content = fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        self.entry(name, 0o100_755, &content);
    }
}

/// Writes the archive: the program is the tests' own, or that of `PORTCULLIS_PROGRAM`, without
/// symbols, which a small guest would have to hold.
pub(crate) fn write(to: &Path) {
    let folder = to.parent().expect("it is below a folder");
    fs::create_dir_all(folder).expect("target is ours");
    let given = std::env::var_os("PORTCULLIS_PROGRAM");
    let program = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_portcullis").into());
    let programs =
        [("portcullis", Path::new(&program)), ("checks", Path::new(env!("CARGO_BIN_EXE_checks")))];
    let mut archive = Archive { bytes: Vec::new(), entries: 0 };
    ["bin", "proc", "sys", "dev", "run", "tmp"].iter().for_each(|name| archive.folder(name));
    let mut libraries = Vec::new();
    for (name, program) in programs {
        let stripped = folder.join(name);
        said(Command::new(installed("strip")).arg("-o").arg(&stripped).arg(program));
        archive.file(&format!("bin/{name}"), &stripped);
        libraries.extend(linked(program));
    }
    libraries.sort();
    libraries.dedup();
    let mut folders: Vec<&Path> =
        libraries.iter().flat_map(|path| Path::new(path).ancestors().skip(1)).collect();
    folders.sort();
    folders.dedup();
    for path in folders.into_iter().filter(|path| path.parent().is_some()) {
        archive.folder(&inside(path));
    }
    libraries.iter().for_each(|path| archive.file(&inside(Path::new(path)), Path::new(path)));
    archive.file("bin/busybox", &installed("busybox"));
    archive.file("init", &root().join("tests/kernels/guest/init"));
    archive.entry("TRAILER!!!", 0, &[]);
    fs::write(to, archive.bytes).expect("target is ours");
}

/// The shared libraries of a program and what loads them. A static program has none.
fn linked(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter_map(|line| line.split_whitespace().find(is_absolute));
    words.map(str::to_owned).collect()
}

fn is_absolute(word: &&str) -> bool {
    word.starts_with('/')
}

fn inside(path: &Path) -> String {
    path.display().to_string().trim_start_matches('/').to_owned()
}

fn said(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}
