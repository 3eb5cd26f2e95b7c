//! A figure over the values of a setting: one line for each target.

use maud::{Markup, html};

use super::super::page::{Chart, Size};
use super::super::palette::Colour;
use super::super::statistics::Spread;
use super::{LETTER, cut, drawing, line, marker, path, placed, ticks, words};
use crate::number;
use crate::result::Figure;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 260.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 38.0;

pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: Colour,
    /// One for each value.
    pub(crate) spreads: Vec<Option<Spread>>,
}

pub(crate) fn draw(figure: &Figure, key: &str, values: &[&str], lines: &[Line<'_>]) -> Chart {
    let all = || lines.iter().flat_map(|line| line.spreads.iter().flatten());
    let most = all().map(|spread| spread.most).fold(0.0, f64::max);
    let ticks = ticks(most, 5.0);
    let end = ticks[ticks.len() - 1];
    let widest = ticks.iter().map(|tick| number::tick(*tick).chars().count()).max().unwrap_or(1);
    let left = widest as f64 * LETTER + 12.0;
    let letters = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).min(16);
    let right = WIDTH - letters as f64 * LETTER - 16.0;
    let step = (right - left) / values.len().max(1) as f64;
    let x = |index: usize| left + step * (index as f64 + 0.5);
    let y = |value: f64| BOTTOM - value.max(0.0) / end * (BOTTOM - TOP);
    let known = |line: &Line<'_>| -> Vec<(usize, Spread)> {
        let spreads = line.spreads.iter().enumerate();
        spreads.filter_map(|(index, spread)| Some((index, (*spread)?))).collect()
    };
    let with_points = lines.iter().filter(|line| !known(line).is_empty());
    let ends = with_points.clone().filter_map(|one| Some(y(known(one).last()?.1.median) + 4.0));
    let labels = placed(&ends.collect::<Vec<_>>(), TOP + 4.0, BOTTOM);
    let mut drawn: Vec<_> = with_points.zip(labels).collect();
    drawn.sort_by_key(|(line, _)| line.colour.layer());
    let room = (step / 6.2) as usize;
    let body = html! {
        @for tick in &ticks {
            (super::line((left, y(*tick)), (right, y(*tick)), "grid"))
            (words(left - 6.0, y(*tick) + 4.0, "tick end", &number::tick(*tick)))
        }
        @for (index, value) in values.iter().enumerate() {
            (words(x(index), BOTTOM + 15.0, "tick middle", &cut(value, room.max(3))))
        }
        (words((left + right) / 2.0, HEIGHT - 6.0, "small middle", key))
        @for (one, label) in &drawn {
            (draw_line(one, &known(one), (&x, &y), (right, *label)))
        }
    };
    let told = lines.iter().map(|line| {
        let each = known(line).into_iter().map(|(index, spread)| {
            format!("{} at {}", number::alone(spread.median), values[index])
        });
        format!("{}: {}", line.name, each.collect::<Vec<_>>().join(", "))
    });
    let description = format!(
        "Medians over the values of {key}, with the least and the most of the rounds. {}.",
        told.collect::<Vec<_>>().join(". ")
    );
    Chart {
        title: figure.title.clone(),
        legend: figure.legend(),
        size: Size::Medium,
        svg: drawing((WIDTH, HEIGHT), &figure.title, &description, body),
    }
}

fn draw_line(
    one: &Line<'_>,
    known: &[(usize, Spread)],
    (x, y): (&dyn Fn(usize) -> f64, &dyn Fn(f64) -> f64),
    (right, label): (f64, f64),
) -> Markup {
    let points: Vec<(f64, f64)> =
        known.iter().map(|(index, spread)| (x(*index), y(spread.median))).collect();
    let last = points[points.len() - 1];
    html! {
        g class=(one.colour.class()) {
            title { (one.name) }
            @for (index, spread) in known.iter().filter(|(_, spread)| spread.rounds > 1) {
                (line((x(*index), y(spread.least)), (x(*index), y(spread.most)), "range"))
            }
            path d=(path(&points)) class="line" stroke-dasharray=[one.colour.dash()] {}
            @for (x, y) in &points { (marker(*x, *y, one.colour)) }
            (line((last.0 + 5.0, last.1), (right + 6.0, label - 4.0), "leader"))
            (words(right + 9.0, label, "name", &cut(one.name, 16)))
        }
    }
}
