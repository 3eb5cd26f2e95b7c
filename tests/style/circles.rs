//! Circles among the parts of a module: files that need each other are one file in pieces.
//!
//! The parts of a folder are its files and folders, `mod.rs` aside: a parent and its children may
//! name each other. A part needs another when one of its paths leads there; a name that `mod.rs`
//! re-exports leads to the part that has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::Code;

/// Circles that are known, each a folder and its parts. One that is gone must be taken out here.
pub(crate) const KNOWN: [&str; 0] = [];

/// How often a name may be re-exported before it is found.
const HOPS_MAX: usize = 8;

/// The words of a path from the crate's root.
type Path = Vec<String>;
/// By folder: which part needs which.
type Needs = BTreeMap<Path, BTreeMap<String, BTreeSet<String>>>;

/// Circles in the crate at `root`, of files with their paths below it: `src/worker: kill, walk`.
pub(crate) fn circles(root: &str, files: &[(&str, &Code)]) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, needs) in needs(files) {
        let folder = [&[root.to_owned()], &folder[..]].concat().join("/");
        let mut known = BTreeSet::new();
        for part in needs.keys() {
            let reached = reached(&needs, part);
            if !known.contains(part) && reached.contains(part) {
                let back = |other: &&String| self::reached(&needs, other).contains(part);
                let circle: Vec<String> = reached.iter().filter(back).cloned().collect();
                found.push(format!("{folder}: {}", circle.join(", ")));
                known.extend(circle);
            }
        }
    }
    found
}

fn needs(files: &[(&str, &Code)]) -> Needs {
    let crate_ = Crate::of(files);
    let mut needs = Needs::new();
    for (module, text) in &crate_.modules {
        for path in uses(module, text) {
            let target = crate_.module_of(&path, HOPS_MAX);
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(part), Some(other)) = (module.get(shared), target.get(shared)) {
                let folder = needs.entry(module[..shared].to_vec()).or_default();
                folder.entry(part.clone()).or_default().insert(other.clone());
            }
        }
    }
    needs
}

/// Parts that `part` needs, at whatever remove.
fn reached(needs: &BTreeMap<String, BTreeSet<String>>, part: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![part];
    while let Some(part) = next.pop() {
        let needed = needs.get(part).into_iter().flatten();
        next.extend(needed.filter(|other| reached.insert((*other).clone())).map(String::as_str));
    }
    reached
}

/// The modules of a crate, and where the names lead that they re-export.
struct Crate {
    modules: BTreeMap<Path, String>,
    exports: BTreeMap<(Path, String), Path>,
}

impl Crate {
    fn of(files: &[(&str, &Code)]) -> Crate {
        let mut modules: BTreeMap<Path, String> = BTreeMap::new();
        for (path, code) in files {
            let mut words: Path =
                path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            words.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
            *modules.entry(words).or_default() += &(code.lines.join("\n") + "\n");
        }
        let mut exports = BTreeMap::new();
        for (module, text) in &modules {
            for path in exported(text) {
                let target = match path[0].as_str() {
                    "crate" | "super" | "self" => absolute(module, &path),
                    child if modules.contains_key(&[&module[..], &[child.to_owned()]].concat()) => {
                        Some([&module[..], &path[..]].concat())
                    }
                    _ => None,
                };
                let name = path.last().expect("a path has a word").clone();
                exports.extend(target.map(|target| ((module.clone(), name), target)));
            }
        }
        Crate { modules, exports }
    }

    /// The module that a path leads to, the item at its end left out.
    fn module_of(&self, path: &[String], hops: usize) -> Path {
        let mut module = Path::new();
        for (index, word) in path.iter().enumerate() {
            module.push(word.clone());
            if self.modules.contains_key(&module) {
                continue;
            }
            module.pop();
            let export = self.exports.get(&(module.clone(), word.clone()));
            if let (Some(target), 1..) = (export, hops) {
                return self.module_of(&[&target[..], &path[index + 1..]].concat(), hops - 1);
            }
            break;
        }
        module
    }
}

/// Paths that a `pub use` of the module itself names.
fn exported(text: &str) -> Vec<Path> {
    let lines = text.match_indices("\npub").map(|(at, _)| &text[at + "\npub".len()..]);
    let first = text.strip_prefix("pub");
    let uses = first.into_iter().chain(lines).filter_map(|rest| {
        let visible = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        visible.map_or(rest, |(_, rest)| rest).strip_prefix(" use ")
    });
    uses.flat_map(paths).collect()
}

