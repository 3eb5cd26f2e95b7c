//! Which module may see which, and what stands where.

use crate::code::Code;

/// Every module of `src/` with its rank: it sees only modules of a lower one.
const RANKS: [(&str, u8); 29] = [
    ("base", 0),
    ("api", 1),
    ("budget", 1),
    ("host", 1),
    ("metrics", 1),
    ("source", 1),
    ("wire", 1),
    ("config", 2),
    ("query", 1),
    ("courier", 2), // messages of wire
    ("ring", 2),    // counts in metrics
    ("conn", 2),
    ("tls", 3), // settings of config, layer of ring
    ("upstream", 3),
    ("discovery", 3),
    ("doctor", 3),
    ("listener", 4),
    ("summary", 4),
    ("topology", 4),
    ("checks", 5),
    ("client", 5),
    ("worker", 5),
    ("access_log", 6),
    ("control", 7),
    ("gateway", 8),
    ("top", 8),
    ("cli", 9),
    ("main", 10), // above cli: the one line that calls it
    ("lib", 10),
];

/// Modules that see less than their rank allows: pure ones.
const SEES_ONLY: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("conn", &["base"]),
    ("courier", &["api", "base", "wire"]),
    ("query", &["base"]),
    ("source", &["base"]),
    ("ring", &["base", "metrics"]),
    ("host", &["base"]),
    ("checks", &["base", "config", "tls", "topology", "upstream", "wire"]),
    ("discovery", &["base", "config"]),
    ("doctor", &["base", "config", "host"]),
    ("client", &["api", "host", "metrics"]),
];

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// Uses of a module that is not below the file's own.
pub(crate) fn upward_uses(path: &str, code: &Code) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/") else { return Vec::new() };
    let module = inside.split(['/', '.']).next().unwrap_or_default();
    let Some(own) = rank(module) else {
        return vec![format!(
            "1: module {module} has no rank: give it one in tests/style/shape.rs"
        )];
    };
    let mut findings = Vec::new();
    for (line, used) in uses(code, &["crate::", "portcullis::"]) {
        let refused = match rank(&used) {
            _ if used == module => None,
            None => Some("which has no rank"),
            Some(rank) if rank >= own => Some("which is not below it"),
            Some(_) if !sees(module, &used) => Some("which it must not see"),
            Some(_) => None,
        };
        findings.extend(refused.map(|why| format!("{line}: {module} uses {used}, {why}")));
    }
    findings.extend(escapes(inside, code));
    findings
}

fn sees(module: &str, used: &str) -> bool {
    SEES_ONLY.iter().find(|(name, _)| *name == module).is_none_or(|(_, seen)| seen.contains(&used))
}

/// Modules that the code names behind one of `roots`, each with its line.
pub(crate) fn uses(code: &Code, roots: &[&str]) -> Vec<(usize, String)> {
    let text = code.lines.join("\n");
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in text.match_indices(root) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            let after = &text[at + root.len()..];
            found.extend(heads(after).into_iter().map(|head| (line, head)));
        }
    }
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::{b, d}, c}`.
fn heads(text: &str) -> Vec<String> {
    let word = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let Some(group) = text.strip_prefix('{') else { return vec![word(text)] };
    let mut depth = 0;
    let mut heads = vec![word(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Uses that leave their module through `super`, where no rank would be seen.
pub(crate) fn escapes(inside: &str, code: &Code) -> Vec<String> {
    let depth = inside.matches('/').count() + usize::from(!inside.ends_with("/mod.rs"));
    let out = "super::".repeat(depth);
    let leaves = |line: &str| {
        let target = line.trim_start_matches("pub ").strip_prefix("use ");
        target.is_some_and(|target| target.starts_with(&out))
    };
    let numbered = code.lines.iter().enumerate();
    numbered
        .filter(|(_, line)| leaves(line))
        .map(|(index, _)| format!("{}: write crate:: instead of {out}", index + 1))
        .collect()
}

/// How the map in `architecture.md` differs from what stands in `src/`.
pub(crate) fn map_differences(map: &str, on_disk: &[String]) -> Vec<String> {
    let entries = map.lines().filter_map(|line| line.strip_prefix("- `"));
    let mapped: Vec<(&str, &str)> = entries.filter_map(|entry| entry.split_once("` — ")).collect();
    let mut findings = Vec::new();
    for (path, sentence) in &mapped {
        if !on_disk.iter().any(|entry| entry == path) {
            findings.push(format!("{path} is in the map and not in src/"));
        }
        if sentence.split_whitespace().count() < 3 {
            findings.push(format!("{path} has no sentence in the map"));
        }
    }
    for entry in on_disk.iter().filter(|entry| !mapped.iter().any(|(path, _)| path == entry)) {
        findings.push(format!("{entry} is in src/ and not in the map of architecture.md"));
    }
    findings
}

/// Names that are neither expected, nor hidden, nor the build's output.
pub(crate) fn strangers<S: AsRef<str>>(names: &[S], expected: &[&str]) -> Vec<String> {
    let known = |name: &str| name.starts_with('.') || name == "target" || expected.contains(&name);
    names.iter().map(|name| name.as_ref().to_owned()).filter(|name| !known(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_upwards_is_found_however_it_is_written() {
        for (path, text) in [
            ("src/base/x.rs", "use crate::ring::Ring;"),
            ("src/ring/x.rs", "use crate::{base::Side, config::{Config}};"),
            ("src/ring/x.rs", "use crate::{\n    base::{Side, Tick},\n    config,\n};"),
            ("src/config/mod.rs", "fn f() { crate::ring::g() }"),
            ("src/worker/x.rs", "pub use crate::control::A;"),
            ("src/conn/mod.rs", "use crate::ring::Token;"),
            ("src/gateway.rs", "use crate::cli::A;"),
            ("src/other.rs", ""),
            ("src/gateway.rs", "use crate::other::A;"),
            ("src/conn/mod.rs", "use super::ring;"),
            ("src/conn/lane.rs", "pub use super::super::ring;"),
            ("src/gateway.rs", "use super::cli;"),
        ] {
            assert_eq!(upward_uses(path, &Code::of(text)).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn a_use_downwards_or_at_home_is_fine() {
        for (path, text) in [
            ("src/conn/lane.rs", "use crate::base::Side;\nuse crate::conn::Lane;\nuse super::A;"),
            ("src/worker/mod.rs", "use crate::{base::{Side}, ring::Ring, conn};"),
            ("src/base/x.rs", "// use crate::ring::Ring;\npub(crate) fn f() { $crate::worker() }"),
            ("src/main.rs", "fn main() { portcullis::gateway::run() }"),
            ("tests/x.rs", "use crate::anything;"),
        ] {
            assert_eq!(upward_uses(path, &Code::of(text)), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_map_that_lies_is_found() {
        let disk = ["base/".to_owned(), "cli.rs".to_owned()];
        let good = "- `base/` — words of everyone\n- `cli.rs` — flags to command\n";
        assert!(map_differences(good, &disk).is_empty());
        let gone = format!("{good}- `ring/` — slots and buffers\n");
        assert_eq!(map_differences(&gone, &disk).len(), 1);
        assert_eq!(map_differences("- `base/` — words of everyone", &disk).len(), 1);
        assert_eq!(map_differences(&good.replace("flags to command", "flags"), &disk).len(), 1);
    }
}
