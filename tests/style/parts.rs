//! The parts of the bench: each sees only the faces of those that it stands on.
//!
//! A face is what a part's `mod.rs` re-exports. The compiler keeps the modules below it from the
//! other parts as long as none of them is visible.

use crate::code::Code;
use crate::shape::{escapes, uses};

/// Where the parts are, each a file or a folder.
pub(crate) const ROOT: &str = "bench/src";

/// Every part with those that it sees, which stand above it here. `main` sees all.
const PARTS: [(&str, &[&str]); 11] = [
    ("flags", &[]),
    ("number", &[]),
    ("pattern", &[]),
    ("host", &[]),
    ("result", &[]),
    ("engine", &["host"]),
    ("load", &["engine", "flags", "host", "number", "pattern", "result"]),
    ("serve", &["engine", "flags", "pattern", "result"]),
    ("rivals", &["result"]),
    ("report", &["number", "result"]),
    ("compare", &["flags", "host", "number", "report", "result", "rivals"]),
];
/// The command line.
const MAIN: &str = "main";

/// The path of a file below [`ROOT`], and its part.
fn place(path: &str) -> Option<(&str, &str)> {
    let inside = path.strip_prefix(ROOT)?.strip_prefix('/')?;
    Some((inside, inside.split(['/', '.']).next().unwrap_or_default()))
}

/// Uses of a part that the file's own does not stand on.
pub(crate) fn strange_uses(path: &str, code: &Code) -> Vec<String> {
    let Some((inside, part)) = place(path).filter(|(_, part)| *part != MAIN) else {
        return Vec::new();
    };
    let Some((_, seen)) = PARTS.iter().find(|(name, _)| *name == part) else {
        return vec![format!("1: {part} has no place among the parts in tests/style/parts.rs")];
    };
    let uses = uses(code, &["crate::"]).into_iter();
    let strange = uses.filter(|(_, used)| used != part && !seen.contains(&used.as_str()));
    let strange = strange.map(|(line, used)| format!("{line}: {part} must not see {used}"));
    strange.chain(escapes(inside, code)).collect()
}

/// Modules that another part could reach past the face.
pub(crate) fn open_modules(path: &str, code: &Code) -> Vec<String> {
    let Some((inside, part)) = place(path).filter(|(_, part)| *part != MAIN) else {
        return Vec::new();
    };
    let is_face = inside == format!("{part}/mod.rs");
    let is_open = |line: &str| match line.trim_start().split_once(" mod ") {
        Some(("pub(super)", _)) => is_face,
        Some((visible, _)) => visible.starts_with("pub"),
        None => false,
    };
    let numbered = code.lines.iter().enumerate().filter(|(_, line)| is_open(line));
    numbered.map(|(index, _)| format!("{}: re-export names, not modules", index + 1)).collect()
}

/// Parts that are not on disk.
pub(crate) fn absent(on_disk: Vec<String>) -> Vec<&'static str> {
    let is_there = |part: &str| on_disk.iter().any(|one| one.trim_end_matches(".rs") == part);
    PARTS.iter().map(|(part, _)| *part).filter(|part| !is_there(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_only_on_those_above_it() {
        for (index, (part, seen)) in PARTS.iter().enumerate() {
            let is_above = |one: &&str| PARTS[..index].iter().any(|(above, _)| *above == *one);
            assert!(seen.iter().all(is_above), "{part}: {seen:?}");
        }
    }

    #[test]
    fn a_use_of_another_part_is_found_however_it_is_written() {
        for (path, text) in [
            ("bench/src/load/table.rs", "use crate::report::Work;"),
            ("bench/src/report/mod.rs", "use crate::{number, rivals::OURS};"),
            ("bench/src/compare/rig.rs", "fn f() { crate::load::g() }"),
            ("bench/src/compare/work.rs", "mod tests {\n    use crate::Arguments;\n}"),
            ("bench/src/number.rs", "use crate::result::text;"),
            ("bench/src/serve/mod.rs", "use super::load::Scenario;"),
            ("bench/src/util.rs", ""),
        ] {
            assert_eq!(strange_uses(path, &Code::of(text)).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("bench/src/load/plan.rs", "use crate::{flags, load::common::Common};"),
            ("bench/src/main.rs", "use crate::{compare, load};"),
            ("bench/tests/x.rs", "use crate::anything;"),
        ] {
            assert_eq!(strange_uses(path, &Code::of(text)), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_module_that_others_reach_is_found() {
        for (path, text) in [
            ("bench/src/load/mod.rs", "mod a;\npub(crate) mod plan;"),
            ("bench/src/load/mod.rs", "pub(super) mod plan;"),
            ("bench/src/load/scenario/mod.rs", "pub mod hold;"),
            ("bench/src/number.rs", "pub(crate) mod inner {}"),
        ] {
            assert_eq!(open_modules(path, &Code::of(text)).len(), 1, "{path}: {text}");
        }
        for (path, text) in [
            ("bench/src/load/mod.rs", "mod plan;\npub(crate) use plan::Plan;\n// pub mod x;"),
            ("bench/src/report/chart/mod.rs", "pub(super) mod bars;"),
            ("bench/tests/x.rs", "pub mod a;"),
        ] {
            assert_eq!(open_modules(path, &Code::of(text)), [""; 0], "{path}: {text}");
        }
    }
}
