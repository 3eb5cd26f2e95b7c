//! Errors of a config file: place, value, rule and remedy.

use std::fmt;

pub(super) const LATER_RULE: &str = "is not in this version";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    /// The dotted key, as in `listener.edge.backlog`; `None` when the file is not even TOML.
    pub key: Option<String>,
    /// The value as the file has it; `None` when it is missing or a section.
    pub value: Option<String>,
    /// The rule that the value breaks.
    pub rule: String,
    /// The remedy.
    pub remedy: String,
    /// The line with a caret below the place, when the file is not even TOML.
    pub excerpt: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.rule, self.remedy)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a config file: at least one thing, in the order of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Puts `errors` into the order of these files and their lines.
    ///
    /// # Panics
    /// When there are none: a config without errors is a config.
    pub(super) fn new(mut errors: Vec<ConfigError>, files: &[String]) -> ConfigErrors {
        assert!(!errors.is_empty(), "a config was refused without an error");
        let nth = |file: &String| files.iter().position(|one| one == file);
        errors.sort_by_key(|error| (nth(&error.file).unwrap_or(files.len()), error.line));
        ConfigErrors(errors)
    }

    /// The errors, in the order of their lines.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }
}

/// One error per line, an excerpt below its own, without a line end after the last.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
