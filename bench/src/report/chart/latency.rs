//! Latency by percentile, both on logarithmic axes: one line for each target.

use maud::{Markup, html};

use super::super::page::{Chart, Size};
use super::super::palette::Colour;
use super::{LETTER, cut, drawing, line, log_ends, log_ticks, marker, n, path, placed, words};
use crate::number;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 34.0;

/// What the percentiles are of.
const AXIS: &str = "share of answers at most so late";
/// Longer names are cut.
const MAX_LETTERS: usize = 21;

/// The percentiles of a result: key, title, and the share of answers that took longer.
pub(crate) const PERCENTILES: [(&str, &str, f64); 7] = [
    ("p50", "p50", 0.5),
    ("p75", "p75", 0.25),
    ("p90", "p90", 0.1),
    ("p99", "p99", 0.01),
    ("p999", "p99.9", 0.001),
    ("p9999", "p99.99", 0.000_1),
    ("max", "max", 0.0),
];

/// The maximum stands one step behind the last percentile.
const MAX_PLACE: f64 = 5.0;

pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: Colour,
    /// Microseconds for each of [`PERCENTILES`]; absent where there are too few answers for it.
    pub(crate) micros: Vec<Option<f64>>,
}

pub(crate) fn draw(title: &str, curves: &[Curve<'_>]) -> Chart {
    let all = || curves.iter().flat_map(|curve| curve.micros.iter().flatten().copied());
    let (least, most) = log_ends(all());
    let ticks = log_ticks(least, most);
    let (low, high) = (least.log10(), most.log10());
    let letters =
        curves.iter().map(|curve| curve.name.chars().count()).max().unwrap_or(0).min(MAX_LETTERS);
    let right = WIDTH - letters as f64 * LETTER - 16.0;
    let place = |index: usize| match PERCENTILES[index].2 {
        0.0 => MAX_PLACE,
        beyond => -f64::log10(beyond),
    };
    let first = place(0);
    let x = |index: usize| LEFT + (place(index) - first) / (MAX_PLACE - first) * (right - LEFT);
    let y = |micros: f64| BOTTOM - (micros.max(1e-3).log10() - low) / (high - low) * (BOTTOM - TOP);
    let shown: Vec<_> = curves.iter().map(|curve| points(curve, &x, &y)).collect();
    let ends: Vec<f64> = shown.iter().filter_map(|points| Some(points.last()?.1 + 4.0)).collect();
    let labels = placed(&ends, TOP + 4.0, BOTTOM + 4.0);
    let with_points = curves.iter().zip(&shown).filter(|(_, points)| !points.is_empty());
    let drawn = with_points.zip(labels).map(|((curve, points), label)| (curve, points, label));
    let mut drawn: Vec<_> = drawn.collect();
    drawn.sort_by_key(|(curve, _, _)| curve.colour.layer());
    let body = html! {
        @for tick in &ticks {
            (line((LEFT, y(*tick)), (right, y(*tick)), "grid"))
            (words(LEFT - 6.0, y(*tick) + 4.0, "tick end", &number::micros(*tick)))
        }
        @for (index, (_, title, _)) in PERCENTILES.iter().enumerate() {
            (line((x(index), TOP), (x(index), BOTTOM), "grid"))
            // p75 stands too near to p50 for a label.
            @if index != 1 { (words(x(index), BOTTOM + 15.0, "tick middle", title)) }
        }
        (words((LEFT + right) / 2.0, HEIGHT - 4.0, "small middle", AXIS))
        @for (curve, points, label) in &drawn { (draw_curve(curve, points, *label, right)) }
    };
    let told = curves.iter().map(told);
    let description = format!(
        "Percentiles on a logarithmic axis against time on a logarithmic axis. {}.",
        told.collect::<Vec<_>>().join(". ")
    );
    Chart {
        title: title.to_owned(),
        legend: "by percentile, both axes logarithmic".to_owned(),
        size: Size::Medium,
        svg: drawing((WIDTH, HEIGHT), title, &description, body),
    }
}

fn points(curve: &Curve<'_>, x: &dyn Fn(usize) -> f64, y: &dyn Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let known = curve.micros.iter().enumerate();
    known.filter_map(|(index, micros)| Some((x(index), y((*micros)?)))).collect()
}

fn draw_curve(curve: &Curve<'_>, points: &[(f64, f64)], label: f64, right: f64) -> Markup {
    let last = points[points.len() - 1];
    html! {
        g class=(curve.colour.class()) {
            title { (told(curve)) }
            path d=(path(points)) class="line" stroke-dasharray=[curve.colour.dash()] {}
            @for (x, y) in points { (marker(*x, *y, curve.colour)) }
            @if right - last.0 > 1.0 || (label - 4.0 - last.1).abs() > 3.0 {
                (line((last.0 + 5.0, last.1), (right + 6.0, label - 4.0), "leader"))
            }
            (words(right + 9.0, label, "name", &cut(curve.name, MAX_LETTERS)))
        }
    }
}

fn told(curve: &Curve<'_>) -> String {
    let known = PERCENTILES.iter().zip(&curve.micros);
    let each =
        known.filter_map(|((_, title, _), micros)| Some(format!("{title} {} µs", n((*micros)?))));
    format!("{}: {}", curve.name, each.collect::<Vec<_>>().join(", "))
}
