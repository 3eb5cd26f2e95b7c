//! How a run went: open connections and the rate of what was done, over time, phase by phase.

use maud::{Markup, html};

use super::super::page::{Chart, Size};
use super::super::palette::Colour;
use super::super::timeline::{Moment, Timeline};
use super::{drawing, line, n, path, ticks, words};
use crate::number;

const LEFT: f64 = 50.0;
/// Above it stand the names of the phases and of the panel.
const TOP: f64 = 36.0;
const OPEN_BOTTOM: f64 = TOP + 100.0;
const RATE_TOP: f64 = OPEN_BOTTOM + 28.0;
const RATE_BOTTOM: f64 = RATE_TOP + 62.0;
const HEIGHT: f64 = RATE_BOTTOM + 34.0;

/// The scales of timelines that stand side by side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scales {
    pub(crate) seconds: f64,
    pub(crate) open: f64,
    pub(crate) rate: f64,
}

impl Scales {
    /// The smallest that this one fits, too.
    pub(crate) fn with(self, timeline: &Timeline) -> Scales {
        let most =
            |of: fn(&Moment) -> f64, least| timeline.moments.iter().map(of).fold(least, f64::max);
        Scales {
            seconds: most(|moment| moment.at_seconds, self.seconds),
            open: most(|moment| moment.open, self.open),
            rate: most(|moment| moment.rate, self.rate),
        }
    }
}

pub(crate) fn draw(
    title: &str,
    size: Size,
    colour: Colour,
    timeline: &Timeline,
    scales: Scales,
) -> Chart {
    let width = if size == Size::Small { 360.0 } else { 460.0 };
    let right = width - 10.0;
    let seconds = if scales.seconds > 0.0 { scales.seconds } else { 1.0 };
    let x = |at: f64| LEFT + at / seconds * (right - LEFT);
    let open =
        Panel { title: "open connections", top: TOP, bottom: OPEN_BOTTOM, most: scales.open };
    let open = open.draw(timeline, &x, |moment| moment.open);
    let rate =
        Panel { title: "done per second", top: RATE_TOP, bottom: RATE_BOTTOM, most: scales.rate };
    let rate = rate.draw(timeline, &x, |moment| moment.rate);
    let body = html! {
        (phases(timeline, &x))
        g class=(colour.class()) { (open) (rate) }
        @for moment in timeline.moments.iter().filter(|moment| moment.newly_failed > 0.0) {
            text x=(n(x(moment.at_seconds))) y=(n(OPEN_BOTTOM - 4.0)) class="bad middle" {
                title { (number::fixed(moment.newly_failed, 0)) " failed" }
                "✗"
            }
        }
        @for tick in ticks(scales.seconds, 6.0).iter().filter(|tick| x(**tick) <= right + 1.0) {
            (line((x(*tick), RATE_BOTTOM), (x(*tick), RATE_BOTTOM + 4.0), "axis"))
            (words(x(*tick), RATE_BOTTOM + 15.0, "tick middle", &number::tick(*tick)))
        }
        (words((LEFT + right) / 2.0, HEIGHT - 4.0, "small middle", "seconds since the start"))
    };
    let told = timeline.phases.iter().map(|phase| {
        let (from, to) = (number::alone(phase.from), number::alone(phase.to));
        let most = number::fixed(phase.most_open, 0);
        format!("{} from {from} s to {to} s, at most {most} open", phase.name)
    });
    let description = format!(
        "Open connections, and what was done per second, over time. {}.",
        told.collect::<Vec<_>>().join("; ")
    );
    Chart {
        title: title.to_owned(),
        legend: String::new(),
        size,
        svg: drawing((width, HEIGHT), title, &description, body),
    }
}

/// A shade behind every other phase, and the names of those that are wide enough.
fn phases(timeline: &Timeline, x: &dyn Fn(f64) -> f64) -> Markup {
    html! {
        @for (index, phase) in timeline.phases.iter().enumerate() {
            @let (from, to) = (x(phase.from), x(phase.to));
            rect x=(n(from)) y="0" width=(n((to - from).max(0.0)))
                height=(n(RATE_BOTTOM))
                class=(if index % 2 == 0 { "shade" } else { "shade other" }) {
                title { (phase.name) }
            }
            @if to - from > phase.name.chars().count() as f64 * 6.4 {
                (words((from + to) / 2.0, 11.0, "small middle", &phase.name))
            }
        }
    }
}

/// One of the two figures over time.
struct Panel {
    title: &'static str,
    top: f64,
    bottom: f64,
    most: f64,
}

impl Panel {
    fn draw(&self, timeline: &Timeline, x: &dyn Fn(f64) -> f64, of: fn(&Moment) -> f64) -> Markup {
        let (top, bottom) = (self.top, self.bottom);
        let ticks = ticks(self.most, if bottom - top > 80.0 { 4.0 } else { 2.0 });
        let end = ticks[ticks.len() - 1];
        let y = |value: f64| bottom - value.max(0.0) / end * (bottom - top);
        let point = |moment: &Moment| (x(moment.at_seconds), y(of(moment)));
        let points: Vec<(f64, f64)> = timeline.moments.iter().map(point).collect();
        let last = points.last().map_or(LEFT, |point| point.0);
        let area = format!("{}L{} {bottom}L{LEFT} {bottom}Z", path(&points), n(last));
        html! {
            @for tick in &ticks {
                (line((LEFT, y(*tick)), (last, y(*tick)), "grid"))
                (words(LEFT - 6.0, y(*tick) + 4.0, "tick end", &number::tick(*tick)))
            }
            path d=(area) class="area" {}
            path d=(path(&points)) class="line" {}
            (words(LEFT, top - 6.0, "small", self.title))
        }
    }
}
