//! What a report says first: throughput and p99 beside CPU, and no file names.

mod support;

use support::{Run, bench};

/// Results of a comparison that are kept with the program.
const RESULTS: &str = "2026-11-23-linux-6.18-2-cores.jsonl";

#[test]
fn throughput_and_p99_stand_beside_cpu_and_no_file_is_named() {
    let path = format!("{}/results/{RESULTS}", env!("CARGO_MANIFEST_DIR"));
    let ended = Run::begin(bench(&["report", &path, "--markdown", "-"])).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (_, summary) = ended.output.split_once("## Summary\n").expect("a summary, unnumbered");
    let (summary, _) = summary.split_once("\n## ").expect("more sections");
    let of_work = |line: &&str| line.starts_with("| 64 B ping-pong, 1,000 connections");
    let lines: Vec<&str> = summary.lines().filter(of_work).collect();
    let has = |figure: &str| lines.iter().any(|line| line.contains(figure));
    assert!(has("(CPU per message") && has("(messages") && has("(p99"), "{summary}");
    assert!(!summary.contains(".jsonl") && !summary.contains("results"), "{summary}");
}

#[test]
fn several_files_are_numbered_and_told_apart_below() {
    let path = format!("{}/results/{RESULTS}", env!("CARGO_MANIFEST_DIR"));
    let ended = Run::begin(bench(&["report", &path, &path, "--markdown", "-"])).end();
    let (summary, below) = ended.output.split_once("\n## Where and how").expect("sections");
    assert!(summary.contains("## Summary (1)") && !summary.contains(".jsonl"), "{summary}");
    assert!(below.contains("**Read from**"), "{below}");
}
