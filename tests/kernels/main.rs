//! The gateway on other kernels: each boots under emulation with the program in its initramfs, and
//! a program of ours inside is its clients and its servers.
//!
//! `tests/kernels/fetch` brings the kernels and the emulator. A kernel that is not there fails.

mod console;
mod initramfs;
mod machine;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use console::Console;
use machine::Took;

/// The first two numbers of a kernel's release.
type Release = (u32, u32);

/// A guest as it ran.
struct Ran {
    console: Console,
    /// What `io = "auto"` had to come to.
    io: &'static str,
    took: Took,
}

/// All guests of this run. The lock lets one run at a time: each wants all cores.
static RAN: Mutex<Vec<Ran>> = Mutex::new(Vec::new());

static INITRAMFS: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = folder().join("initramfs");
    initramfs::write(&path);
    path
});

#[test]
fn linux_6_1_serves_over_epoll() {
    serves("6.1", |release| release == (6, 1), "epoll");
}

#[test]
fn linux_6_12_serves_over_epoll() {
    serves("6.12", |release| release == (6, 12), "epoll");
}

#[test]
fn the_oldest_kernel_for_io_uring_serves_over_it() {
    serves("oldest", |release| release >= (6, 13), "io_uring");
}

#[test]
fn the_newest_kernel_serves_over_io_uring() {
    serves("newest", |release| release >= (6, 13), "io_uring");
}

/// How many tests there are above, so that the last one can print the matrix.
const KERNELS: usize = 4;

/// Boots the kernel of a folder below `target/kernels` and asserts that each check holds there.
fn serves(name: &str, belongs: fn(Release) -> bool, io: &'static str) {
    let mut ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = folder().join(name).join("vmlinuz");
    let (text, took) = machine::run(&kernel, &INITRAMFS, io);
    let console = Console::read(&text);
    let faults = console.faults(belongs);
    print(&table::list(&console));
    ran.push(Ran { console, io, took });
    if ran.len() == KERNELS {
        ran.sort_by_key(|one| one.console.numbers());
        let matrix = table::matrix(&ran);
        std::fs::write(folder().join("matrix.md"), &matrix).expect("the folder is ours");
        print(&matrix);
    }
    assert!(faults.is_empty(), "{name}: {}\n{text}", faults.join("\n"));
}

/// Not by a macro, whose output is kept back of a test that passes.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).expect("stdout is open");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("target/kernels")
}

/// A program that must be installed.
fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = files.find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: run tests/kernels/fetch"))
}
