//! Lines of results from files or stdin, each understood or refused with its place.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};

use crate::result::Input;

/// A result of a run of many hours, with its timeline, stays well below.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Lines over all files.
const MAX_LINES: usize = 100_000;

/// Reads them all; `-` is stdin. An error names the file and the line.
pub(crate) fn read(paths: &[String]) -> Result<Input, String> {
    let mut input = Input::default();
    let mut lines = 0;
    for path in paths {
        let source = if path == "-" { "stdin" } else { path };
        let at = |error: std::io::Error| format!("{source}: {error}; give a file of results");
        let reader: Box<dyn Read> = match path.as_str() {
            "-" => Box::new(stdin()),
            path => Box::new(File::open(path).map_err(at)?),
        };
        read_one(source, BufReader::new(reader), &mut input, &mut lines)?;
    }
    if input.series.iter().all(|one| one.outcomes.is_empty()) && input.singles.is_empty() {
        return Err(format!("{}: not one result; run a scenario first", paths.join(", ")));
    }
    Ok(input)
}

fn read_one(
    source: &str,
    mut reader: impl BufRead,
    input: &mut Input,
    lines: &mut usize,
) -> Result<(), String> {
    // What a line with `run` belongs to: the last header of this very file.
    let first = input.series.len();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_LINE_BYTES);
        bounded.read_until(b'\n', &mut line).map_err(|error| format!("{source}: {error}"))?;
        if line.is_empty() {
            break;
        }
        let at = |what: String| format!("{source}:{number}: {what}");
        if line.len() as u64 == MAX_LINE_BYTES {
            return Err(at(format!("a line of more than {} MiB", MAX_LINE_BYTES >> 20)));
        }
        *lines += 1;
        if *lines > MAX_LINES {
            return Err(at(format!("more than {MAX_LINES} lines; report fewer at once")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => input.take(source, value, first).map_err(at)?,
            Err(error) if error.is_eof() && !line.ends_with(b"\n") => {
                let words = at("cut off in its middle, and left out".to_owned());
                input.warnings.push(words);
            }
            Err(error) => return Err(at(format!("no JSON: {error}"))),
        }
    }
    Ok(())
}
