//! The bodies of the fuzz targets over the corpus: each of its files, whole and cut.

mod bodies;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bodies::TARGETS;

/// Files of a target's corpus.
const FILES_MAX: usize = 20;
/// Bytes of a file of the corpus.
const FILE_BYTES_MAX: usize = 4096;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target);
    let listing = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let paths = listing.map(|entry| entry.expect("a readable entry").path());
    paths.map(|path| (path.display().to_string(), fs::read(&path).expect("a file"))).collect()
}

fn body_holds(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    for (_, data) in files(target) {
        (0..=data.len()).for_each(|end| body(&data[..end]));
    }
}

#[test]
fn admin_requests_are_refused_or_understood() {
    body_holds("admin");
}

#[test]
fn config_files_are_refused_or_written_back() {
    body_holds("config");
}

#[test]
fn filters_are_refused_or_understood() {
    body_holds("filters");
}

#[test]
fn messages_of_a_handover_are_refused_or_written_back() {
    body_holds("handover");
}

#[test]
fn hellos_are_refused_or_understood() {
    body_holds("hellos");
}

#[test]
fn names_of_servers_are_found_as_a_search_finds_them() {
    body_holds("names");
}

#[test]
fn begins_of_postgresql_are_refused_or_understood() {
    body_holds("postgres");
}

#[test]
fn preambles_are_refused_or_understood() {
    body_holds("preambles");
}

#[test]
fn records_are_opened_and_refused_as_rustls_does() {
    body_holds("records");
}

#[test]
fn each_target_has_a_small_corpus_and_a_program() {
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let listing = fs::read_dir(folder).expect("a folder");
        let name = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        listing.map(|entry| name(entry.expect("a readable entry").path())).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(corpus()), targets);
    assert_eq!(names(corpus().with_file_name("fuzz_targets")), targets);
    let manifest = include_str!("Cargo.toml");
    for target in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        let files = files(&target);
        assert!((1..=FILES_MAX).contains(&files.len()), "{target}: {} files", files.len());
        for (path, data) in files {
            assert!(data.len() <= FILE_BYTES_MAX, "{path}: {} bytes", data.len());
        }
    }
}
