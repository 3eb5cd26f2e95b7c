//! The report as text and as JSON: deterministic, complete, with a schema.

use crate::host::{Host, relay};

/// A host where something is to be changed of each kind.
fn host() -> Host {
    let mut host = Host::plain();
    host.given.files = (256, 256);
    host.set("proc/sys/net/core/somaxconn", "4096\n");
    host
}

/// Compares with a file beside this one; with SNAPSHOT=write it is written instead.
fn assert_snapshot(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor").join(name);
    if std::env::var_os("SNAPSHOT").is_some_and(|word| word == "write") {
        std::fs::write(&path, text).expect("the repository is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("a snapshot");
    assert!(text == expected, "{name} differs; SNAPSHOT=write writes it anew:\n{text}");
}

#[test]
fn the_json_answer_keeps_its_shape() {
    let diagnosis = host().diagnose(&relay(2, ""), Some(1_000_000));
    assert_snapshot("answer.json", &diagnosis.json());
    let answer: serde_json::Value = serde_json::from_str(&diagnosis.json()).expect("JSON");
    assert_eq!(answer["schema"], 1);
    assert_eq!(answer["holds"], false);
    assert_eq!(answer["binding"], answer["limits"][0]["name"]);
    assert_eq!(answer["fits"], answer["limits"][0]["connections"]);
}

#[test]
fn the_text_answer_keeps_its_shape() {
    let diagnosis = host().diagnose(&relay(2, ""), Some(1_000_000));
    assert_snapshot("answer.txt", &diagnosis.to_string());
}

#[test]
fn the_same_host_gives_the_same_answer() {
    let host = host();
    let answers = || {
        let diagnosis = host.diagnose(&relay(30, ""), None);
        (diagnosis.json(), diagnosis.to_string())
    };
    assert_eq!(answers(), answers());
}

#[test]
fn the_table_names_the_least_of_all() {
    let host = Host::plain();
    let text = host.diagnose(&relay(100, ""), None).to_string();
    assert!(text.contains("497,196 = min(fs.file-max 497,196, "), "{text}");
    assert!(text.contains("What binds: fs.file-max (host)."), "{text}");
    assert!(text.contains("To hold twice as many, 994,392, change:"), "{text}");
}
