//! Every dependency is a decision with its reason beside it.

/// Lines that name a dependency without a reason. `[workspace.dependencies]` only fixes versions:
/// the reason stands where the dependency is used.
pub(crate) fn unargued_dependencies(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let argued = line.split_once("# ").is_some_and(|(_, reason)| reason.trim().len() >= 10);
        let header = line.strip_prefix('[').and_then(|line| line.split_once(']'));
        let dependency = match header {
            Some((section, _)) => {
                inside = section != "workspace.dependencies" && section.ends_with("dependencies");
                section.contains("dependencies.")
            }
            None => inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()),
        };
        if dependency && !argued {
            findings.push(format!("{}: {line}", index + 1));
        }
    }
    findings
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
        for line in ["a = \"1\"", "a = \"1\" #", "a.workspace = true # why"] {
            let text = format!("[{section}]\n{line}\nb = \"1\" # what it is for\n");
            assert_eq!(unargued_dependencies(&text), [format!("2: {line}")], "{section}");
        }
    }
    assert_eq!(unargued_dependencies("[dependencies.a]\nversion = \"1\"").len(), 1);
    let versions = "[workspace.dependencies]\na = \"1\"\n[lints]\nworkspace = true\n# a\n";
    assert!(unargued_dependencies(versions).is_empty());
}
