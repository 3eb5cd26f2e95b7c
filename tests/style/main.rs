//! The rules of style and of shape that a machine can check, held on the whole repository.
//!
//! Each check is a pure function of text in a module beside this one, where it is also shown to
//! fail; here they meet the disk.

mod circles;
mod code;
mod crates;
mod documents;
mod lexicon;
mod manifest;
mod parts;
mod public;
mod shape;
mod size;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

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
/// Hidden folders that are the repository's own.
const HIDDEN_FOLDERS: [&str; 3] = [".ci", ".cargo", ".github"];
/// Documents for people.
const DOCUMENTS: [&str; 9] = [
    "README.md",
    "config/manual.md",
    "config/install.md",
    "config/coming-from.md",
    "bench/README.md",
    "src/architecture.md",
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    ".github/CHANGELOG.md",
];
/// Lines of the README: the rest is the manual's.
const README_LINES: usize = 120;

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
        let name = name(&path);
        let foreign = name.starts_with('.') && !HIDDEN_FOLDERS.contains(&name.as_str());
        if path.is_dir() && !foreign && name != "target" {
            files_below(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let short = path.strip_prefix(root()).expect("below the root");
            found.push((short.to_string_lossy().into_owned(), text));
        }
    }
}

/// Every file, read once for all checks: path and text.
static ALL_FILES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let mut found = Vec::new();
    files_below(&root(), &mut found);
    found
});

/// Every Rust file in the code folders: path, text, and the code in it.
static CODE_FILES: LazyLock<Vec<(&str, &str, Code)>> = LazyLock::new(|| {
    let of_code = |path: &str| {
        path.ends_with(".rs") && CODE_FOLDERS.iter().any(|f| path.starts_with(&format!("{f}/")))
    };
    let files = ALL_FILES.iter().filter(|(path, _)| of_code(path));
    let files: Vec<_> =
        files.map(|(path, text)| (path.as_str(), text.as_str(), Code::of(text))).collect();
    assert!(files.len() > 20, "only {} Rust files were found", files.len());
    files
});

