//! Every rival takes its config, and serves with it. Needs them all on the machine.

mod runs;

use runs::{portcullis, run};

/// Measures a rival at these works; its own check of its config comes before.
#[track_caller]
fn serves(rival: &str, works: &str) {
    let outcome =
        run(&["compare", "--targets", rival, "--works", works, "--rounds", "1", "--seconds", "1"]);
    let said = &outcome.errors;
    assert!(matches!(outcome.code, Some(0 | 3)), "{rival}: {:?}: {said}", outcome.code);
    let (about, results) = outcome.lines.split_first().expect("lines");
    assert_eq!(about["about"]["skipped"].as_array().map(Vec::len), Some(0), "{said}");
    assert_eq!(results.len(), works.split(',').count(), "{said}");
    for line in results {
        assert_eq!(line["good"], true, "{rival}: {line}");
        assert_eq!(line["run"]["target"], rival, "{line}");
    }
}

const WORKS: &str =
    "pingpong-4,churn-2,bulk-up-2,bulk-down-2,halfclose-20,halfclose-server-20,reset-20";

#[test]
fn haproxy() {
    serves("haproxy", WORKS);
}

#[test]
fn haproxy_that_splices() {
    serves("haproxy-splice", "bulk-up-2,bulk-down-2");
}

#[test]
fn portcullis_that_batches() {
    portcullis();
    serves("portcullis-batch", "rate-100");
}

#[test]
fn portcullis_over_epoll() {
    portcullis();
    serves("portcullis-epoll", WORKS);
}

#[test]
fn nginx() {
    serves("nginx", WORKS);
}

#[test]
fn envoy() {
    serves("envoy", WORKS);
}

/// What the rivals with TLS are for.
const SECURED_WORKS: &str = "pingpong-4,churn-2,handshakes-2,bulk-up-2,bulk-down-2";

#[test]
fn haproxy_with_tls() {
    serves("haproxy-tls", SECURED_WORKS);
}

#[test]
fn nginx_with_tls() {
    serves("nginx-tls", SECURED_WORKS);
}

#[test]
fn envoy_with_tls() {
    serves("envoy-tls", SECURED_WORKS);
}

#[test]
fn portcullis_with_tls() {
    portcullis();
    serves("portcullis-tls", SECURED_WORKS);
}

/// Upgrades a rival in its own way, while few are held.
#[track_caller]
fn is_upgraded(rival: &str) {
    let flags = ["--connections", "50", "--churn", "20", "--rounds", "1", "--grace", "2s"];
    let outcome = run(&[&["compare", "upgrade", "--targets", rival], &flags[..]].concat());
    let said = &outcome.errors;
    assert!(matches!(outcome.code, Some(0 | 3)), "{rival}: {:?}: {said}", outcome.code);
    let line = &outcome.lines[1];
    assert_eq!((&line["good"], &line["run"]["target"]), (&true.into(), &rival.into()), "{line}");
    assert_eq!(line["counts"]["held_opened"], 50, "{line}");
}

#[test]
fn haproxy_is_upgraded() {
    is_upgraded("haproxy");
}

#[test]
fn nginx_is_upgraded() {
    is_upgraded("nginx");
}

#[test]
fn envoy_is_upgraded() {
    is_upgraded("envoy");
}
