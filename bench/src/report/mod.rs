//! One page of charts and tables from results: HTML that needs nothing else, and Markdown.

mod chart;
mod html;
mod input;
mod markdown;
mod memory;
mod page;
mod palette;
mod parts;
mod series;
mod single;
mod statistics;
mod terminal;
mod timeline;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};

use crate::number;
use crate::result::{Input, Series};
use page::{Block, Page, Section};
use palette::Palette;

pub(crate) use statistics::{Row, Work};
pub(crate) use terminal::{brief, named, table};

#[derive(Args)]
#[command(group(ArgGroup::new("output").required(true).multiple(true).args(["html", "markdown"])))]
#[command(after_help = "Example: what a comparison found, to look at and to paste:
  portcullis-bench compare > results.jsonl
  portcullis-bench report results.jsonl --html report.html --markdown report.md")]
pub(crate) struct Report {
    /// Files with a JSON result in each line: of scenarios, of `compare`, of `sweep`; - is stdin
    #[arg(required = true)]
    results: Vec<String>,
    /// Where to write one page of HTML that needs no other file; - is stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Where to write the same tables in Markdown; - is stdout
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The heading of it all
    #[arg(long)]
    title: Option<String>,
}

impl Report {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let input = input::read(&self.results)
            .map_err(|words| io::Error::new(ErrorKind::InvalidInput, words))?;
        for warning in &input.warnings {
            eprintln!("warning: {warning}");
        }
        let page = page(&input, self.title.as_deref());
        if let Some(path) = &self.html {
            write(path, &html::write(&page))?;
        }
        if let Some(path) = &self.markdown {
            write(path, &markdown::write(&page))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if path == Path::new("-") {
        return io::stdout().write_all(text.as_bytes());
    }
    let at = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    std::fs::write(path, text).map_err(at)
}

fn page(input: &Input, title: Option<&str>) -> Page {
    let mut palette = Palette::default();
    for series in &input.series {
        let named = series.about.iter().flat_map(|about| &about.targets);
        named.for_each(|target| palette.add(&target.name));
        series.outcomes.iter().for_each(|(run, _)| palette.add(&run.target));
    }
    let mut sections = Vec::new();
    let filled: Vec<&Series> =
        input.series.iter().filter(|series| !series.outcomes.is_empty()).collect();
    for (index, series) in filled.iter().enumerate() {
        let suffix = match filled.len() {
            1 => String::new(),
            _ => format!(" ({})", index + 1),
        };
        sections.extend(series::sections(series, &palette, &suffix));
    }
    if !input.singles.is_empty() {
        let blocks = vec![Block::Table(single::overview(&input.singles))];
        sections.push(Section { title: "Single runs".to_owned(), blocks });
    }
    let singles = input.singles.iter().enumerate();
    sections.extend(singles.map(|(index, one)| single::section(one, index + 1)));
    if !input.warnings.is_empty() {
        let blocks = vec![Block::List(input.warnings.clone())];
        sections.push(Section { title: "Left out".to_owned(), blocks });
    }
    let title = title.map_or_else(|| default_title(&filled), str::to_owned);
    Page { title, lead: lead(input), sections }
}

fn default_title(series: &[&Series]) -> String {
    let mut runs = series.iter().flat_map(|one| &one.outcomes).map(|(run, _)| run);
    match runs.next() {
        Some(run) if run.setting.is_some() => "Settings compared".to_owned(),
        Some(_) => "Proxies compared".to_owned(),
        None => "Results of portcullis-bench".to_owned(),
    }
}

/// Where and when, in one line; from the first that says it.
fn lead(input: &Input) -> String {
    let about = input.series.iter().find_map(|series| series.about.as_ref());
    let parts: Vec<String> = match (about, input.singles.first()) {
        (Some(about), _) => {
            let memory = about.memory_bytes.map(number::bytes);
            let kernel = format!("Linux {}", about.kernel);
            let first = [about.started.clone(), kernel, cores(about.cores)];
            first.into_iter().chain(memory).collect()
        }
        (None, Some(single)) => {
            let host = &single.value["host"];
            let kernel = host["kernel"].as_str().map(|kernel| format!("Linux {kernel}"));
            let count = host["cores"].as_u64().map(cores);
            kernel.into_iter().chain(count).collect()
        }
        (None, None) => Vec::new(),
    };
    parts.join(" · ")
}

fn cores(count: u64) -> String {
    format!("{count} core{}", if count == 1 { "" } else { "s" })
}
