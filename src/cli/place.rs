//! The flags that say where a config comes from.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{ConfigErrors, ConfigSource, Place};

/// Where a config comes from.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// The config file; - is standard input [default: /etc/portcullis/portcullis.toml if it is
    /// there]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// The config file, as an option
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set a key over the file's value, as in gateway.workers=2; each --set is one more
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArguments {
    /// The file that is named.
    pub(super) fn named(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }

    /// What they say. Standard input is read here, or its text is `input`.
    pub(super) fn source(self, input: Option<String>) -> Result<ConfigSource, ConfigErrors> {
        let place = match (self.named(), input) {
            (Some(path), Some(text)) if Place::is_input(path) => Place::Input(text.into()),
            _ => Place::named(self.file.or(self.config))?,
        };
        Ok(ConfigSource { place, settings: self.set })
    }
}
