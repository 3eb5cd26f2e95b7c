//! Items that are `pub` and that no other file names.
//!
//! The compiler takes every `pub` item of the library for used. One that only its own file names
//! needs no `pub`; one that no file names is dead, and the compiler says so once `pub` is gone.

use std::collections::{HashMap, HashSet};

use crate::code::Code;

/// Items by the word in front of their name. Constants and types of a trait's implementation have
/// no `pub`.
const KINDS: [&str; 7] = ["fn", "struct", "enum", "union", "trait", "const", "type"];
/// Words between `pub` and the kind.
const QUALIFIERS: [&str; 3] = ["const", "async", "unsafe"];
/// Kinds that another file may use without their name, by what it takes of them.
const TYPES: [&str; 5] = ["struct", "enum", "union", "trait", "type"];

/// An item as its file declares it.
struct Item<'a> {
    line: usize,
    kind: &'static str,
    name: &'a str,
}

/// `path:line: name` of each `pub` item below `src/` that no other file names. A re-export is no
/// use; neither is a comment.
pub(crate) fn unused(files: &[(&str, &Code)]) -> Vec<String> {
    let texts: Vec<String> =
        files.iter().map(|(_, code)| without_exports(&code.lines.join("\n"))).collect();
    let mut naming: HashMap<&str, u32> = HashMap::new();
    for text in &texts {
        let names: HashSet<&str> = words(text).collect();
        names.into_iter().for_each(|name| *naming.entry(name).or_default() += 1);
    }
    let mut findings = Vec::new();
    for ((path, _), text) in files.iter().zip(&texts).filter(|((path, _), _)| is_source(path)) {
        let shown: HashSet<&str> = signatures(text).into_iter().flat_map(words).collect();
        for Item { line, kind, name } in items(text) {
            let reached = TYPES.contains(&kind) && shown.contains(name);
            if naming[name] == 1 && !reached {
                findings.push(format!("{path}:{line}: {kind} {name} is pub for its own file"));
            }
        }
    }
    findings
}

fn is_source(path: &str) -> bool {
    path.starts_with("src/")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// `text` with blanks instead of each `pub use …;`; line ends stay.
fn without_exports(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let start = line.trim_start();
        let exports =
            start.starts_with("pub use ") || start.starts_with("pub(") && start.contains(") use ");
        inside |= exports;
        result.push_str(if inside { "\n" } else { line });
        inside &= !line.contains(';');
    }
    result
}

/// The `pub` items of a file.
fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| item(index + 1, line))
}

fn item(line: usize, text: &str) -> Option<Item<'_>> {
    let mut words = text.trim_start().strip_prefix("pub ")?.split_whitespace().peekable();
    let mut last = "";
    while let Some(word) = words.next_if(|word| QUALIFIERS.contains(word)) {
        last = word;
    }
    let next = words.next()?;
    let kind = |word: &str| KINDS.into_iter().find(|kind| *kind == word);
    let (kind, name) = match kind(next) {
        Some(kind) => (kind, words.next()?),
        None => (kind(last)?, next),
    };
    Some(Item { line, kind, name: self::words(name).next()? })
}

/// What other files see of a file without naming it: heads of its `pub` items without their own
/// names, its `pub` fields, its enums and traits whole, and the types that it gives to traits.
fn signatures(text: &str) -> Vec<&str> {
    let mut seen = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = &line[..line.len() - line.trim_start().len()];
        let rest = &text[start + indent.len()..];
        start += line.len();
        let end = if ["pub enum ", "pub trait "].iter().any(|head| rest.starts_with(head)) {
            // rustfmt puts the last brace of an item below its first letter.
            rest.find(&format!("\n{indent}}}"))
        } else if rest.starts_with("pub ") || rest.starts_with("type ") {
            rest.find(['{', ';']).map(|end| end.min(field_end(rest)))
        } else {
            continue;
        };
        let item = &rest[..end.unwrap_or(rest.len())];
        seen.extend(item.split_once([':', '(', '{', '<', '=']).map(|(_, after)| after));
    }
    seen
}

/// The end of a field, which is a line that ends with a comma and opens no parenthesis.
fn field_end(text: &str) -> usize {
    let line = text.lines().next().unwrap_or_default();
    if line.ends_with(',') && !line.contains('(') { line.len() } else { text.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, Code::of(text))).collect();
        let files: Vec<_> = files.iter().map(|(path, code)| (*path, code)).collect();
        unused(&files)
    }

    #[test]
    fn an_item_that_only_its_own_file_names_is_found() {
        for item in [
            "pub fn name() {}",
            "pub const fn name() -> u8 {",
            "    pub async fn name(&self) {",
            "pub struct name;",
            "pub enum name {\n    A,\n}\nfn f() -> name {}",
            "pub trait name {}",
            "pub const name: u8 = 1;",
            "pub type name = u8;\nimpl Display for name {}",
        ] {
            let elsewhere = "pub use a::name;\npub use a::{\n    name,\n};\n// name\n\"name\"";
            let files = [("src/a.rs", item), ("src/mod.rs", elsewhere)];
            let found = found(&files);
            assert_eq!(found.len(), 1, "{item}: {found:?}");
            assert!(found[0].starts_with("src/a.rs:1: ") && found[0].contains(" name "), "{item}");
        }
    }

    #[test]
    fn an_item_that_another_file_reaches_is_fine() {
        for (item, other) in [
            ("pub fn name() {}", "fn f() { a::name() }"),
            ("pub const name: u8 = 1;", "use crate::a::name;"),
            ("pub(crate) fn name() {}", ""),
            ("fn name() {}", ""),
            ("pub struct name;\npub fn f(\n    a: name,\n) {}", "f()"),
            ("pub struct name;\npub fn f() -> Option<name> {}", "f()"),
            ("pub struct name;\npub struct F {\n    pub f: Vec<name>,\n}", "F"),
            ("pub enum name {}\npub enum F {\n    A(name),\n}", "F"),
            ("pub struct name;\npub trait F {\n    fn f() -> name;\n}", "F"),
            ("pub struct name;\nimpl F for G {\n    type A = name;\n}", ""),
            ("pub struct name;\npub type F = Vec<name>;", "F"),
        ] {
            let files = [("src/a.rs", item), ("tests/b.rs", &format!("{other} f F"))];
            assert!(found(&files).is_empty(), "{item}");
        }
        assert!(found(&[("bench/src/a.rs", "pub fn name() {}")]).is_empty());
    }
}
