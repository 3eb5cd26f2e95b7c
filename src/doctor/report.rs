//! The diagnosis as text for people and as JSON for programs.

use std::fmt::{self, Write};

use serde::Serialize;

use super::Diagnosis;
use super::check::{Check, Verdict};
use super::lacks::Lack;
use super::limit::{Force, Limit};
use super::remedy::Remedy;
use super::shape::Shape;
use super::words::{count, thousands};
use crate::host::facts::Facts;

/// Raised when a field of the JSON answer changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// The answer of `--json`.
#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    asked: Option<u64>,
    fits: u64,
    holds: bool,
    binding: &'a str,
    lacks: &'a [Lack],
    limits: &'a [Limit],
    checks: &'a [Check],
    shape: Shape,
    changes: Changes<'a>,
    facts: &'a Facts,
}

#[derive(Serialize)]
struct Changes<'a> {
    connections: u64,
    must: &'a [Remedy],
    should: &'a [Remedy],
    commands: Vec<String>,
    sysctl: Option<String>,
    systemd: Option<String>,
}

impl Diagnosis {
    /// One object, with a line end after its last.
    pub fn json(&self) -> String {
        let prescription = &self.prescription;
        let all = prescription.must.iter().chain(&prescription.should);
        let answer = Answer {
            schema: SCHEMA,
            asked: self.asked,
            fits: self.fits,
            holds: self.holds(),
            binding: self.binding().name,
            lacks: &self.lacks,
            limits: &self.limits,
            checks: &self.checks,
            shape: self.shape,
            changes: Changes {
                connections: prescription.connections,
                must: &prescription.must,
                should: &prescription.should,
                commands: all.map(|one| one.command(self.facts.process.container)).collect(),
                sysctl: prescription.sysctl_fragment(),
                systemd: prescription.systemd_fragment(),
            },
            facts: &self.facts,
        };
        let text = serde_json::to_string_pretty(&answer);
        text.expect("strings and numbers have no way to fail") + "\n"
    }

    /// `28,232 = min(source ports 28,232, fs.file-max 1,230,356, …)`: the limits that bind.
    pub fn equation(&self) -> String {
        let binding = self.limits.iter().filter(|limit| limit.force == Force::Hard);
        let terms: Vec<String> = binding
            .map(|limit| format!("{} {}", limit.name, thousands(limit.connections)))
            .collect();
        format!("{} = min({})", thousands(self.fits), terms.join(", "))
    }

    /// Why what was asked for is refused: the arithmetic and the remedy, on one line.
    pub fn refusal(&self) -> String {
        let Limit { name, arithmetic, .. } = self.binding();
        let asked = self.asked.map_or("one connection".to_owned(), thousands);
        let commands = self.prescription.must.iter();
        let commands: Vec<String> =
            commands.map(|one| one.command(self.facts.process.container)).collect();
        format!(
            "this host holds {}. What binds: {name}: {arithmetic}. To hold {asked}: {}",
            self.equation(),
            commands.join("; ")
        )
    }

    fn verdict(&self, out: &mut String) -> fmt::Result {
        let Limit { name, scope, .. } = self.binding();
        writeln!(out, "{}", self.equation())?;
        match self.asked {
            Some(asked) if asked > self.fits => {
                let asked = thousands(asked);
                writeln!(out, "{asked} do not fit. What binds: {name} ({}).", scope.word())?;
            }
            Some(asked) => writeln!(out, "{} fit.", thousands(asked))?,
            None => writeln!(out, "What binds: {name} ({}).", scope.word())?,
        }
        for lack in &self.lacks {
            writeln!(out, "A start fails: {lack}.")?;
        }
        for Limit { name, connections, .. } in self.exceeded() {
            writeln!(out, "Beyond {} mind {name}, above.", thousands(*connections))?;
        }
        let Shape { workers, rings_per_worker, table_entries, slots_per_worker, .. } = self.shape;
        if self.facts.kernel.epoll {
            return writeln!(
                out,
                "{} held by {workers} × 1 epoll instance, slots of {} a worker.",
                thousands(self.max_connections().into()),
                count(slots_per_worker.into(), "connection")
            );
        }
        writeln!(
            out,
            "{} held by {workers} × {}, tables of {}, slots of {} a worker.",
            thousands(self.max_connections().into()),
            count(rings_per_worker.into(), "kernel ring"),
            count(table_entries.into(), "slot"),
            count(slots_per_worker.into(), "connection")
        )
    }

    fn changes(&self, out: &mut String) -> fmt::Result {
        let prescription = &self.prescription;
        let container = self.facts.process.container;
        let target = thousands(prescription.connections);
        if !prescription.must.is_empty() {
            match self.asked {
                Some(_) => writeln!(out, "\nTo hold {target}, change:")?,
                None => writeln!(out, "\nTo hold twice as many, {target}, change:")?,
            }
            for remedy in &prescription.must {
                writeln!(out, "  {}", remedy.command(container))?;
            }
        }
        if !prescription.should.is_empty() {
            writeln!(out, "\nWorth changing:")?;
            for remedy in &prescription.should {
                writeln!(out, "  {}", remedy.command(container))?;
            }
        }
        if let Some(fragment) = prescription.sysctl_fragment() {
            write!(out, "\n# /etc/sysctl.d/90-portcullis.conf\n{fragment}")?;
        }
        if let Some(fragment) = prescription.systemd_fragment() {
            let path = "/etc/systemd/system/portcullis.service.d/limits.conf";
            write!(out, "\n# {path}\n{fragment}")?;
        }
        Ok(())
    }

    fn text(&self, out: &mut String) -> fmt::Result {
        let force = |limit: &Limit| match limit.force {
            Force::Hard => "",
            Force::Advisory => " (advice)",
        };
        let rows = self.limits.iter().map(|limit| {
            let name = format!("{}{}", limit.name, force(limit));
            let connections = thousands(limit.connections);
            [name, connections, limit.scope.word().to_owned(), limit.arithmetic.clone()]
        });
        let head = ["limit", "connections", "of", "arithmetic"].map(str::to_owned);
        table(out, std::iter::once(head).chain(rows).collect(), &[1])?;
        writeln!(out)?;
        let rows = self.checks.iter().map(|check| {
            let mark = match check.verdict {
                Verdict::Good => "good",
                Verdict::Note => "note",
                Verdict::Warning => "WARN",
            };
            [mark.to_owned(), check.name.clone(), check.value.clone(), check.says.clone()]
        });
        table(out, rows.collect(), &[])?;
        writeln!(out)?;
        self.verdict(out)?;
        self.changes(out)
    }
}

/// The report for people: what bounds connections, what else to know, the verdict, the changes.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.text(&mut text)?;
        f.write_str(&text)
    }
}

/// Columns as wide as their widest cell, those of `right` aligned to the right, the last as it is.
fn table(out: &mut String, rows: Vec<[String; 4]>, right: &[usize]) -> fmt::Result {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    for row in &rows {
        for (column, width) in widths.into_iter().enumerate() {
            if right.contains(&column) {
                write!(out, "{:>width$}  ", row[column])?;
            } else {
                write!(out, "{:<width$}  ", row[column])?;
            }
        }
        writeln!(out, "{}", row[3])?;
    }
    Ok(())
}
