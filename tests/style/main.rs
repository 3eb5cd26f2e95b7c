//! The rules of style and of shape that a machine can check, held on the whole repository.
//!
//! Each check is a pure function of text in a module beside this one, where it is also shown to
//! fail; here they meet the disk.

mod circles;
mod code;
mod manifest;
mod shape;
mod size;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use code::Code;

/// Folders of Rust code.
const CODE_FOLDERS: [&str; 3] = ["src", "tests", "bench"];
/// Roots of crates whose modules have no circle inside.
const CRATES: [&str; 2] = ["src", "bench/src"];
/// Files that may be longer than [`size::MAX_FILE_LINES`], each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// What the top level holds besides dotfiles and the build's output.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "build.rs",
    "src",
    "bench",
    "tests",
    "config",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What stands in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut entries: Vec<PathBuf> =
        listing.map(|entry| entry.expect("a readable entry").path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> String {
    path.file_name().expect("an entry has a name").to_string_lossy().into_owned()
}

/// Files below `folder` with their paths from the root, without the build's output.
fn files_below(folder: &Path, found: &mut Vec<(String, String)>) {
    for path in entries(folder) {
        let hidden = name(&path).starts_with('.');
        if path.is_dir() && !hidden && name(&path) != "target" {
            files_below(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let short = path.strip_prefix(root()).expect("below the root");
            found.push((short.to_string_lossy().into_owned(), text));
        }
    }
}

fn all_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files_below(&root(), &mut found);
    found
}

/// Every Rust file in the code folders: path and text.
fn code_files() -> Vec<(String, String)> {
    let of_code = |path: &str| {
        path.ends_with(".rs") && CODE_FOLDERS.iter().any(|f| path.starts_with(&format!("{f}/")))
    };
    let files: Vec<_> = all_files().into_iter().filter(|(path, _)| of_code(path)).collect();
    assert!(files.len() > 20, "only {} Rust files were found", files.len());
    files
}

/// Runs `check` on each Rust file and fails with everything it finds.
fn hold(check: impl Fn(&str, &str, &Code) -> Vec<String>) {
    let mut findings = Vec::new();
    for (path, text) in code_files() {
        let found = check(&path, &text, &Code::of(&text));
        findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn files_functions_and_lines_are_short() {
    hold(|path, text, code| {
        let mut findings = size::long_lines(text);
        findings.extend(size::long_functions(code));
        if !LONG_FILES.iter().any(|(long, _)| *long == path) {
            findings.extend(size::long_file(text));
        }
        findings
    });
}

#[test]
fn dependencies_go_strictly_downwards() {
    hold(|path, _, code| shape::upward_uses(path, code));
}

#[test]
fn no_module_has_a_circle_inside() {
    let mut found = Vec::new();
    for root in CRATES {
        let below = |(path, text): (String, String)| {
            let path = path.strip_prefix(root)?.strip_prefix('/')?.to_owned();
            Some((path, Code::of(&text)))
        };
        let files: Vec<_> = code_files().into_iter().filter_map(below).collect();
        found.extend(circles::circles(root, &files));
    }
    let known = |circle: &String| circles::KNOWN.contains(&circle.as_str());
    let new: Vec<_> = found.iter().filter(|circle| !known(circle)).collect();
    assert!(new.is_empty(), "these parts need each other: {new:?}");
    let gone = circles::KNOWN.iter().find(|known| !found.iter().any(|circle| circle == *known));
    assert_eq!(gone, None, "there is no such circle any more: take it out of the known ones");
}

#[test]
fn words_stay_where_they_belong() {
    hold(|path, _, code| words::out_of_place(path, code));
}

#[test]
fn nothing_is_left_to_be_done() {
    hold(|_, _, code| words::unfinished_code(code));
    let mut findings = Vec::new();
    for (path, text) in all_files() {
        let found = words::notes_to_self(&text);
        findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_file_says_its_purpose_first() {
    hold(|_, text, _| words::missing_purpose(text));
}

#[test]
fn the_map_in_lib_rs_equals_the_disk() {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let on_disk: Vec<String> = entries(&root().join("src"))
        .iter()
        .map(|path| name(path) + if path.is_dir() { "/" } else { "" })
        .filter(|entry| entry != "lib.rs" && entry != "main.rs")
        .collect();
    let findings = shape::map_differences(&text, &on_disk);
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn the_top_level_holds_nothing_else() {
    let names: Vec<String> = entries(&root()).iter().map(|path| name(path)).collect();
    let findings = shape::strangers(&names, &TOP_LEVEL);
    assert!(findings.is_empty(), "{findings:?} stand at the top level");
    assert_eq!(shape::strangers(&[".git", "target", "src", "docs"], &TOP_LEVEL), ["docs"]);
}

#[test]
fn every_dependency_is_argued_beside_it() {
    let mut findings = Vec::new();
    for (path, text) in all_files() {
        if path.ends_with("Cargo.toml") {
            let found = manifest::unargued_dependencies(&text);
            findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn an_allowed_long_file_exists_and_has_a_reason() {
    for (path, reason) in LONG_FILES {
        assert!(root().join(path).exists() && !reason.is_empty(), "{path}: {reason}");
    }
}
