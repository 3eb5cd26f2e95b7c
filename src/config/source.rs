//! Where a config comes from: a file with those that it includes, standard input, or nothing; and
//! the keys that the command line sets over that.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::check::{self, ROOT};
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::file::{self, Part, Source, line_of};
use crate::config::texts::{self, Included};
use crate::config::{Config, LogFormat};

/// The file that is taken where none is named.
pub const DEFAULT_FILE: &str = "/etc/portcullis/portcullis.toml";
/// The path that means standard input.
const INPUT: &str = "-";
/// What errors and the log call a text of standard input.
const INPUT_NAME: &str = "stdin";
/// What errors call a key that the command line sets.
const SETTING_NAME: &str = "--set";
/// The text of the config of a run without a file.
const EMBEDDED: &str = "[listener.default]\nbind = [\"127.0.0.1:7000\"]\nupstream = \"default\"\n\
                        [upstream.default]\nbuiltin = \"echo\"\n";

/// Where a config comes from, as a command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// Where its text is.
    pub place: Place,
    /// Keys that are set over it, each as `KEY=VALUE`; of two of one key the later one counts.
    pub settings: Vec<String>,
}

/// Where the text of a config is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: 127.0.0.1:7000 answers with an echo.
    Embedded,
    /// In the file that is taken where none is named.
    Default,
    /// In this file.
    File(PathBuf),
    /// It came over standard input, once.
    Input(Arc<str>),
}

impl Place {
    /// The place that a command line names. Standard input is read here.
    ///
    /// # Errors
    /// When standard input cannot be read, or has no text.
    pub fn named(path: Option<PathBuf>) -> Result<Place, ConfigErrors> {
        match path {
            None if Path::new(DEFAULT_FILE).exists() => Ok(Place::Default),
            None => Ok(Place::Embedded),
            Some(path) if path == Path::new(INPUT) => {
                let text = texts::of_stream(io::stdin().lock());
                text.map(|text| Place::Input(text.into())).map_err(|error| of(INPUT_NAME, error))
            }
            Some(path) => Ok(Place::File(path)),
        }
    }

    /// Whether `path` is standard input.
    pub fn is_input(path: &Path) -> bool {
        path == Path::new(INPUT)
    }
}

impl ConfigSource {
    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Embedded | Place::Input(_) => None,
            Place::Default => Some(Path::new(DEFAULT_FILE)),
            Place::File(path) => Some(path),
        }
    }

    /// What errors and the log call it.
    pub fn name(&self) -> String {
        match (&self.place, self.path()) {
            (_, Some(path)) => path.display().to_string(),
            (Place::Input(_), None) => INPUT_NAME.to_owned(),
            (_, None) => "embedded".to_owned(),
        }
    }

    /// The same for another working directory.
    pub fn absolute(mut self) -> ConfigSource {
        if let Place::File(path) = &mut self.place
            && let Ok(absolute) = std::path::absolute(&path)
        {
            *path = absolute;
        }
        self
    }

    /// Arguments of a command line that say the same.
    pub fn arguments(&self) -> Vec<OsString> {
        let path = match &self.place {
            Place::Input(_) => Some(OsString::from(INPUT)),
            _ => self.path().map(OsString::from),
        };
        let mut arguments: Vec<OsString> =
            path.into_iter().flat_map(|path| ["--config".into(), path]).collect();
        for setting in &self.settings {
            // In one word: the value may begin with a hyphen.
            arguments.push(format!("{SETTING_NAME}={setting}").into());
        }
        arguments
    }

    /// Reads and checks it, with the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of files and their lines.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        if self.place == Place::Embedded && self.settings.is_empty() {
            return Ok(Config::embedded());
        }
        let name = self.name();
        let text = self.text().map_err(|error| of(&name, error))?;
        let texts = Texts { text: &text, name: &name, path: self.path() };
        let read = texts.checked(&self.settings, &|name| std::env::var(name).ok())?;
        Ok(match self.place {
            Place::Embedded => read.config,
            _ => Config { file_sha256: Some(read.sha256), files: read.files, ..read.config },
        })
    }

    fn text(&self) -> Result<Arc<str>, (String, &'static str)> {
        match (&self.place, self.path()) {
            (_, Some(path)) => texts::of_file(path).map(Arc::from),
            (Place::Input(text), None) => Ok(text.clone()),
            (_, None) => Ok(EMBEDDED.into()),
        }
    }

    /// The log's format that it asks for, whatever else is wrong with it.
    pub fn log_format(&self) -> LogFormat {
        let lines = self.settings.iter().rev().filter_map(|setting| line_of(setting).ok());
        let mut texts: Vec<String> = lines.collect();
        if let Ok(text) = self.text() {
            let source = Source::new(&text, "");
            let env = |name: &str| std::env::var(name).ok();
            let others = included(&source, self.path(), &env, &mut Vec::new());
            texts.push(text.to_string());
            texts.extend(others.into_iter().map(|one| one.text));
        }
        let format = texts.iter().find_map(|text| file::word(text, "log", "format"));
        match format.as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        }
    }
}

