//! Texts of config files: read whole, and with those that they include.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::config::MAX_FILE_BYTES;
use crate::config::error::ConfigError;
use crate::config::file::Value;

/// Files that a config includes.
const INCLUDED_MAX: usize = 1024;
const AS_IN: &str = "write it as in [\"conf.d/*.toml\"]";

/// A rule that is broken, and the remedy.
type Refusal = (String, &'static str);

/// A file that another includes.
pub(super) struct Included {
    /// As errors call it.
    pub(super) name: String,
    pub(super) text: String,
}

/// The text of the file at `path`.
///
/// # Errors
/// The rule that it breaks, and the remedy.
pub(super) fn of_file(path: &Path) -> Result<String, Refusal> {
    let file = File::open(path).map_err(unreadable)?;
    of_stream(file)
}

/// The text that comes from `stream`, to its end.
///
/// # Errors
/// The rule that it breaks, and the remedy.
pub(super) fn of_stream(stream: impl Read) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    stream.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((format!("is larger than {MAX_FILE_BYTES} bytes"), "name a config file"));
    }
    String::from_utf8(bytes).map_err(|error| (error.to_string(), "save the file as UTF-8"))
}

fn unreadable(error: std::io::Error) -> Refusal {
    (format!("cannot be read: {error}"), "name a file that this user can read")
}

/// The files that `include` names, in its order. `of` is the file that it stands in; `None`: it is
/// no file, and has no directory.
pub(super) fn included(
    include: &Value<'_>,
    of: Option<&Path>,
    problems: &mut Vec<ConfigError>,
) -> Vec<Included> {
    let Some(elements) = include.elements() else {
        problems.push(include.error("must be a list of files", AS_IN));
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut places: Vec<PathBuf> = of.and_then(|of| of.canonicalize().ok()).into_iter().collect();
    for element in elements {
        let Some(written) = element.read::<String>().filter(|written| !written.is_empty()) else {
            problems.push(element.error("must be a list of files", AS_IN));
            continue;
        };
        match paths(&written, of).and_then(|paths| texts(paths, &mut places)) {
            Ok(texts) => all.extend(texts),
            Err((rule, remedy)) => problems.push(element.error(rule, remedy)),
        }
    }
    if all.len() > INCLUDED_MAX {
        let rule = format!("names {} files, more than {INCLUDED_MAX}", all.len());
        problems.push(include.error(rule, "join some of them"));
    }
    all
}

/// The texts of these files, of which `places` has those that were read before.
fn texts(paths: Vec<PathBuf>, places: &mut Vec<PathBuf>) -> Result<Vec<Included>, Refusal> {
    let text = |path: PathBuf| {
        let name = path.display().to_string();
        let named = |(rule, remedy): Refusal| (format!("{name}: {rule}"), remedy);
        let place = path.canonicalize().map_err(unreadable).map_err(named)?;
        if places.contains(&place) {
            let remedy = "name each file once; included files have a directory of their own";
            return Err((format!("{name} is read already: it would include itself"), remedy));
        }
        places.push(place);
        let text = of_file(&path).map_err(named)?;
        Ok(Included { name, text })
    };
    paths.into_iter().map(text).collect()
}

/// The files that a text of `include` names.
fn paths(written: &str, of: Option<&Path>) -> Result<Vec<PathBuf>, Refusal> {
    let path = match (Path::new(written), of) {
        (path, _) if path.is_absolute() => path.to_owned(),
        (path, Some(of)) => of.parent().unwrap_or(Path::new("")).join(path),
        (_, None) => {
            let rule = "must be an absolute path: standard input has no directory";
            return Err((rule.to_owned(), "write it as in [\"/etc/portcullis/conf.d/*.toml\"]"));
        }
    };
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let (directory, last) = match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(directory), Some(last)) => (directory.to_owned(), last.to_owned()),
        _ => return Err(("must name a file".to_owned(), AS_IN)),
    };
    if directory.to_str().is_some_and(is_pattern) {
        return Err(("has a * or a ? in a directory's name".to_owned(), AS_IN));
    }
    if !is_pattern(&last) {
        return Ok(vec![path]);
    }
    let place = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
    let named = |error: std::io::Error| {
        let rule = format!("{} cannot be read: {error}", place.display());
        (rule, "name a directory that this user can read, or make it")
    };
    let pattern = pattern_of(&last)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(place).map_err(named)? {
        let name = entry.map_err(named)?.file_name();
        let Some(name) = name.to_str().filter(|name| fits(&pattern, name)) else { continue };
        let path = directory.join(name);
        if !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A pattern in which * is any characters and ? is one.
fn pattern_of(text: &str) -> Result<Pattern, Refusal> {
    let pattern = Pattern::new(&text.replace('[', "[[]"));
    pattern.map_err(|error| (format!("is no pattern: {error}"), AS_IN))
}

/// Whether a name fits. As for a shell, only a dot that stands there fits a dot at the begin: such
/// files are hidden.
fn fits(pattern: &Pattern, name: &str) -> bool {
    let is_hidden = name.starts_with('.') && !pattern.as_str().starts_with('.');
    !is_hidden && pattern.matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_as_for_a_shell() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml", false),
            (".*", ".a", true),
            ("*.toml", "a.toml~", false),
            ("*.toml", "a.toml.toml", true),
            ("?-*.toml", "1-edge.toml", true),
            ("?-*.toml", "12-edge.toml", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*", "", true),
            ("é?", "éa", true),
            ("[a]*", "[a]b", true),
            ("[a]*", "ab", false),
        ] {
            let fits = fits(&pattern_of(pattern).expect(pattern), name);
            assert_eq!(fits, expected, "{pattern} {name}");
        }
    }
}
