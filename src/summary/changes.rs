//! What a reload changed, or would.

use crate::api::reload::{Change, Reloaded, Takes};
use crate::doctor::{count, thousands};

/// A line for each change, and one that counts them.
pub fn changes(answer: &Reloaded) -> String {
    let rows: Vec<[String; 4]> = answer.changes.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let [keys, values] = [1, 2].map(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for [sign, key, value, takes] in &rows {
        text += &format!(" {sign} {key:keys$}  {value:values$}  {takes}\n");
    }
    for line in &answer.by_hand {
        text += &format!(" * {line}, by hand; --reset takes the file's word\n");
    }
    text + &total(answer)
}

fn row(change: &Change) -> [String; 4] {
    let Change { before, after, key, takes, .. } = change;
    let (sign, value) = match (before, after) {
        _ if *takes == Takes::Restart => ("!", arrow(before.as_deref(), after.as_deref())),
        (None, after) => ("+", after.clone().unwrap_or_default()),
        (before, None) => ("-", before.clone().unwrap_or_default()),
        (before, after) => ("~", arrow(before.as_deref(), after.as_deref())),
    };
    let mut says = vec![takes.words().to_owned()];
    if change.ends > 0 {
        says.push(format!("{} ended in time", counted(change.ends)));
    }
    says.extend(change.note.clone());
    [sign.to_owned(), key.clone(), value, says.join("; ")]
}

/// Both values, without the quotes of the file.
fn arrow(before: Option<&str>, after: Option<&str>) -> String {
    let bare = |value: Option<&str>| value.unwrap_or("nothing").trim_matches('"').to_owned();
    format!("{} → {}", bare(before), bare(after))
}

fn counted(connections: u64) -> String {
    let noun = if connections == 1 { "connection" } else { "connections" };
    format!("{} {noun}", thousands(connections))
}

fn total(answer: &Reloaded) -> String {
    let Reloaded { changes, generation, file, open, .. } = answer;
    let restarts = changes.iter().filter(|change| change.takes == Takes::Restart).count();
    let ends = changes.iter().map(|change| change.ends).sum::<u64>();
    if let (true, Some(refused)) = (changes.is_empty(), &answer.refused) {
        return format!("no key differs\nnothing was changed: {refused}");
    }
    if changes.is_empty() {
        return format!("nothing differs from {file}; config {generation} runs");
    }
    let mut text = count((changes.len() - restarts) as u64, "change");
    if restarts > 0 {
        text += &format!(", {restarts} for a restart");
    }
    text += &format!("; {} of {} ended", thousands(ends), counted(*open));
    match (&answer.refused, answer.applied) {
        (Some(refused), _) => text += &format!("\nnothing was changed: {refused}"),
        (None, true) => text += &format!("; config {generation} runs"),
        (None, false) => text += "; nothing was changed",
    }
    text.extend(answer.failed.iter().map(|failed| format!("\nnot yet: {failed}")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, values: [Option<&str>; 2], takes: Takes, ends: u64) -> Change {
        let [before, after] = values.map(|value| value.map(str::to_owned));
        Change { after, before, ends, key: key.to_owned(), note: None, takes }
    }

    fn answer(changes: Vec<Change>) -> Reloaded {
        Reloaded {
            applied: false,
            by_hand: Vec::new(),
            changes,
            failed: None,
            file: "p.toml".to_owned(),
            generation: 3,
            open: 412_870,
            refused: None,
            schema: 1,
        }
    }

    #[test]
    fn each_change_is_a_line_and_the_last_one_counts() {
        let idle = [Some("\"1h\""), Some("\"10m\"")];
        let text = changes(&answer(vec![
            change("listener.metrics", [None, None], Takes::Live, 0),
            change("listener.edge.idle_timeout", idle, Takes::Live, 38_211),
            change("upstream.app.servers.c", [Some("10.0.0.3:9000"), None], Takes::Live, 1),
        ]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                " + listener.metrics                           at once",
                " ~ listener.edge.idle_timeout  1h → 10m       at once; 38,211 connections \
                 ended in time",
                " - upstream.app.servers.c      10.0.0.3:9000  at once; 1 connection ended in \
                 time",
                "3 changes; 38,212 of 412,870 connections ended; nothing was changed",
            ]
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let size = [Some("\"16KiB\""), Some("\"32KiB\"")];
        let restart = change("ring.buffer_size", size, Takes::Restart, 0);
        let refused = Some("ring.buffer_size needs a restart".to_owned());
        let text = changes(&Reloaded { refused, ..answer(vec![restart]) });
        assert_eq!(
            text,
            " ! ring.buffer_size  16KiB → 32KiB  needs `portcullis upgrade`\n\
             0 changes, 1 for a restart; 0 of 412,870 connections ended\n\
             nothing was changed: ring.buffer_size needs a restart"
        );
    }

    #[test]
    fn what_is_not_carried_out_in_time_is_no_refusal() {
        let weight = [Some("1"), Some("2")];
        let weight = change("upstream.app.servers.a.weight", weight, Takes::NewConnections, 0);
        let failed = Some("worker 1 does not turn".to_owned());
        let text = changes(&Reloaded { applied: true, failed, ..answer(vec![weight]) });
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "1 change; 0 of 412,870 connections ended; config 3 runs",
                "not yet: worker 1 does not turn",
            ]
        );
    }

    #[test]
    fn nothing_to_do_is_said() {
        assert_eq!(changes(&answer(vec![])), "nothing differs from p.toml; config 3 runs");
        let refused = Reloaded { refused: Some("a.pem: is no file".into()), ..answer(vec![]) };
        assert_eq!(
            changes(&refused),
            "no key differs\nnothing was changed: a.pem: is no file",
            "what it names is wrong"
        );
    }
}
