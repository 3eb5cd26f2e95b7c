//! A report says what the results say, in HTML and in Markdown, and refuses what it cannot read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use roxmltree::{Document, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

const HOSTILE: &str = "<script>alert('x')</script>";

/// A work's result; `figure` is its CPU per message, `p99` its latency.
fn result(target: &str, round: u64, figure: f64, p99: f64) -> Value {
    json!({
        "schema": 2, "scenario": "pingpong", "good": true, "valid": true, "interrupted": false,
        "asked": {"connections": 1000, "bytes": 64}, "host": {"kernel": "6.18.1", "cores": 2},
        "command": "portcullis-bench pingpong --connections 1000", "counts": {}, "failures": {},
        "own": {"busiest_thread_ran": 0.5, "longest_lag_ms": 12.0},
        "measured": {
            "target_cpu_us_per_message": figure, "messages_per_second": 1e6 / figure,
            "latency_us": {"message": {
                "count": 5_000, "mean": p99 / 2.0, "min": 1.0, "p50": p99 / 4.0, "p75": p99 / 3.0,
                "p90": p99 / 2.0, "p99": p99, "p999": p99 * 2.0, "p9999": p99 * 3.0,
                "max": p99 * 4.0,
            }},
            "memory_bytes_per_connection": {
                "target_user_pss": figure * 10.0, "target_cgroup": figure * 10.0 + 5_000.0,
                "machine_slab": 8_400.0, "machine_slab_by_cache": {"TCP": 5_000.0, "filp": 640.0},
            },
            "timeline": {"every_ms": 250, "points": [
                {"at_seconds": 0.25, "phase": "open", "open": 400, "done": 400, "failed": 0},
                {"at_seconds": 0.5, "phase": "open", "open": 1_000, "done": 1_000, "failed": 0},
                {"at_seconds": 1.5, "phase": "run", "open": 1_000, "done": 700, "failed": 2},
            ]},
        },
        "run": {
            "work": "pingpong-1000", "title": "64 B ping-pong, 1,000 connections",
            "target": target, "version": "1.2.3", "round": round, "rounds": 3,
            "figures": [
                {"pointer": "/measured/target_cpu_us_per_message", "title": "CPU per message",
                 "unit": "µs", "better": "less"},
                {"pointer": "/measured/messages_per_second", "title": "Messages", "unit": "1/s",
                 "better": "more"},
            ],
        },
    })
}

fn about() -> Value {
    json!({"schema": 2, "scenario": "compare", "about": {
        "kernel": "6.18.1", "cores": 2, "memory_bytes": 8_589_934_592u64,
        "command": "portcullis-bench compare", "started": "2026-01-02T03:04:05Z",
        "ulimit_nofile": 20_000, "sysctls": {"net.core.somaxconn": "4096"},
        "targets": [
            {"name": "portcullis", "version": "portcullis 1.2.3", "config": "gateway.toml"},
            {"name": "haproxy", "version": "HAProxy 1.2.3-4+deb", "config": "haproxy.cfg"},
        ],
        "skipped": [{"name": "envoy", "because": "no such program", "install": "pip install e"}],
        "notes": ["Rounds are interleaved & counted."],
    }})
}

/// Portcullis 10, 30, 20; haproxy 40 and 41, and one that does not count; a hostile name that
/// fails.
fn comparison() -> Vec<Value> {
    let mut lines = vec![about()];
    for (round, ours, theirs) in [(1, 10.0, 40.0), (2, 30.0, 9_999.0), (3, 20.0, 41.0)] {
        // Results come interleaved; the order of the header wins.
        let mut rival = result("haproxy", round, theirs, theirs * 100.0);
        if round == 2 {
            rival["valid"] = json!(false);
            rival["invalid_because"] = json!(["the generator was late by 300 ms"]);
            rival["discarded"] = rival["measured"].take();
        }
        let mut hostile = result(HOSTILE, round, 1.0, 100.0);
        hostile["good"] = json!(false);
        hostile["failures"] = json!({"message: reset (RST) | <b>": 7});
        lines.extend([rival, hostile, result("portcullis", round, ours, ours * 100.0)]);
    }
    lines
}

