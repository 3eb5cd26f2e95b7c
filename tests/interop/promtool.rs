//! Prometheus's own tool accepts what the gateway shows, and the alert rules beside it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::{output, program};
use crate::support::client;
use crate::support::config::OWN_ECHO;
use crate::support::gateway::Gateway;
use crate::support::http::get;

/// A file of the repository.
fn host_file(name: &str) -> String {
    format!("{}/config/host/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What the tool says about what it is given; it must find nothing.
fn finds_nothing(command: &mut Command, given: &str) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = command.spawn().expect("an installed program runs");
    tool.stdin.take().expect("a pipe").write_all(given.as_bytes()).expect("it reads");
    let said = tool.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success() && text.is_empty(), "{text}\n{given}");
}

#[test]
fn promtool_finds_nothing_in_the_metrics() {
    let gateway = Gateway::start(OWN_ECHO);
    client::echo(&client::connect(gateway.address("edge")), 1, 1_000);
    let answer = get(gateway.status(), "/metrics");
    assert!(answer.body.contains("portcullis_connections_accepted_total{listener=\"edge\"} 1\n"));
    finds_nothing(program("promtool").args(["check", "metrics"]), &answer.body);
    gateway.stop();
}

#[test]
fn promtool_accepts_the_alert_rules() {
    let said = output(program("promtool").args(["check", "rules", &host_file("alerts.yaml")]));
    assert!(said.contains("SUCCESS: ") && said.contains(" rules found"), "{said}");
}

/// A dashboard's expressions, as rules that record them.
#[test]
fn promtool_accepts_every_expression_of_the_dashboard() {
    let text = std::fs::read_to_string(host_file("dashboard.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let rules: Vec<Value> = targets
        .map(|target| target["expr"].as_str().expect("an expression"))
        .enumerate()
        // Grafana puts a duration in the place of its variable.
        .map(|(index, expr)| (index, expr.replace("$__rate_interval", "1m")))
        .map(|(index, expr)| json!({"record": format!("panel:{index}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 30, "only {} expressions", rules.len());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules.json");
    let group = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&path, group.to_string()).expect("the rules are written");
    let said = output(program("promtool").args(["check", "rules"]).arg(&path));
    assert!(said.contains(&format!("SUCCESS: {} rules found", rules.len())), "{said}");
}

/// Rules against series that somebody wrote down: which fire, and which do not.
#[test]
fn alerts_fire_for_what_they_are_about() {
    let tests = format!("{}/tests/interop/alerts_test.yaml", env!("CARGO_MANIFEST_DIR"));
    let said = output(program("promtool").args(["test", "rules", &tests]));
    assert!(said.contains("SUCCESS"), "{said}");
}
