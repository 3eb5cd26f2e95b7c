//! Documents: they name only what is there, and are written in plain words.

use crate::lexicon;

/// Beginnings of a statement that make a clause its subject: a noun stands there instead.
const HEAVY_STARTS: [&str; 8] =
    ["who ", "what ", "whom ", "whoever ", "nobody ", "those that ", "those who ", "one that "];

/// A paragraph, a list's entry or a table's cell: its first line, counted from 1, and its text.
struct Block {
    line: usize,
    text: String,
}

/// The prose of a document: no headings, and nothing from between fences.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fenced = false;
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            fenced = !fenced;
            open = false;
        } else if fenced || trimmed.is_empty() || trimmed.starts_with('#') {
            open = false;
        } else if let Some(row) = trimmed.strip_prefix('|') {
            let cells = row.split('|').map(|cell| cell.trim().to_owned());
            blocks.extend(cells.map(|text| Block { line: index + 1, text }));
            open = false;
        } else if let Some(entry) = list_entry(trimmed) {
            blocks.push(Block { line: index + 1, text: entry.to_owned() });
            open = true;
        } else if let Some(block) = blocks.last_mut().filter(|_| open) {
            block.text = format!("{} {trimmed}", block.text);
        } else {
            blocks.push(Block { line: index + 1, text: trimmed.to_owned() });
            open = true;
        }
    }
    blocks
}

/// What follows `- `, `* ` or `1. `.
fn list_entry(line: &str) -> Option<&str> {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = numbered.strip_prefix(". ").filter(|_| numbered.len() < line.len());
    line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).or(numbered)
}

/// `text` with an empty pair of ticks for each span of code, and without emphasis.
fn without_code(text: &str) -> String {
    let prose: Vec<&str> = text.split('`').step_by(2).collect();
    prose.join("``").replace("**", "")
}

/// Words and beginnings of sentences that make a reader read twice.
pub(crate) fn heavy_words(text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for Block { line, text } in blocks(text) {
        let lower = without_code(&text).to_lowercase();
        let forbidden = lexicon::forbidden_in_prose(&lower).into_iter();
        findings.extend(forbidden.map(|finding| format!("{line}: {finding}")));
        let sentences = lower.replace(". ", ".\n").replace("? ", "?\n").replace("! ", "!\n");
        for sentence in sentences.lines().filter(|sentence| !sentence.ends_with('?')) {
            if let Some(start) = HEAVY_STARTS.iter().find(|start| sentence.starts_with(**start)) {
                findings.push(format!("{line}: a sentence begins with {start:?}: use a noun"));
            }
        }
    }
    findings
}

/// Folders of the repository: a span of code that begins with one of them is a path.
const FOLDERS: [&str; 7] = ["src/", "tests/", "bench/", "config/", ".ci/", ".cargo/", ".github/"];

/// What a document refers to and is not there: files in code spans, by the path from the root or,
/// in the map of `src/`, from there; targets of links; headings.
pub(crate) fn dead_references(
    path: &str,
    text: &str,
    is_there: impl Fn(&str) -> bool,
) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for Block { line, text: block } in blocks(text) {
        for span in block.split('`').skip(1).step_by(2) {
            let from_root = FOLDERS.iter().any(|folder| span.starts_with(folder));
            let is_path = from_root || (folder == "src" && is_source(span));
            if is_path && !is_there(span) && !(folder == "src" && is_there(&format!("src/{span}")))
            {
                findings.push(format!("{line}: {span} is not there"));
            }
        }
        for target in links(&block) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let place = resolved(folder, file);
            if !file.is_empty() && !is_there(&place) {
                findings.push(format!("{line}: {target}: {place} is not there"));
            } else if file.is_empty() && !headings(text).iter().any(|one| one == heading) {
                findings.push(format!("{line}: {target}: no such heading"));
            }
        }
    }
    findings
}

