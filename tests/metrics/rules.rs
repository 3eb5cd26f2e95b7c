//! Alerts and the dashboard name what the catalogue has, and alerts say what to do.

use std::collections::BTreeSet;

use portcullis::metrics::families;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::expression::check;

/// A file of the repository.
pub(crate) fn file(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text<'a>(yaml: &'a Yaml, key: &str, of: &str) -> &'a str {
    yaml[key].as_str().unwrap_or_else(|| panic!("{of} has no {key}"))
}

#[test]
fn every_alert_names_metrics_that_are_there_and_says_what_to_do() {
    let documents = YamlLoader::load_from_str(&file("config/host/alerts.yaml")).expect("YAML");
    let rules = documents[0]["groups"][0]["rules"].as_vec().expect("a list of rules");
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = text(rule, "alert", "a rule");
        assert!(names.insert(name) && name.starts_with("Portcullis"), "{name}");
        let named = check(text(rule, "expr", name)).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(!named.is_empty() || name == "PortcullisGone", "{name} asks for nothing of ours");
        let severity = text(&rule["labels"], "severity", name);
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let annotations = &rule["annotations"];
        let (summary, description) =
            (text(annotations, "summary", name), text(annotations, "description", name));
        assert!(summary.len() <= 100 && !summary.ends_with('.'), "{name}: {summary}");
        assert!(description.len() >= 60 && description.ends_with('.'), "{name}: {description}");
    }
    assert!(names.len() >= 15, "only {} alerts", names.len());
}

/// Every expression in a dashboard, wherever it stands.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().filter(|_| ["expr", "definition"].contains(&key.as_str())) {
                    Some(expression) => found.push(expression.to_owned()),
                    None => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let text = file("config/host/dashboard.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "an id comes twice");
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let row = panel["type"] == "row";
        assert!(row || panel["description"].as_str().is_some_and(|d| d.ends_with('.')), "{title}");
        let place = &panel["gridPos"];
        let right = place["x"].as_u64().zip(place["w"].as_u64()).map(|(x, w)| x + w);
        assert!(right.is_some_and(|right| right <= 24), "{title} is beyond the right edge");
    }
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let mut shown = BTreeSet::new();
    for expression in &found {
        let named = check(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
        assert!(!named.is_empty(), "{expression}");
        shown.extend(named);
    }
    let absent: Vec<_> =
        families().map(|family| family.name).filter(|name| !shown.contains(name)).collect();
    assert!(absent.is_empty(), "no panel shows {absent:?}");
}