fn sweep() -> Vec<Value> {
    let mut lines = vec![about()];
    lines[0]["scenario"] = json!("sweep");
    for (value, figure) in [("4KiB", 40.0), ("16KiB", 20.0), ("64KiB", 25.0)] {
        for round in 1..=3 {
            let mut line = result("portcullis", round, figure + round as f64, 500.0);
            line["run"]["setting"] = json!({"key": "ring.buffer_size", "value": value});
            lines.push(line);
        }
    }
    lines
}

fn single() -> Value {
    let mut line = result("", 1, 8.0, 800.0);
    line.as_object_mut().expect("an object").remove("run");
    line
}

/// Runs it in a folder of its own with these files.
struct Bench {
    folder: TempDir,
}

struct Pages {
    html: String,
    markdown: String,
    warnings: String,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn run(&self, inputs: &[&Path], stdin: Stdio) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
        command.arg("report").args(inputs).stdin(stdin);
        command.arg("--html").arg(self.path("out.html"));
        command.arg("--markdown").arg(self.path("out.md"));
        command.output().expect("the program runs")
    }

    fn pages(&self, output: &Output) -> Pages {
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{warnings}");
        let read = |name| fs::read_to_string(self.path(name)).expect(name);
        Pages { html: read("out.html"), markdown: read("out.md"), warnings }
    }
}

fn text_of(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn report(lines: &[Value]) -> Pages {
    let bench = Bench::new();
    let path = bench.write("in.jsonl", &text_of(lines));
    let output = bench.run(&[&path], Stdio::null());
    bench.pages(&output)
}

/// Every element of this name in the page, each parsed as XML.
fn elements<'a>(html: &'a str, name: &str) -> Vec<Document<'a>> {
    let mut found = Vec::new();
    let mut rest = html;
    let (begin, end) = (format!("<{name} "), format!("</{name}>"));
    let bare = format!("<{name}>");
    while let Some(from) = rest.find(&begin).or_else(|| rest.find(&bare)) {
        let length = rest[from..].find(&end).expect("it ends") + end.len();
        let part = &rest[from..from + length];
        let document = Document::parse(part).unwrap_or_else(|error| panic!("{error}: {part}"));
        found.push(document);
        rest = &rest[from + length..];
    }
    found
}

fn words(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter_map(|one| one.text().filter(|_| one.is_text()));
    texts.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of a table, heads included, as plain words.
type Rows = Vec<Vec<String>>;

/// What stays of a cell when emphasis, stars and brackets are gone.
fn plain(cell: &str) -> String {
    let kept = cell.chars().filter(|c| !"★*\\()".contains(*c)).collect::<String>();
    let kept = kept.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Tables with their captions.
fn html_tables(html: &str) -> Vec<(String, Rows)> {
    let rows = |table: &Document<'_>| {
        let rows = table.descendants().filter(|node| node.has_tag_name("tr"));
        let cells = |row: Node<'_, '_>| -> Vec<String> {
            row.children().map(|cell| plain(&words(cell))).collect()
        };
        rows.map(cells).collect()
    };
    let caption = |table: &Document<'_>| {
        let caption = table.descendants().find(|node| node.has_tag_name("caption"));
        plain(&words(caption.expect("a caption")))
    };
    elements(html, "table").iter().map(|table| (caption(table), rows(table))).collect()
}

fn markdown_tables(markdown: &str) -> Vec<(String, Rows)> {
    let mut tables: Vec<(String, Rows)> = Vec::new();
    let mut caption = String::new();
    for line in markdown.lines() {
        let Some(inner) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            caption = if line.is_empty() { caption } else { plain(line) };
            continue;
        };
        if inner.starts_with("--") {
            continue;
        }
        if !caption.is_empty() {
            tables.push((std::mem::take(&mut caption), Vec::new()));
        }
        let inner = inner.replace("\\|", "\u{1}");
        let cells = inner.split(" | ").map(|cell| plain(&cell.replace('\u{1}', "|")));
        tables.last_mut().expect("a caption stands above").1.push(cells.collect());
    }
    tables
}

fn table<'a>(tables: &'a [(String, Rows)], caption: &str) -> &'a Rows {
    let found = tables.iter().find(|(one, _)| one.contains(&plain(caption)));
    &found.unwrap_or_else(|| panic!("no table {caption} in {tables:#?}")).1
}