/// Whether a code span of the map looks like a file or folder below `src/`.
fn is_source(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./".contains(c);
    !span.starts_with('/') && span.contains('/') && span.chars().all(plain)
}

/// Targets of links within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|after| after.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// `file` as a link in `folder` means it, from the root.
fn resolved(folder: &str, file: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Headings as links name them.
fn headings(text: &str) -> Vec<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    let slug = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    titles.map(slug).collect()
}

/// The words of the lexicon that are out of their order or there twice.
pub(crate) fn lexicon_disorder(text: &str) -> Vec<String> {
    let section = text.split("\n## Lexicon\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let entries: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next()).collect();
    if entries.is_empty() {
        return vec!["the document has no lexicon".to_owned()];
    }
    let pairs = entries.windows(2).filter(|pair| pair[0] >= pair[1]);
    let mut findings: Vec<String> =
        pairs.map(|pair| format!("{} stands before {}", pair[0], pair[1])).collect();
    let mut words: Vec<&str> = section.split("**").skip(1).step_by(2).collect();
    words.sort_unstable();
    let twice = words.windows(2).filter(|pair| pair[0] == pair[1]);
    findings.extend(twice.map(|pair| format!("{} has two meanings", pair[0])));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_word_is_found_in_prose_alone() {
        for heavy in [
            "Opens it anew.",
            "- Whoever asks waits.",
            "It waits. Who still\nwaits then is reset.",
            "| a | What binds is said. |",
            "Nobody is served.",
            "1. Those that wait are served.",
        ] {
            assert_eq!(heavy_words(heavy).len().min(1), 1, "{heavy}");
        }
        for plain in [
            "# What it is\nA gateway.",
            "Who may use it? Root.",
            "`anew` and `who waits`",
            "```\nwho waits\n```",
            "The one who asks waits for what it asked.",
            "Renewal, whatsoever.",
        ] {
            assert_eq!(heavy_words(plain), [""; 0], "{plain}");
        }
        assert_eq!(heavy_words("a\n\nb\nc. Who\nwaits\n")[0].split(':').next(), Some("3"));
    }

    #[test]
    fn a_reference_to_nothing_is_found() {
        let there = |path: &str| ["src/a/b.rs", "config/x.toml", "README.md"].contains(&path);
        for (path, dead) in [
            ("README.md", "`src/a/c.rs`"),
            ("src/map.md", "`a/c.rs`"),
            ("config/m.md", "[x](../READ.md)"),
            ("config/m.md", "# A b!\n[x](#a-c)"),
        ] {
            assert_eq!(dead_references(path, dead, there).len(), 1, "{path}: {dead}");
        }
        for (path, fine) in [
            ("README.md", "`src/a/b.rs`, `/run/x`, `a/c.rs`, [x](config/x.toml)"),
            ("src/map.md", "`a/b.rs`, `src/a/b.rs`, `b.rs`, `config/x.toml`"),
            ("config/m.md", "[x](../README.md) [y](x.toml#z) [z](https://a/b) `src/a/b.rs`"),
            ("config/m.md", "# A b!\n[x](#a-b)\n```\n`src/c`\n```"),
        ] {
            assert_eq!(dead_references(path, fine, there), [""; 0], "{path}: {fine}");
        }
    }

    #[test]
    fn a_lexicon_out_of_order_is_found() {
        let lexicon = |words: &str| format!("# A\n\n## Lexicon\n\n{words}\n## B\n- **a**: x\n");
        assert!(lexicon_disorder(&lexicon("- **a**: x\n- **b**: y; **c**: z\n")).is_empty());
        assert_eq!(lexicon_disorder(&lexicon("- **b**: x\n- **a**: y\n")).len(), 1);
        assert_eq!(lexicon_disorder(&lexicon("- **a**: x; **b**: y\n- **b**: z\n")).len(), 1);
        assert_eq!(lexicon_disorder("# A\n").len(), 1);
    }
}