/// Every path of the code that begins at the root or beside the module, from the root.
fn uses(module: &[String], text: &str) -> Vec<Path> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(root) {
            let before = &text[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
                continue;
            }
            let within = [module, &inline_modules(before)].concat();
            found.extend(paths(&text[at..]).iter().filter_map(|path| absolute(&within, path)));
        }
    }
    // A path into a module of the same file leads to no other file.
    found.retain(|path| !path.iter().any(|word| word.ends_with('{')));
    found
}

/// The modules within the file that are open at the end of `before`, as words that no path has.
fn inline_modules(before: &str) -> Path {
    if !before.contains("mod ") {
        return Path::new();
    }
    let mut open = Vec::new();
    for (at, c) in before.char_indices() {
        if c == '{' {
            let mut words = before[..at].split_whitespace().rev();
            let name = words.next().unwrap_or_default();
            open.push((words.next() == Some("mod")).then(|| format!("{name}{{")));
        } else if c == '}' {
            open.pop();
        }
    }
    open.into_iter().flatten().collect()
}

/// `path` from the root, as the module `here` means it.
fn absolute(here: &[String], path: &[String]) -> Option<Path> {
    let ups = path.iter().take_while(|word| *word == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([here, &path[1..]].concat()),
        _ => Some([here.get(..here.len().checked_sub(ups)?)?, &path[ups..]].concat()),
    }
}

/// The paths that `text` begins with: `a::b` and `a::c` of `a::{b, c};`.
fn paths(text: &str) -> Vec<Path> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.is_empty() {
        return Vec::new();
    }
    let rest = rest.strip_prefix("::").unwrap_or_default().trim_start();
    let tails: Vec<Path> = match rest.strip_prefix('{') {
        Some(group) => members(group).into_iter().flat_map(paths).collect(),
        None => paths(rest),
    };
    let whole = |tail: Path| [vec![word.to_owned()], tail].concat();
    if tails.is_empty() { vec![whole(Path::new())] } else { tails.into_iter().map(whole).collect() }
}

/// The texts between the commas of a group, which begins behind its first brace.
fn members(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut members = Vec::new();
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, Code::of(text))).collect();
        let files: Vec<_> = files.iter().map(|(path, code)| (*path, code)).collect();
        circles("src", &files)
    }

    #[test]
    fn a_circle_is_found_however_it_is_written() {
        for there in [
            "use super::b::B;",
            "use super::{\n    d::D,\n    b::{self, B},\n};",
            "use crate::m::b::B;",
            "use crate::{m::b, other::O};",
            "fn f() { super::b::g() }",
            "use super::B;",
            "use crate::m::{B, C};",
            "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}",
        ] {
            let files = [
                ("m/mod.rs", "mod a;\nmod b;\npub use b::{B, other};\n"),
                ("m/a.rs", there),
                ("m/b.rs", "pub use super::a::A;"),
                ("m/c.rs", "use super::{a, b};"),
            ];
            assert_eq!(found(&files), ["src/m: a, b"], "{there}");
        }
    }

    #[test]
    fn a_circle_of_folders_and_of_three_is_found_once() {
        let files = [
            ("m/mod.rs", "pub(crate) use a::A;"),
            ("m/a/mod.rs", "pub use deep::A;"),
            ("m/a/deep.rs", "use crate::m::b::B;"),
            ("m/b.rs", "use super::c::C;"),
            ("m/c.rs", "use super::A;"),
            ("lib.rs", "pub mod m;"),
        ];
        assert_eq!(found(&files), ["src/m: a, b, c"]);
    }

    #[test]
    fn parents_children_and_comments_make_none() {
        let files = [
            ("m/mod.rs", "mod a;\nuse a::A;\nfn f() { a::g() }"),
            ("m/a.rs", "use super::M;\nuse super::b::B;\nmod inner { use super::C; }"),
            ("m/b.rs", "// use super::a::A;\nuse super::*;\nuse super::M as a;"),
        ];
        assert!(found(&files).is_empty(), "{:?}", found(&files));
    }
}