/// Runs `check` on each Rust file and fails with everything it finds.
fn hold(check: impl Fn(&str, &str, &Code) -> Vec<String>) {
    let mut findings = Vec::new();
    for (path, text, code) in &*CODE_FILES {
        let found = check(path, text, code);
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
fn the_parts_of_the_bench_see_only_what_they_stand_on() {
    hold(|path, _, code| parts::strange_uses(path, code));
    hold(|path, _, code| parts::open_modules(path, code));
    let on_disk = entries(&root().join(parts::ROOT)).iter().map(|path| name(path)).collect();
    assert_eq!(parts::absent(on_disk), [""; 0]);
}

#[test]
fn no_module_has_a_circle_inside() {
    let mut found = Vec::new();
    for root in CRATES {
        let below = |path: &'static str| path.strip_prefix(root)?.strip_prefix('/');
        let files = CODE_FILES.iter().filter_map(|(path, _, code)| Some((below(path)?, code)));
        let files: Vec<_> = files.collect();
        found.extend(circles::circles(root, &files));
    }
    let known = |circle: &String| circles::KNOWN.contains(&circle.as_str());
    let new: Vec<_> = found.iter().filter(|circle| !known(circle)).collect();
    assert!(new.is_empty(), "these parts need each other: {new:?}");
    let gone = circles::KNOWN.iter().find(|known| !found.iter().any(|circle| circle == *known));
    assert_eq!(gone, None, "there is no such circle any more: take it out of the known ones");
}

#[test]
fn no_item_is_public_for_its_own_file_alone() {
    let build = Code::of(&text_of("build.rs"));
    let files = CODE_FILES.iter().map(|(path, _, code)| (*path, code));
    let files: Vec<_> = files.chain([("build.rs", &build)]).collect();
    let findings = public::unused(&files);
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn words_stay_where_they_belong() {
    hold(|path, _, code| words::out_of_place(path, code));
}

#[test]
fn words_are_those_of_the_lexicon() {
    hold(|path, text, _| match path.starts_with("src/") {
        true => lexicon::forbidden_in_code(text),
        false => Vec::new(),
    });
}

#[test]
fn nothing_is_left_to_be_done() {
    hold(|_, _, code| words::unfinished_code(code));
    let mut findings = Vec::new();
    for (path, text) in &*ALL_FILES {
        let found = words::notes_to_self(text);
        findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_file_says_its_purpose_first() {
    hold(|_, text, _| words::missing_purpose(text));
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs `check` on each document and fails with everything it finds.
fn hold_documents(check: impl Fn(&str, &str) -> Vec<String>) {
    let mut findings = Vec::new();
    for path in DOCUMENTS {
        let found = check(path, &text_of(path));
        findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn documents_use_plain_words() {
    hold_documents(|_, text| documents::heavy_words(text));
}

#[test]
fn documents_refer_to_what_is_there() {
    hold_documents(|path, text| {
        documents::dead_references(path, text, |place| root().join(place).exists())
    });
}

#[test]
fn the_lexicon_is_in_order() {
    let findings = documents::lexicon_disorder(&text_of("src/architecture.md"));
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = text_of("README.md").lines().count();
    assert!(lines <= README_LINES, "{lines} lines: the manual takes more");
}

#[test]
fn the_map_equals_the_disk() {
    let text = text_of("src/architecture.md");
    let on_disk: Vec<String> = entries(&root().join("src"))
        .iter()
        .map(|path| name(path) + if path.is_dir() { "/" } else { "" })
        .filter(|entry| !["lib.rs", "main.rs", "architecture.md"].contains(&entry.as_str()))
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
    for (path, text) in &*ALL_FILES {
        if path.ends_with("Cargo.toml") {
            let found = manifest::unargued_dependencies(text);
            findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
        }
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn every_dependency_is_used() {
    let mut findings = Vec::new();
    for (path, text) in &*ALL_FILES {
        let Some(folder) = path.strip_suffix("Cargo.toml") else { continue };
        let texts = ALL_FILES.iter().filter(|(path, _)| path.ends_with(".rs"));
        // The fuzz targets share files with the tests around them.
        let below: &[&str] = match folder.split_once('/') {
            None => &["src/", "tests/", "build.rs"],
            Some((top, _)) => &[top],
        };
        let texts = texts.filter(|(path, _)| below.iter().any(|folder| path.starts_with(folder)));
        let texts: Vec<&str> = texts.map(|(_, text)| text.as_str()).collect();
        let found = manifest::unused_dependencies(text, &texts);
        findings.extend(found.into_iter().map(|finding| format!("{path}:{finding}")));
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// What cargo says of every crate that this host's build takes. It needs no network where all of
/// them are there, as they are after a build of the workspace.
fn packages() -> Vec<crates::Package> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--format-version=1", "--locked"]);
    let output = cargo.args(["--filter-platform", &target]).output().expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let packages = crates::packages(&String::from_utf8(output.stdout).expect("it is UTF-8"));
    assert!(packages.len() > 100, "only {} crates were found", packages.len());
    packages
}

#[test]
fn every_crate_may_be_used_here() {
    let packages = packages();
    let oldest = crates::field(&text_of("Cargo.toml"), "rust-version").map(str::to_owned);
    let mut findings = crates::other_licences(&packages);
    findings.extend(crates::newer_toolchains(&packages, &oldest.expect("the manifest says it")));
    let lock = text_of("Cargo.lock");
    findings.extend(crates::unargued_doubles(&lock));
    findings.extend(crates::other_sources(&lock));
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// The toolchain that the manifest names is the one that is tested, and the one that the documents
/// ask for.
#[test]
fn the_declared_toolchain_is_the_tested_one() {
    let manifest = text_of("Cargo.toml");
    let declared = crates::field(&manifest, "rust-version").expect("the manifest says it");
    let workflow = text_of(".github/workflows/ci.yml");
    assert!(
        workflow.contains(&format!("image: rust:{declared}-")),
        "another image than {declared}"
    );
    assert!(workflow.contains(".ci/run"), "the workflow runs what is run before a push");
    for document in ["README.md", "config/manual.md"] {
        let asked = format!("Rust {declared} or");
        let text = text_of(document).replace('\n', " ");
        assert!(text.contains(&asked), "{document} does not ask for {asked}");
    }
}

#[test]
fn an_allowed_long_file_exists_and_has_a_reason() {
    for (path, reason) in LONG_FILES {
        assert!(root().join(path).exists() && !reason.is_empty(), "{path}: {reason}");
    }
}
