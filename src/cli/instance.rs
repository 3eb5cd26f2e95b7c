//! Which gateway a command means, and how it is asked.

use std::path::PathBuf;

use serde::Serialize;

use super::outcome::{Outcome, warn};
use crate::api::IDENTITY_FIELD;
use crate::client::{Choice, Client, ClientError};

/// Which gateway is meant.
#[derive(Debug, clap::Args)]
pub struct Instance {
    /// By its admin socket [default: PORTCULLIS_ADMIN, or the only one that is found]
    #[arg(long, value_name = "PATH", conflicts_with = "config", global = true)]
    pub admin: Option<PathBuf>,
    /// By the config file that it runs
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// Names the admin socket where the command line does not say which gateway is meant.
const ADMIN_VARIABLE: &str = "PORTCULLIS_ADMIN";

impl Instance {
    /// Which gateway the command line means, or else the environment.
    pub fn choice(&self) -> Choice {
        let variable = || std::env::var_os(ADMIN_VARIABLE).filter(|path| !path.is_empty());
        match (&self.admin, &self.config) {
            (Some(socket), _) => Choice::Socket(socket.clone()),
            (None, Some(file)) => Choice::Config(file.clone()),
            (None, None) => {
                variable().map_or(Choice::Only, |path| Choice::Socket(PathBuf::from(path)))
            }
        }
    }
}

/// The answer of a running gateway.
pub(super) fn asked(
    instance: &Instance,
    json: bool,
    ask: impl FnOnce(&Client) -> Result<String, ClientError>,
) -> Outcome {
    of_gateway(instance, json, |gateway| ask(gateway).map(|text| Outcome::of(text, json, true)))
}

/// What comes of asking the gateway that is meant. Which one that was is said on stderr, so that
/// pipes get the answer alone, unless the answer says it itself, as one in JSON does.
pub(super) fn of_gateway(
    instance: &Instance,
    says_itself: bool,
    ask: impl FnOnce(&Client) -> Result<Outcome, ClientError>,
) -> Outcome {
    let gateway = match instance.choice().find() {
        Ok(gateway) => gateway,
        Err(error) => return Outcome::from(error),
    };
    let outcome = ask(&gateway).unwrap_or_else(Outcome::from);
    if let Some(identity) = gateway.identity().filter(|_| !says_itself) {
        warn(&format!("portcullis: {identity}\n"));
    }
    outcome
}

/// One JSON object with its keys in alphabetical order. It says which gateway answered.
pub(super) fn one_line(gateway: &Client, answer: &impl Serialize) -> String {
    let mut answer = serde_json::to_value(answer).expect("an answer is plain data");
    if let Some(identity) = gateway.identity() {
        answer[IDENTITY_FIELD] = serde_json::to_value(identity).expect("plain data");
    }
    answer.to_string()
}
