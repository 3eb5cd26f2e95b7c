//! The connections that this host and config can hold: every limit with its arithmetic.
//!
//! `host::facts` is what the host says, `lacks` finds what it does not have, `limits` and `checks`
//! are the rules, `shape` divides connections among rings, `remedy` is a change, `prescription`
//! says which changes lift the limits, `report` is text and JSON. The gateway's start and
//! `portcullis doctor` ask the same questions here.

mod check;
mod checks;
mod lacks;
mod limit;
mod limits;
mod prescription;
mod remedy;
mod report;
mod scarce;
mod shape;
mod words;

pub use check::{Certificate, Check, Verdict};
pub use checks::effective_backlog;
pub use lacks::{Lack, lacking_sources, lacks, lacks_beside_binds};
pub use limit::{Force, Kind, Limit, Scope};
pub use limits::{CLIENT_PORTS, CONNECTIONS_MAX, FILES_RESERVED};
pub use prescription::Prescription;
pub use remedy::{PORTS_WIDEST, Remedy};
pub use report::SCHEMA;
pub use shape::{Means, Shape};
pub use words::{count, thousands};

use crate::config::{Auto, Config};
use crate::host::facts::Facts;

/// The findings about a host and a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The facts of the host.
    pub facts: Facts,
    /// How many connections were asked for; `None`: as many as fit.
    pub asked: Option<u64>,
    /// How many fit.
    pub fits: u64,
    /// Every limit: those that bind first, the tightest first. Never empty.
    pub limits: Vec<Limit>,
    /// Settings that affect the quality of service.
    pub checks: Vec<Check>,
    /// Things that the config names and the host lacks.
    pub lacks: Vec<Lack>,
    /// How the connections are divided.
    pub shape: Shape,
    /// The part of RLIMIT_MEMLOCK that its rings take.
    pub locked_bytes: u64,
    /// The changes for the number asked for, or for twice as many as fit.
    pub prescription: Prescription,
}

impl Diagnosis {
    /// Asks whether `connections` fit, or the config's own number when there is none.
    pub fn new(facts: Facts, config: &Config, connections: Option<u64>) -> Diagnosis {
        let asked = connections.or(match config.gateway.max_connections {
            Auto::Auto => None,
            Auto::Fixed(fixed) => Some(fixed.into()),
        });
        let means = scarce::fitted(Means::new(&facts, config), &facts, config, asked);
        let written = matches!(config.gateway.max_connections, Auto::Fixed(_));
        let ports_bind = connections.is_some() || !written;
        let limits = limits::limits(&facts, config, &means, ports_bind);
        let fits = limits[0].connections;
        let target = asked.unwrap_or(fits.saturating_mul(2).max(1));
        let held = asked.unwrap_or(fits);
        let shape = means.shape(held.min(fits));
        let locked_bytes = means.locked_bytes(held.min(fits));
        let checks = checks::checks(&facts, config, &means, (held.min(fits), shape));
        let rules = (&limits[..], &checks[..]);
        let prescription = Prescription::new((target, held), &facts, config, &means, rules);
        Diagnosis {
            facts,
            asked,
            fits,
            limits,
            checks,
            lacks: Vec::new(),
            shape,
            locked_bytes,
            prescription,
        }
    }

    /// Whether what was asked for fits; without a number, whether anything does.
    pub fn holds(&self) -> bool {
        self.asked.unwrap_or(1) <= self.fits
    }

    /// The same with what the host lacks.
    pub fn lacking(mut self, lacks: Vec<Lack>) -> Diagnosis {
        self.checks.extend(lacks.iter().map(Check::of_lack));
        self.lacks.extend(lacks);
        self
    }

    /// The same with what a start copes with, and says.
    pub fn noting(mut self, notes: &[Lack]) -> Diagnosis {
        self.checks.extend(notes.iter().map(Check::of_note));
        self
    }

    /// The same with the days of certificates.
    pub fn certified(mut self, certificates: &[Certificate]) -> Diagnosis {
        self.checks.extend(certificates.iter().map(Check::of_certificate));
        self
    }

    /// Whether a start succeeds, with what was asked for, as far as this tells.
    pub fn starts(&self) -> bool {
        self.holds() && self.lacks.is_empty()
    }

    /// The limit that binds.
    pub fn binding(&self) -> &Limit {
        &self.limits[0]
    }

    /// The most connections: the number asked for, or the number that fits.
    pub fn max_connections(&self) -> u32 {
        u32::try_from(self.asked.unwrap_or(self.fits).min(self.fits)).unwrap_or(u32::MAX)
    }

    /// Advisory limits that `max_connections` exceeds.
    pub fn exceeded(&self) -> impl Iterator<Item = &Limit> {
        let held = u64::from(self.max_connections());
        prescription::exceeded(&self.limits, &self.facts, held)
    }
}
