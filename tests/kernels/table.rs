//! What guests reported, for a person: a list for each, and the matrix.

use crate::Ran;
use crate::console::{CHECKS, Console};

/// The lines of one kernel.
pub(crate) fn list(console: &Console) -> String {
    let mut list = format!("Linux {}\n", console.release);
    for line in &console.lines {
        let outcome = if line.is_ok { "ok" } else { "FAILED" };
        list += &format!("  {:<20} {outcome:<6} {:>5} s  {}\n", line.name, line.seconds, line.says);
    }
    list
}

/// A table of Markdown: a row for each check with its seconds, a column for each kernel.
pub(crate) fn matrix(ran: &[Ran]) -> String {
    let row = |head: &str, cell: &dyn Fn(&Ran) -> String| {
        let cells = ran.iter().map(|one| format!(" {} |", cell(one))).collect::<String>();
        format!("| {head} |{cells}\n")
    };
    let mut table = row("", &|one| format!("Linux {}", one.console.release));
    table += &row("---", &|_| "---".to_owned());
    table += &row("`io = \"auto\"`", &|one| one.io.to_owned());
    for name in CHECKS {
        table += &row(name, &|one| match one.console.line(name) {
            None => "not run".to_owned(),
            Some(line) if line.is_ok => format!("ok, {} s", line.seconds),
            Some(line) => format!("FAILED: {}", line.says),
        });
    }
    table += &row("from boot to end", &|one| format!("{:.0} s", one.took.seconds));
    table + &row("CPU of the emulator", &|one| format!("{:.0} s", one.took.cpu_seconds))
}
