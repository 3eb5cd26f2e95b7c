//! One bar for each target, from zero, with the range of its rounds.

use maud::{Markup, html};

use super::super::page::{Chart, Size};
use super::super::palette::Colour;
use super::super::statistics::Spread;
use super::{LETTER, cut, drawing, line, n, ticks, words};
use crate::number;
use crate::result::Figure;

const WIDTH: f64 = 360.0;
const ROW: f64 = 34.0;
const BAR: f64 = 15.0;

pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) colour: Colour,
    /// Or what is said where the bar would be.
    pub(crate) value: Result<Spread, String>,
    pub(crate) has_failures: bool,
}

pub(crate) fn draw(figure: &Figure, bars: &[Bar<'_>]) -> Chart {
    let spreads = || bars.iter().filter_map(|bar| bar.value.as_ref().ok());
    let decimals = number::decimals(spreads().map(|spread| spread.median));
    let most = spreads().map(|spread| spread.most).fold(0.0, f64::max);
    let ticks = ticks(most, 4.0);
    let longest = |of: &dyn Fn(&Bar<'_>) -> f64| bars.iter().map(of).fold(0.0, f64::max);
    let left = longest(&|bar| name_width(bar)).clamp(50.0, 130.0) + 10.0;
    let label = longest(&|bar| bar.value.as_ref().map_or(0.0, |s| label_width(s, decimals, bar)));
    let end = ticks[ticks.len() - 1];
    let scale = (WIDTH - left - label - 6.0) / most.max(end * 0.5);
    let bottom = ROW * bars.len() as f64 + 4.0;
    let x = |value: f64| left + value.max(0.0) * scale;
    let body = html! {
        @for tick in ticks.iter().filter(|tick| x(**tick) <= WIDTH - 4.0) {
            (line((x(*tick), 0.0), (x(*tick), bottom), "grid"))
            (words(x(*tick), bottom + 13.0, "tick middle", &number::tick(*tick)))
        }
        @for (index, bar) in bars.iter().enumerate() {
            (row(bar, ROW * index as f64 + 4.0, left, &x, (decimals, figure.unit())))
        }
        (line((left, 0.0), (left, bottom), "axis"))
    };
    let told = bars.iter().map(|bar| told(bar, decimals, figure.unit()));
    let description = format!(
        "Bars are medians over rounds, whiskers the least and the most. {}.",
        told.collect::<Vec<_>>().join(". ")
    );
    Chart {
        title: figure.title.clone(),
        legend: figure.legend(),
        size: Size::Small,
        svg: drawing((WIDTH, bottom + 18.0), &figure.title, &description, body),
    }
}

fn name_width(bar: &Bar<'_>) -> f64 {
    let name = bar.name.chars().count() as f64 * LETTER;
    name.max(bar.version.chars().count() as f64 * 5.4)
}

fn label_width(spread: &Spread, decimals: usize, bar: &Bar<'_>) -> f64 {
    let letters = number::fixed(spread.median, decimals).chars().count();
    (letters + if bar.has_failures { 3 } else { 1 }) as f64 * LETTER + 4.0
}

/// What a bar says, in words.
fn told(bar: &Bar<'_>, decimals: usize, unit: &str) -> String {
    let value = match &bar.value {
        Ok(spread) => {
            let text = |value| number::fixed(value, decimals);
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            let (least, most) = (text(spread.least), text(spread.most));
            format!("{}{unit} ({least}–{most}, rounds: {})", text(spread.median), spread.rounds)
        }
        Err(because) => because.clone(),
    };
    let failures = if bar.has_failures { ", with failures" } else { "" };
    format!("{} {}: {value}{failures}", bar.name, bar.version)
}

fn row(
    bar: &Bar<'_>,
    top: f64,
    left: f64,
    x: &dyn Fn(f64) -> f64,
    (decimals, unit): (usize, &str),
) -> Markup {
    let middle = top + BAR / 2.0 + 4.0;
    let name = cut(bar.name, 20);
    let version = cut(bar.version, 24);
    html! {
        g class=(bar.colour.class()) {
            title { (told(bar, decimals, unit)) }
            (words(left - 8.0, middle - 1.0, "name end", &name))
            (words(left - 8.0, middle + 11.0, "small end", &version))
            @match &bar.value {
                Ok(spread) => {
                    rect x=(n(left)) y=(n(top + 4.0)) height=(n(BAR))
                        width=(n((x(spread.median) - left).max(1.0))) class="bar" {}
                    @if spread.rounds > 1 { (whisker(spread, middle, x)) }
                    text x=(n(x(spread.most) + 6.0)) y=(n(middle + 4.0)) class="value" {
                        (number::fixed(spread.median, decimals))
                        @if bar.has_failures { tspan class="bad" { " ✗" } }
                    }
                }
                Err(because) => {
                    (words(left + 6.0, middle + 4.0, "small", &cut(because, 34)))
                }
            }
        }
    }
}

fn whisker(spread: &Spread, y: f64, x: &dyn Fn(f64) -> f64) -> Markup {
    let (from, to) = (x(spread.least), x(spread.most));
    html! {
        (line((from, y), (to, y), "whisker"))
        (line((from, y - 4.0), (from, y + 4.0), "whisker"))
        (line((to, y - 4.0), (to, y + 4.0), "whisker"))
    }
}
