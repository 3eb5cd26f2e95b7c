//! What a whole is made of: one bar of parts for each target.

use maud::{Markup, html};

use super::super::page::{Chart, Size};
use super::super::palette::Colour;
use super::{LETTER, cut, drawing, line, n, ticks, words};
use crate::number;

const WIDTH: f64 = 360.0;
const ROW: f64 = 34.0;
const BAR: f64 = 17.0;
/// More parts than this cannot be told apart.
pub(crate) const MAX_PARTS: usize = 6;

pub(crate) struct Stack<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) colour: Colour,
    /// As many as the chart has parts.
    pub(crate) parts: Vec<Option<f64>>,
}

/// How parts are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The target's colour, and hatches of it.
    OfTarget,
    /// Greys, for parts that belong to nobody in particular.
    Neutral,
}

pub(crate) fn draw(
    title: &str,
    legend: &str,
    parts: &[&str],
    fill: Fill,
    stacks: &[Stack<'_>],
) -> Chart {
    let total = |stack: &Stack<'_>| stack.parts.iter().flatten().map(|part| part.max(0.0)).sum();
    let most = stacks.iter().map(total).fold(0.0, f64::max);
    let letters = |stack: &Stack<'_>| {
        let name = stack.name.chars().count() as f64 * LETTER;
        name.max(stack.version.chars().count() as f64 * 5.4)
    };
    let left = stacks.iter().map(letters).fold(0.0, f64::max).clamp(0.0, 130.0) + 10.0;
    let label = number::fixed(most, 0).chars().count() as f64 * LETTER + 12.0;
    let scale = (WIDTH - left - label) / if most > 0.0 { most } else { 1.0 };
    let x = |value: f64| left + value * scale;
    let (keys, top) = keys(parts, fill);
    let bottom = top + ROW * stacks.len() as f64 + 2.0;
    let body = html! {
        (keys)
        @for tick in ticks(most, 4.0).iter().filter(|tick| x(**tick) <= WIDTH - 4.0) {
            (line((x(*tick), top), (x(*tick), bottom), "grid"))
            (words(x(*tick), bottom + 13.0, "tick middle", &number::tick(*tick)))
        }
        @for (index, stack) in stacks.iter().enumerate() {
            (row(stack, parts, fill, top + ROW * index as f64 + 2.0, &x))
        }
        (line((left, top), (left, bottom), "axis"))
    };
    let told = stacks.iter().map(|stack| told(stack, parts)).collect::<Vec<_>>().join(". ");
    Chart {
        title: title.to_owned(),
        legend: legend.to_owned(),
        size: Size::Small,
        svg: drawing((WIDTH, bottom + 18.0), title, &format!("Stacked bars. {told}."), body),
    }
}

/// What each part looks like, above the bars; and where the bars begin.
fn keys(parts: &[&str], fill: Fill) -> (Markup, f64) {
    let (mut x, mut y) = (2.0, 4.0);
    let mut places = Vec::new();
    for part in parts {
        let width = part.chars().count() as f64 * 6.0 + 26.0;
        if x > 2.0 && x + width > WIDTH {
            (x, y) = (2.0, y + 17.0);
        }
        places.push((x, y));
        x += width;
    }
    let keys = html! {
        @for (index, (part, (x, y))) in parts.iter().zip(&places).enumerate() {
            g class=(if fill == Fill::OfTarget { "plain" } else { "" }) {
                rect x=(n(*x)) y=(n(*y)) width="11" height="11" class=(class(fill, index)) {}
            }
            (words(x + 16.0, y + 9.5, "small", part))
        }
    };
    (keys, y + 22.0)
}

fn class(fill: Fill, index: usize) -> String {
    let kind = if fill == Fill::OfTarget { "part" } else { "grey" };
    format!("{kind}{}", index.min(MAX_PARTS - 1))
}

fn row(stack: &Stack<'_>, parts: &[&str], fill: Fill, top: f64, x: &dyn Fn(f64) -> f64) -> Markup {
    let middle = top + BAR / 2.0 + 4.0;
    let mut sum = 0.0;
    let mut placed = Vec::new();
    for (index, part) in stack.parts.iter().enumerate() {
        let size = part.unwrap_or(0.0).max(0.0);
        placed.push((index, sum, size));
        sum += size;
    }
    html! {
        g class=(stack.colour.class()) {
            title { (told(stack, parts)) }
            (words(x(0.0) - 8.0, middle - 1.0, "name end", &cut(stack.name, 20)))
            (words(x(0.0) - 8.0, middle + 11.0, "small end", &cut(stack.version, 24)))
            @for (index, from, size) in placed.iter().filter(|(_, _, size)| *size > 0.0) {
                rect x=(n(x(*from))) y=(n(top + 4.0)) height=(n(BAR)) class=(class(fill, *index))
                    width=(n(x(from + size) - x(*from))) {}
            }
            @if stack.parts.iter().any(Option::is_some) {
                (words(x(sum) + 6.0, middle + 4.0, "value", &number::fixed(sum, 0)))
            } @else {
                (words(x(0.0) + 6.0, middle + 4.0, "small bad", "not known"))
            }
        }
    }
}

fn told(stack: &Stack<'_>, parts: &[&str]) -> String {
    let each = parts.iter().zip(&stack.parts).map(|(part, value)| match value {
        Some(value) => format!("{part} {}", number::fixed(*value, 0)),
        None => format!("{part} not known"),
    });
    format!("{} {}: {}", stack.name, stack.version, each.collect::<Vec<_>>().join(", "))
}