fn row<'a>(rows: &'a Rows, head: &str) -> &'a [String] {
    let found = rows.iter().find(|row| row[0].starts_with(head));
    found.unwrap_or_else(|| panic!("no row {head} in {rows:#?}"))
}

#[test]
fn medians_are_of_the_rounds_that_count() {
    let pages = report(&comparison());
    let tables = html_tables(&pages.html);
    let figures = table(&tables, "Median over rounds (least–most)");
    let heads = ["Target", "CPU per message µs, less is better", "Messages 1/s, more is better"];
    assert_eq!(figures[0][..3], heads);
    let expected = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    assert_eq!(
        row(figures, "portcullis")[..5],
        expected(["portcullis 1.2.3", "20.00 10.00–30.00", "50,000 33,333–100,000", "3 of 3", "0"])
    );
    assert_eq!(
        row(figures, "haproxy")[..5],
        expected(["haproxy 1.2.3", "40.50 40.00–41.00", "24,695 24,390–25,000", "2 of 3", "0"])
    );
    let order: Vec<&str> = figures[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(order[..2], ["portcullis 1.2.3", "haproxy 1.2.3"]);
    assert!(!pages.html.contains("9,999"), "the round that does not count is nowhere");
    let latency = table(&tables, "Latency: message");
    let cells =
        ["haproxy 1.2.3", "5,000", "2,025", "1,012.5", "1,350.0", "2,025", "4,050", "8,100"];
    assert_eq!(row(latency, "haproxy")[..8], cells);
    assert_eq!(row(latency, "haproxy")[8..], ["–", "16,200"], "5,000 answers have no p99.99");
}

#[test]
fn the_best_is_marked_and_who_failed_is_not() {
    let pages = report(&comparison());
    let tables = html_tables(&pages.html);
    let summary = table(&tables, "What decides, of each work");
    let line = row(summary, "64 B ping-pong, 1,000 connections CPU per message");
    assert_eq!(line[1..], ["20.00", "40.50 2.02×", "✗ 1.00 0.05×"]);
    let documents = elements(&pages.html, "table");
    let best: Vec<String> = documents[0]
        .descendants()
        .filter(|node| node.attribute("class").is_some_and(|class| class.contains("best")))
        .map(words)
        .collect();
    assert_eq!(best, ["★ 20.00", "★ 50,000"]);
    assert!(pages.markdown.contains("| **20.00** ★ | 40.50 (2.02×) | ✗ 1.00 (0.05×) |"));
}

#[test]
fn failures_doubts_and_who_was_not_there_are_said() {
    let pages = report(&comparison());
    let tables = html_tables(&pages.html);
    let failed = &table(&tables, "Failures, of all rounds")[1];
    assert_eq!(failed[1..], ["21", "message: reset RST | <b>"]);
    let doubted = &table(&tables, "Invalid rounds")[1];
    assert_eq!(doubted[..], ["haproxy 1.2.3", "2", "the generator was late by 300 ms"]);
    let skipped = &table(&tables, "Not measured")[1];
    assert_eq!(skipped[..], ["envoy", "no such program", "pip install e"]);
    for words in
        ["6.18.1", "8.0 GiB", "20000", "net.core.somaxconn", "4096", "2026-01-02T03:04:05Z"]
    {
        assert!(pages.html.contains(words) && pages.markdown.contains(words), "{words}");
    }
    assert!(pages.html.contains("HAProxy 1.2.3-4+deb"));
    assert!(pages.html.contains("Rounds are interleaved &amp; counted."));
}

#[test]
fn memory_and_time_have_their_charts_and_tables() {
    let pages = report(&comparison());
    let tables = html_tables(&pages.html);
    let memory = table(&tables, "Memory per connection");
    let heads =
        ["user bytes", "kernel bytes", "user and kernel bytes", "slab, whole machine bytes"];
    assert_eq!(memory[0][1..], heads);
    assert_eq!(row(memory, "portcullis")[1..], ["200", "5,000", "5,200", "8,400"]);
    let slab = table(&tables, "Machine slab by cache");
    assert_eq!(row(slab, "haproxy")[1..], ["5,000", "640"]);
    let phases = table(&tables, "Over time, by phase");
    let open = ["portcullis 1.2.3", "open", "0.000", "0.500", "1,000", "1,000", "1,000", "2,000"];
    assert_eq!(phases[1][..8], open);
    let run = ["portcullis 1.2.3", "run", "0.500", "1.500", "1,000", "1,000", "700", "700", "2"];
    assert_eq!(phases[2][..], run, "a phase counts from zero, and its failures are told");
    let titles: Vec<String> = elements(&pages.html, "figcaption")
        .iter()
        .map(|caption| words(caption.root_element()))
        .collect();
    for title in ["CPU per message", "Latency: message", "Memory per connection", "over time"] {
        assert!(titles.iter().any(|one| one.contains(title)), "{title}: {titles:?}");
    }
}

#[test]
fn html_and_markdown_hold_the_same_tables() {
    for lines in [comparison(), sweep(), vec![single(), single()]] {
        let pages = report(&lines);
        let (html, markdown) = (html_tables(&pages.html), markdown_tables(&pages.markdown));
        assert!(html.len() > 4, "{html:#?}");
        assert_eq!(html.len(), markdown.len());
        for (one, other) in html.iter().zip(&markdown) {
            assert_eq!(one, other);
        }
    }
}

#[test]
fn charts_are_xml_with_a_name_and_finite_numbers() {
    let mut invalid = single();
    invalid["valid"] = json!(false);
    let mut empty = single();
    empty["measured"] = json!({
        "memory_bytes_per_connection": {"target_user_pss": 0.0, "machine_slab_by_cache": {}},
        "latency_us": {}, "timeline": {"points": []}, "target_cpu_us_per_message": null,
    });
    let mut zero = single();
    zero["measured"]["latency_us"]["message"] = json!({"count": 0, "p50": 0.0, "max": 0.0});
    zero["measured"]["timeline"]["points"] =
        json!([{"at_seconds": 0.0, "phase": "open", "open": 0, "done": 0}]);
    let mut lines = comparison();
    lines.extend([single(), invalid, empty, zero]);
    lines.extend(sweep());
    let pages = report(&lines);
    let charts = elements(&pages.html, "svg");
    assert!(charts.len() > 15, "only {} charts", charts.len());
    for chart in &charts {
        let root = chart.root_element();
        for name in ["title", "desc"] {
            let child = root.children().find(|node| node.has_tag_name(name));
            assert!(!words(child.expect(name)).is_empty(), "{name} of {}", words(root));
        }
        for node in root.descendants() {
            for attribute in node.attributes() {
                let value = attribute.value();
                let broken = ["NaN", "inf"].iter().any(|word| value.contains(word));
                assert!(!broken, "{} = {value}", attribute.name());
                let is_size = ["width", "height"].contains(&attribute.name());
                assert!(!is_size || !value.starts_with('-'), "{} = {value}", attribute.name());
            }
        }
    }
}

#[test]
fn the_page_needs_nothing_else_and_nothing_in_it_is_run() {
    let pages = report(&comparison());
    for foreign in ["<script", "<link", "<img", "<iframe", "url(", "@import", "src="] {
        assert!(!pages.html.contains(foreign), "{foreign}");
    }
    assert!(pages.html.contains("&lt;script&gt;alert('x')&lt;/script&gt;"));
    assert!(!pages.markdown.contains("<script") && !pages.markdown.contains("<b>"));
    let links: Vec<&str> = pages.html.split("href=\"").skip(1).collect();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        let target = link.split('"').next().and_then(|link| link.strip_prefix('#'));
        let id = format!("id=\"{}\"", target.expect("a place in this page"));
        assert!(pages.html.contains(&id), "{id}");
    }
}

