//! One value of a gateway, as a person reads it and as it is sorted.

use std::cmp::Ordering;
use std::time::Duration;

use crate::base::plain_word;
use crate::doctor::thousands;

/// Stands where there is no value yet.
const NOTHING: &str = "–";

/// A value. A rate is unknown (`None`) while there is only one reading.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Any text.
    Word(String),
    /// How many.
    Count(u64),
    /// How much memory or traffic.
    Bytes(u64),
    /// How much of what there is.
    Share {
        /// The part in use.
        used: u64,
        /// The whole; 0: without a limit.
        all: u64,
    },
    /// How many per second.
    Rate(Option<f64>),
    /// Bytes per second.
    ByteRate(Option<f64>),
    /// How far from the mean: 0.1 is a tenth above it.
    Balance(Option<f64>),
    /// How long.
    Span(Duration),
    /// How long something takes each time.
    Latency(Option<Duration>),
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the variants of `Cell`")]
pub enum Kind {
    Word,
    Count,
    Bytes,
    Share,
    Rate,
    ByteRate,
    Balance,
    Span,
    Latency,
}

impl Kind {
    /// The word by which the status page knows how to show it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Word => "word",
            Kind::Count => "count",
            Kind::Bytes => "bytes",
            Kind::Share => "share",
            Kind::Rate => "rate",
            Kind::ByteRate => "byte-rate",
            Kind::Balance => "balance",
            Kind::Span => "span",
            Kind::Latency => "latency",
        }
    }
}

/// How near something is to its end, or how bad a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is plenty; it does what it is for.
    Easy,
    /// Less than a third is left; it does so in part, or an operator wants it otherwise.
    High,
    /// Less than a tenth is left; it does not.
    Full,
}

impl Level {
    /// How bad the state of a server or a worker is, by its word in a table.
    pub fn of_state(word: &str) -> Level {
        match word {
            "up" | "serves" => Level::Easy,
            "down" | "ejected" => Level::Full,
            word if word.starts_with("silent") => Level::Full,
            // A server in trial, in slow-start, in drain or maintenance; a worker that drains or
            // ends; a word of a later version.
            _ => Level::High,
        }
    }

    /// The word by which the status page knows its colour.
    pub fn word(self) -> &'static str {
        match self {
            Level::Easy => "easy",
            Level::High => "high",
            Level::Full => "full",
        }
    }
}

impl Cell {
    /// As a person reads it, without its unit where the head has it.
    pub fn text(&self) -> String {
        match self {
            Cell::Word(word) => plain_word(word).into_owned(),
            Cell::Count(count) => thousands(*count),
            Cell::Bytes(bytes) => size(*bytes as f64),
            Cell::Share { used, all: 0 } => thousands(*used),
            Cell::Share { used, all } => format!("{} / {}", thousands(*used), thousands(*all)),
            Cell::Rate(rate) => rate.map_or(NOTHING.into(), number),
            Cell::ByteRate(rate) => rate.map_or(NOTHING.into(), size),
            Cell::Balance(balance) => {
                // Nothing, from below, is nothing.
                let percent = |part: f64| (part * 100.0).round() + 0.0;
                balance.map_or(NOTHING.into(), |part| format!("{:+.0} %", percent(part)))
            }
            Cell::Span(duration) => brief(*duration),
            Cell::Latency(duration) => duration.map_or(NOTHING.into(), latency),
        }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Cell::Word(_) => Kind::Word,
            Cell::Count(_) => Kind::Count,
            Cell::Bytes(_) => Kind::Bytes,
            Cell::Share { .. } => Kind::Share,
            Cell::Rate(_) => Kind::Rate,
            Cell::ByteRate(_) => Kind::ByteRate,
            Cell::Balance(_) => Kind::Balance,
            Cell::Span(_) => Kind::Span,
            Cell::Latency(_) => Kind::Latency,
        }
    }

    /// Whether nobody knows it yet.
    pub fn is_unknown(&self) -> bool {
        use Cell::{Balance, ByteRate, Latency, Rate};
        matches!(self, Rate(None) | ByteRate(None) | Balance(None) | Latency(None))
    }

    /// How much of what there is, from 0 to 1.
    pub fn part(&self) -> Option<f64> {
        match self {
            Cell::Share { used, all } if *all > 0 => Some((*used as f64 / *all as f64).min(1.0)),
            _ => None,
        }
    }

    /// How near the end of what there is.
    pub fn level(&self) -> Level {
        match self.part() {
            Some(part) if part >= 0.9 => Level::Full,
            Some(part) if part >= 0.7 => Level::High,
            _ => Level::Easy,
        }
    }

    /// The smaller first; what is unknown before everything.
    pub fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Word(one), Cell::Word(other)) => one.cmp(other),
            _ => self.magnitude().total_cmp(&other.magnitude()),
        }
    }

    /// The number that stands for it among its kind.
    fn magnitude(&self) -> f64 {
        match self {
            Cell::Word(_) => 0.0,
            Cell::Count(count) | Cell::Bytes(count) | Cell::Share { used: count, .. } => {
                *count as f64
            }
            Cell::Rate(rate) | Cell::ByteRate(rate) => rate.unwrap_or(-1.0),
            Cell::Balance(balance) => balance.unwrap_or(-1.0),
            Cell::Span(duration) => duration.as_secs_f64(),
            Cell::Latency(duration) => duration.map_or(-1.0, |it| it.as_secs_f64()),
        }
    }
}