fn of(file: &str, (rule, remedy): (String, &str)) -> ConfigErrors {
    ConfigErrors::from(error(file, rule, remedy))
}

fn error(file: &str, rule: String, remedy: &str) -> ConfigError {
    ConfigError {
        file: file.to_owned(),
        line: None,
        key: None,
        value: None,
        rule,
        remedy: remedy.to_owned(),
        excerpt: None,
    }
}

/// A text that may include files.
pub(super) struct Texts<'a> {
    pub(super) text: &'a str,
    /// As errors call it.
    pub(super) name: &'a str,
    /// Its file; `None`: it has none.
    pub(super) path: Option<&'a Path>,
}

/// A config, and what it was read from.
pub(super) struct Read {
    pub(super) config: Config,
    files: Vec<String>,
    /// SHA-256 of all files, one behind the other.
    sha256: String,
}

impl Texts<'_> {
    /// The config that they make, with these keys set over it.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of files and their lines.
    pub(super) fn checked(
        &self,
        settings: &[String],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Read, ConfigErrors> {
        let mut problems = Vec::new();
        let first = Source::new(self.text, self.name);
        let others = included(&first, self.path, env, &mut problems);
        let mut files = vec![self.name.to_owned()];
        files.extend(others.iter().map(|one| one.name.clone()));
        if !problems.is_empty() {
            return Err(ConfigErrors::new(problems, &files));
        }
        let mut lines = Vec::new();
        for setting in settings {
            match line_of(setting) {
                Ok(line) => lines.push(line),
                Err((rule, remedy)) => {
                    let shown = Some(format!("{setting:?}"));
                    let error = error(SETTING_NAME, rule, remedy);
                    problems.push(ConfigError { value: shown, ..error });
                }
            }
        }
        let part = if others.is_empty() { Part::Whole } else { Part::First };
        let mut sources = vec![first.with_part(part)];
        for Included { name, text } in &others {
            sources.push(Source::new(text, name).with_part(Part::Included));
        }
        for line in &lines {
            sources.push(Source::new(line, SETTING_NAME).with_part(Part::Setting));
        }
        let config = file::read(&sources, &ROOT, env, &mut problems)
            .map(|root| check::config(&root, &mut problems));
        match config {
            Some(config) if problems.is_empty() => {
                let mut digest = Sha256::new();
                digest.update(self.text);
                others.iter().for_each(|one| digest.update(&one.text));
                let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                Ok(Read { config, files, sha256 })
            }
            _ => Err(ConfigErrors::new(problems, &files)),
        }
    }
}

/// The files that a text includes. What else is wrong with the text, its check says.
fn included(
    first: &Source<'_>,
    path: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<ConfigError>,
) -> Vec<Included> {
    if !first.holds("include") {
        return Vec::new();
    }
    let root = file::read(std::slice::from_ref(first), &ROOT, env, &mut Vec::new());
    let include = root.as_ref().and_then(|root| root.get("include"));
    include.map_or_else(Vec::new, |include| texts::included(include, path, problems))
}
