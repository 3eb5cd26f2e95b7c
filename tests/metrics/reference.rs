//! The table of metrics in config/host is the catalogue's.

use portcullis::metrics::families;

use crate::rules::file;

const HEAD: &str = "\
# Metrics

What `/metrics` of the status server shows (`[status]` in the config file). A counter's samples end
with `_total`, an info's with `_info`; a histogram has `_bucket`, `_sum` and `_count`. What is
counted of connections is summed over workers; a number with the label `worker` is one worker's own.
`/status.json` says the same for programs, at one moment.

`alerts.yaml` beside this file has rules for Prometheus, `dashboard.json` a dashboard for Grafana.

";

fn table() -> String {
    let mut table = format!("{HEAD}| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for family in families() {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        table += &format!(
            "| `{}` | {} | {} | {} |\n",
            family.sample_name(),
            family.kind.word(),
            labels.join(" "),
            family.help
        );
    }
    table
}

#[test]
fn the_table_of_metrics_is_the_catalogue() {
    const PATH: &str = "config/host/metrics.md";
    if std::env::var_os("WRITE").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
        std::fs::write(path, table()).expect("the table is written");
    }
    assert!(
        file(PATH) == table(),
        "{PATH} is not what the catalogue says; write it anew: \
         WRITE=1 cargo test --test metrics the_table_of_metrics"
    );
}
