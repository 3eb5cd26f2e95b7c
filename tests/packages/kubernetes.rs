//! The chart and the manifests: rendered, valid, and with a config that the program takes.

use std::path::PathBuf;

use portcullis::config::Config;
use yaml_rust2::YamlLoader;

use crate::{root, said, script};

/// The Python that has the packages of config/deploy/requirements.txt: .ci/run makes it.
fn python() -> PathBuf {
    let made = root().join("target/chart-tools/bin/python");
    let python = std::env::var_os("CHART_PYTHON").map_or(made, PathBuf::from);
    assert!(
        python.exists(),
        "{} is not there: python3 -m venv target/chart-tools && \
         target/chart-tools/bin/pip install -r config/deploy/requirements.txt",
        python.display()
    );
    python
}

#[test]
fn the_chart_is_valid_and_the_manifests_are_its_own() {
    let mut check = std::process::Command::new(python());
    let said = said(check.arg(script("config/deploy/check").get_program()));
    for kind in ["Deployment", "Service", "PodDisruptionBudget", "ConfigMap"] {
        let valid = said.lines().filter(|line| line.contains(&format!("{kind}: valid in")));
        assert!(valid.count() >= 4, "{kind} was not validated for two versions:\n{said}");
    }
}

#[test]
fn the_manifests_config_is_right() {
    let text = std::fs::read_to_string(root().join("config/deploy/kubernetes/configmap.yaml"));
    let documents = YamlLoader::load_from_str(&text.expect("it is there")).expect("YAML");
    let config = documents[0]["data"]["portcullis.toml"].as_str().expect("a text");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), config).expect("it is ours");
    let config = Config::load(file.path()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.listeners.len(), 1);
}
