//! What all charts are drawn with: SVG without a colour of its own, so that the page decides.

pub(super) mod bars;
pub(super) mod latency;
pub(super) mod stack;
pub(super) mod timeline;
pub(super) mod values;

use maud::{Markup, html};

use super::palette::Colour;

/// The width of a letter, about, in the size that labels have.
const LETTER: f64 = 6.7;
/// Two labels one above the other.
const LINE: f64 = 13.0;

/// A drawing with its name and its content in words.
fn drawing(size: (f64, f64), title: &str, description: &str, body: Markup) -> Markup {
    let (width, height) = size;
    html! {
        svg viewBox=(format!("0 0 {} {}", n(width), n(height))) role="img" aria-label=(title) {
            title { (title) }
            desc { (description) }
            (body)
        }
    }
}

/// A coordinate.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn words(x: f64, y: f64, class: &str, text: &str) -> Markup {
    html! { text x=(n(x)) y=(n(y)) class=(class) { (text) } }
}

fn line(from: (f64, f64), to: (f64, f64), class: &str) -> Markup {
    html! { line x1=(n(from.0)) y1=(n(from.1)) x2=(n(to.0)) y2=(n(to.1)) class=(class) {} }
}

/// A text cut to so many letters.
fn cut(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    kept.trim_end().to_owned() + "…"
}

/// Round numbers from 0 to beyond `most`, about so many.
fn ticks(most: f64, about: f64) -> Vec<f64> {
    if !most.is_finite() || most <= 0.0 {
        return vec![0.0, 1.0];
    }
    let raw = most / about;
    let power = 10f64.powf(raw.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= raw * 0.999).unwrap_or(raw);
    (0..=(most / step).ceil() as usize).map(|index| index as f64 * step).collect()
}

/// Round numbers between two ends of a logarithmic axis, at least two of them.
fn log_ticks(least: f64, most: f64) -> Vec<f64> {
    let powers = (least.log10().floor() as i32)..=(most.log10().ceil() as i32);
    for steps in [&[1.0][..], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]] {
        let each =
            powers.clone().flat_map(|power| steps.iter().map(move |s| s * 10f64.powi(power)));
        let inside = |tick: &f64| (least * 0.999..=most * 1.001).contains(tick);
        let ticks: Vec<f64> = each.filter(inside).collect();
        if ticks.len() >= 3 {
            return ticks;
        }
    }
    vec![least, most]
}

/// The ends of a logarithmic axis: some room around the values.
fn log_ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let fold = |(least, most): (f64, f64), value: f64| (least.min(value), most.max(value));
    let (least, most) = values.map(|value| value.max(1e-3)).fold((f64::INFINITY, 0.0), fold);
    match least.is_finite() {
        true => (least / 1.4, most * 1.4),
        false => (1.0, 1e6),
    }
}

/// Where labels go that would like to be at these heights: near them, and not on each other.
fn placed(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // Labels that would meet form a group around the middle of what they want: how many, the sum
    // of where each would like the first of them, and so where the first one goes.
    let mut groups: Vec<(usize, f64)> = Vec::new();
    let first = |(count, sum): (usize, f64)| {
        let lowest = bottom - (count - 1) as f64 * LINE;
        (sum / count as f64).min(lowest).max(top)
    };
    for index in &order {
        let mut group = (1, wanted[*index]);
        while let Some(above) = groups.last().copied() {
            if first(above) + above.0 as f64 * LINE <= first(group) {
                break;
            }
            let shift = group.0 as f64 * above.0 as f64 * LINE;
            group = (above.0 + group.0, above.1 + group.1 - shift);
            groups.pop();
        }
        groups.push(group);
    }
    let mut places = wanted.to_vec();
    let mut next = order.into_iter();
    for group in groups {
        for (offset, index) in next.by_ref().take(group.0).enumerate() {
            places[index] = first(group) + offset as f64 * LINE;
        }
    }
    places
}

/// A point of a line, in a shape that tells lines apart without their colour.
fn marker(x: f64, y: f64, colour: Colour) -> Markup {
    let path = match colour.shape() % 5 {
        0 => {
            return html! { circle cx=(n(x)) cy=(n(y)) r="3.2" class="mark" {} };
        }
        1 => format!("M{} {}h5.6v5.6h-5.6z", n(x - 2.8), n(y - 2.8)),
        2 => format!("M{} {}l3.6 6.2h-7.2z", n(x), n(y - 3.8)),
        3 => format!("M{} {}l3.9 3.9l-3.9 3.9l-3.9 -3.9z", n(x), n(y - 3.9)),
        _ => format!("M{} {}l3.6 -6.2h-7.2z", n(x), n(y + 3.8)),
    };
    html! { path d=(path) class="mark" {} }
}

/// A path through points.
fn path(points: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        text += &format!("{}{} {}", if index == 0 { "M" } else { "L" }, n(*x), n(*y));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_both_ends() {
        assert_eq!(ticks(97.0, 4.0), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(100.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.0, 4.0), [0.0, 1.0]);
        assert_eq!(log_ticks(30.0, 96_993.0), [100.0, 1e3, 1e4]);
        assert_eq!(log_ticks(90.0, 520.0), [100.0, 200.0, 500.0]);
        for values in [vec![], vec![0.0], vec![100.0], vec![3.0, 6e8], vec![999.9, 1_000.1]] {
            let (least, most) = log_ends(values.iter().copied());
            let ticks = log_ticks(least, most);
            assert!(least < most && ticks.len() >= 2, "{values:?}: {least} {most} {ticks:?}");
            assert!(ticks.iter().all(|tick| *tick >= least * 0.99 && *tick <= most * 1.01));
        }
    }

    #[test]
    fn labels_stay_apart_inside_and_near() {
        for wanted in [vec![50.0, 51.0, 52.0, 99.0], vec![1.0, 0.0, 2.0], vec![99.0, 98.0]] {
            let mut places = placed(&wanted, 0.0, 100.0);
            assert!(places.iter().all(|place| (0.0..=100.0).contains(place)), "{places:?}");
            places.sort_by(f64::total_cmp);
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-9), "{places:?}");
        }
        assert_eq!(placed(&[50.0, 51.0, 52.0], 0.0, 100.0), [38.0, 51.0, 64.0]);
        assert_eq!(placed(&[80.0, 20.0], 0.0, 100.0), [80.0, 20.0]);
    }
}