#[test]
fn a_sweep_is_told_by_value() {
    let pages = report(&sweep());
    let tables = html_tables(&pages.html);
    let summary = &table(&tables, "What each setting can do to what decides")[1];
    let expected = ["portcullis 1.2.3", "CPU per message µs, less is better", "16KiB", "22"];
    assert_eq!(summary[1], "ring.buffer_size");
    assert_eq!(summary[2..6], expected);
    assert_eq!(summary[6..], ["4KiB", "42"]);
    let values = table(&tables, "Median over rounds");
    let heads: Vec<&str> = values[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(heads, ["4KiB 1.2.3", "16KiB 1.2.3", "64KiB 1.2.3"]);
    let charts = elements(&pages.html, "svg");
    let described = "portcullis: 42 at 4KiB, 22 at 16KiB, 27 at 64KiB";
    let told = charts.iter().any(|chart| words(chart.root_element()).contains(described));
    assert!(told, "{described}");
}

#[test]
fn a_single_result_stands_alone() {
    let mut invalid = single();
    invalid["valid"] = json!(false);
    invalid["invalid_because"] = json!(["too busy <here>"]);
    let pages = report(&[single(), invalid]);
    let tables = html_tables(&pages.html);
    let overview = table(&tables, "Single runs");
    assert_eq!(overview[1][2..], ["8", "125,000", "800", "good", "0"]);
    assert_eq!(overview[2][2..], ["–", "–", "–", "invalid", "0"]);
    let figures = table(&tables, "Figures");
    assert_eq!(row(figures, "target cpu us per message")[1], "8");
    assert!(pages.html.contains("Invalid: too busy &lt;here&gt;."));
    assert_eq!(tables.iter().filter(|(caption, _)| caption == "Figures").count(), 1);
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let good = format!("{}\n", single());
    let mut foreign = single();
    foreign["schema"] = json!(3);
    let mut silent = single();
    silent.as_object_mut().expect("an object").remove("valid");
    let mut partial = comparison()[1].clone();
    partial["run"].as_object_mut().expect("an object").remove("target");
    let mut headless = about();
    headless["about"].as_object_mut().expect("an object").remove("kernel");
    for (line, words) in [
        ("{\"schema\":2,\n".to_owned(), "no JSON"),
        ("{\"schema\":2}\n".to_owned(), "no `scenario`"),
        ("[1]\n".to_owned(), "no `scenario`"),
        (format!("{foreign}\n"), "schema 3 is not known"),
        (format!("{silent}\n"), "without `valid`"),
        (format!("{partial}\n"), "`run`: missing field `target`"),
        (format!("{headless}\n"), "`about`: missing field `kernel`"),
    ] {
        let bench = Bench::new();
        let path = bench.write("in.jsonl", &format!("{good}{line}{good}"));
        let output = bench.run(&[&path], Stdio::null());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}: {errors}");
        let place = format!("{}:2: ", path.display());
        assert!(errors.contains(&place) && errors.contains(words), "{words}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(!bench.path("out.html").exists(), "{words}");
    }
}

#[test]
fn a_last_line_that_was_cut_off_is_left_out() {
    let bench = Bench::new();
    let whole = text_of(&comparison());
    let cut = format!("{whole}{}", &single().to_string()[..200]);
    let path = bench.write("in.jsonl", &cut);
    let output = bench.run(&[&path], Stdio::null());
    let pages = bench.pages(&output);
    let place = format!("{}:{}: cut off", path.display(), comparison().len() + 1);
    assert!(pages.warnings.contains(&place), "{}", pages.warnings);
    assert!(pages.html.contains("cut off in its middle"), "the page says so, too");
    assert_eq!(html_tables(&pages.html).len(), html_tables(&report(&comparison()).html).len());
}

#[test]
fn several_files_and_stdin_make_one_page() {
    let bench = Bench::new();
    let first = bench.write("first.jsonl", &text_of(&comparison()));
    let second = bench.write("second.jsonl", &text_of(&sweep()));
    let third = bench.write("third.jsonl", &text_of(&[single()]));
    let stdin = Stdio::from(fs::File::open(&third).expect("written"));
    let output = bench.run(&[&first, &second, Path::new("-")], stdin);
    let pages = bench.pages(&output);
    for title in ["Summary (1)", "Summary (2)", "Run 1: pingpong"] {
        assert!(pages.html.contains(title) && pages.markdown.contains(title), "{title}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    let bench = Bench::new();
    let empty = bench.write("empty.jsonl", "\n");
    let header = bench.write("header.jsonl", &text_of(&[about()]));
    for path in [&empty, &header, &bench.path("absent.jsonl")] {
        let output = bench.run(&[path], Stdio::null());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(&path.display().to_string()), "{errors}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-bench"));
    let output = command.arg("report").arg(&empty).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "neither --html nor --markdown is wrong usage");
}