/// `0`, `0.4`, `9.9`, `1,234`.
pub(super) fn number(value: f64) -> String {
    match value {
        0.0 => "0".into(),
        value if value < 9.95 => format!("{value:.1}"),
        value => thousands(value.round() as u64),
    }
}

/// Bytes with three digits: `0 B`, `999 B`, `1.21 KiB`, `38.1 MiB`.
fn size(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes, 0);
    // A value that would be shown as 1000 is shown in the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// The two largest units: `12 s`, `5 min 3 s`, `3 h 12 min`, `12 d 3 h`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{} d {} h", thousands(days), hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// The largest unit, rounded down, for a column of many: `350 ms`, `12 s`, `5 min`, `3 h`, `12 d`.
fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..=59 => format!("{seconds} s"),
        seconds @ 60..=3599 => format!("{} min", seconds / 60),
        seconds @ 3600..=86_399 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", thousands(seconds / 86_400)),
    }
}

/// `0.08 ms`, `3.2 ms`, `45 ms`, `1.7 s`.
fn latency(duration: Duration) -> String {
    match duration.as_secs_f64() * 1e3 {
        millis if millis < 0.995 => format!("{millis:.2} ms"),
        millis if millis < 9.95 => format!("{millis:.1} ms"),
        millis if millis < 999.5 => format!("{millis:.0} ms"),
        millis => format!("{:.1} s", millis / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_at_any_size() {
        for (value, text) in
            [(0.0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1,234")]
        {
            assert_eq!(Cell::Rate(Some(value)).text(), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "0.98 KiB"),
            (1_234, "1.21 KiB"),
            (40_000_000, "38.1 MiB"),
            (1_023 << 20, "1.00 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(Cell::Bytes(bytes).text(), text);
        }
        assert_eq!(Cell::Balance(Some(0.04)).text(), "+4 %");
        assert_eq!(Cell::Balance(Some(-0.004)).text(), "+0 %");
        assert_eq!(Cell::Share { used: 1, all: 65_535 }.text(), "1 / 65,535");
        for none in [Cell::Rate(None), Cell::ByteRate(None), Cell::Balance(None)] {
            assert_eq!(none.text(), NOTHING);
            assert!(none.is_unknown(), "{none:?}");
        }
    }

    #[test]
    fn every_state_has_its_level() {
        for (level, words) in [
            (Level::Easy, &["up", "serves"][..]),
            (
                Level::High,
                &["trial", "slow-start", "drain", "maintenance", "drains", "ends", "new"],
            ),
            (Level::Full, &["down", "ejected", "silent for 7 s"]),
        ] {
            for word in words {
                assert_eq!(Level::of_state(word), level, "{word}");
            }
        }
    }

    #[test]
    fn a_share_without_a_limit_is_a_number() {
        let free = Cell::Share { used: 1_200, all: 0 };
        assert_eq!((free.text(), free.part(), free.level()), ("1,200".into(), None, Level::Easy));
    }

    #[test]
    fn a_span_has_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (303, "5 min 3 s"),
            (11_520, "3 h 12 min"),
            (1_047_600, "12 d 3 h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_span_in_a_column_has_one_unit() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (300_000, "5 min"),
            (3_600_000, "1 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(Cell::Span(Duration::from_millis(millis)).text(), text);
        }
        let span = |seconds| Cell::Span(Duration::from_secs(seconds));
        assert_eq!(span(59).order(&span(60)), Ordering::Less);
    }

    #[test]
    fn a_latency_is_as_fine_as_it_is_short() {
        for (micros, text) in [
            (0, "0.00 ms"),
            (84, "0.08 ms"),
            (996, "1.0 ms"),
            (45_400, "45 ms"),
            (999_400, "999 ms"),
            (1_740_000, "1.7 s"),
        ] {
            assert_eq!(Cell::Latency(Some(Duration::from_micros(micros))).text(), text);
        }
        assert!(Cell::Latency(None).is_unknown());
    }

    #[test]
    fn what_is_unknown_comes_before_what_is_zero() {
        assert_eq!(Cell::Rate(None).order(&Cell::Rate(Some(0.0))), Ordering::Less);
        let share = |used| Cell::Share { used, all: 10 };
        assert_eq!(share(2).order(&share(10)), Ordering::Less);
        assert_eq!(share(5).part(), Some(0.5));
        assert_eq!(Cell::Word("a".into()).order(&Cell::Word("b".into())), Ordering::Less);
    }
}
