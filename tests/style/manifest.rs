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

/// Dependencies that none of `texts`, the code that may use them, names.
pub(crate) fn unused_dependencies(text: &str, texts: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some((section, _)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            inside = section != "workspace.dependencies" && section.ends_with("dependencies");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let end = line.find([' ', '.', '=']).unwrap_or(line.len());
            let name = line[..end].replace('-', "_");
            if !texts.iter().any(|text| names(text, &name)) {
                findings.push(format!("{}: no code names {name}", index + 1));
            }
        }
    }
    findings
}

/// Whether `name` stands in `text` by itself.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part)
    })
}

#[test]
fn a_dependency_that_no_code_names_is_found() {
    let manifest = "[workspace.dependencies]\nz = \"1\"\n[dependencies]\na-b = \"1\"\n\
        c.workspace = true\n[lints]\nworkspace = true\n[dev-dependencies]\nd = \"1\"\n";
    assert!(unused_dependencies(manifest, &["use a_b::X;", "c::f(); with = \"d\""]).is_empty());
    let found = unused_dependencies(manifest, &["use a_b_c::X; fn ca() {}", "use d::E;"]);
    assert_eq!(found, ["4: no code names a_b", "5: no code names c"]);
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
