//! Forms of values: what a file may write for a key, the rule that it is held to, and the words.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use humantime_serde::re::humantime::{format_duration, parse_duration};

use crate::config::Auto;
use crate::config::error::{ConfigError, LATER_RULE};
use crate::config::file::{Scalar, Value, quoted, read_as};

/// The remedy for a word that is none of several.
pub(super) const AS_IT_STANDS: &str = "write it in quotes as it stands here";

/// How values of a `T` are written.
pub(super) trait Form<T> {
    /// The values in words that follow "must be".
    fn values(&self) -> String;

    /// The same and a word besides.
    fn values_or(&self, word: &str) -> String {
        format!("{}, or {word:?}", self.values())
    }

    /// The value that `written` stands for, if it is one of them.
    fn accept(&self, written: &Scalar) -> Option<T>;

    /// How `value` is written; `None`: the file leaves the key out.
    fn written(&self, value: &T) -> Option<String>;

    /// The value when there is neither the key nor a default.
    fn absent(&self) -> Option<T> {
        None
    }

    /// The value that stands in a file; a problem when it is wrong. One variable by itself takes
    /// the type of the key.
    fn read(&self, value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<T> {
        if let Some(taken) = value.read::<Scalar>().and_then(|written| self.accept(&written)) {
            return Some(taken);
        }
        let take = |written: String| Some((self.accept(&read_as(&written)?)?, written));
        let remedy = match value.alternatives().into_iter().find_map(take) {
            Some((taken, meant)) if value.is_variable() && !is_text(&meant) => return Some(taken),
            Some((_, meant)) if !value.holds_variable() => meant_instead(value, &meant),
            _ => remedy.to_owned(),
        };
        problems.push(value.error(format!("must be {}", self.values()), &remedy));
        None
    }
}

/// A range of 32 bits as one of 64.
pub(super) const fn wide(range: RangeInclusive<u32>) -> RangeInclusive<u64> {
    *range.start() as u64..=*range.end() as u64
}

/// Whole numbers of a range.
pub(super) struct Number(pub(super) RangeInclusive<u64>);

impl<T: TryFrom<u64> + Copy + Into<u64>> Form<T> for Number {
    fn values(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }

    fn values_or(&self, word: &str) -> String {
        format!("{} or {word:?}", Form::<T>::values(self))
    }

    fn accept(&self, written: &Scalar) -> Option<T> {
        let Scalar::Number(number) = written else { return None };
        self.0.contains(number).then(|| T::try_from(*number).ok()).flatten()
    }

    fn written(&self, value: &T) -> Option<String> {
        Some((*value).into().to_string())
    }
}

/// Powers of two of a range.
pub(super) struct PowerOfTwo(pub(super) RangeInclusive<u64>);

impl Form<u32> for PowerOfTwo {
    fn values(&self) -> String {
        format!("a power of two, {} to {}", self.0.start(), self.0.end())
    }

    fn accept(&self, written: &Scalar) -> Option<u32> {
        let number: u32 = Number(self.0.clone()).accept(written)?;
        number.is_power_of_two().then_some(number)
    }

    fn written(&self, value: &u32) -> Option<String> {
        Some(value.to_string())
    }
}

/// Sizes of a range, in bytes.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

impl<T: TryFrom<u64> + Copy + Into<u64>> Form<T> for Size {
    fn values(&self) -> String {
        format!("a size, {} to {}", size(*self.0.start()), size(*self.0.end()))
    }

    fn accept(&self, written: &Scalar) -> Option<T> {
        let bytes = match written {
            Scalar::Number(bytes) => *bytes,
            Scalar::Text(text) => text.parse::<ByteSize>().ok()?.as_u64(),
            _ => return None,
        };
        self.0.contains(&bytes).then(|| T::try_from(bytes).ok()).flatten()
    }

    fn written(&self, value: &T) -> Option<String> {
        Some(quoted(&format!("{}B", (*value).into())))
    }
}

/// A size in its largest whole unit, as a file may have it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (bytes.trailing_zeros() / 10).min(5);
    format!("{}{}", bytes >> (10 * unit), UNITS[unit as usize])
}

/// Durations.
pub(super) enum Span {
    /// Up to ten years: longer than any uptime, and far from where sums of times could overflow.
    Any,
    /// Of a range.
    Of(RangeInclusive<Duration>),
}

impl Form<Duration> for Span {
    fn values(&self) -> String {
        match self {
            Span::Any => "a duration above zero and up to 10 years".to_owned(),
            Span::Of(range) => {
                let [least, most] = [range.start(), range.end()].map(|end| format_duration(*end));
                format!("a duration from {least} to {most}")
            }
        }
    }

    fn accept(&self, written: &Scalar) -> Option<Duration> {
        let Scalar::Text(text) = written else { return None };
        let range = match self {
            Span::Any => Duration::from_nanos(1)..=Duration::from_secs(315_576_000),
            Span::Of(range) => range.clone(),
        };
        parse_duration(text).ok().filter(|duration| range.contains(duration))
    }

    fn written(&self, value: &Duration) -> Option<String> {
        Some(quoted(&format_duration(*value).to_string()))
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form<bool> for Switch {
    fn values(&self) -> String {
        "true or false".to_owned()
    }

    fn values_or(&self, word: &str) -> String {
        format!("true, false or {word:?}")
    }

    fn accept(&self, written: &Scalar) -> Option<bool> {
        let Scalar::Switch(switch) = written else { return None };
        Some(*switch)
    }

    fn written(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

/// Values of another form, or "auto".
pub(super) struct OrAuto<F>(pub(super) F);

impl<T, F: Form<T>> Form<Auto<T>> for OrAuto<F> {
    fn values(&self) -> String {
        self.0.values_or("auto")
    }

    fn accept(&self, written: &Scalar) -> Option<Auto<T>> {
        match written {
            Scalar::Text(text) if text == "auto" => Some(Auto::Auto),
            written => self.0.accept(written).map(Auto::Fixed),
        }
    }

    fn written(&self, value: &Auto<T>) -> Option<String> {
        match value {
            Auto::Auto => Some(quoted("auto")),
            Auto::Fixed(value) => self.0.written(value),
        }
    }
}

/// Values of another form, or "off".
pub(super) struct OrOff<F>(pub(super) F);

impl<T, F: Form<T>> Form<Option<T>> for OrOff<F> {
    fn values(&self) -> String {
        self.0.values_or("off")
    }

    fn accept(&self, written: &Scalar) -> Option<Option<T>> {
        match written {
            Scalar::Text(text) if text == "off" => Some(None),
            written => self.0.accept(written).map(Some),
        }
    }

    fn written(&self, value: &Option<T>) -> Option<String> {
        match value {
            None => Some(quoted("off")),
            Some(value) => self.0.written(value),
        }
    }
}

/// Values of another form, or none where the file leaves the key out.
pub(super) struct Optional<F>(pub(super) F);

impl<T, F: Form<T>> Form<Option<T>> for Optional<F> {
    fn values(&self) -> String {
        self.0.values()
    }

    fn accept(&self, written: &Scalar) -> Option<Option<T>> {
        self.0.accept(written).map(Some)
    }

    fn written(&self, value: &Option<T>) -> Option<String> {
        value.as_ref().and_then(|value| self.0.written(value))
    }

    fn read(
        &self,
        value: &Value<'_>,
        remedy: &str,
        problems: &mut Vec<ConfigError>,
    ) -> Option<Option<T>> {
        self.0.read(value, remedy, problems).map(Some)
    }

    fn absent(&self) -> Option<Option<T>> {
        Some(None)
    }
}

/// Texts that a function takes.
pub(super) struct Word<T> {
    /// What they are, in words.
    pub(super) values: &'static str,
    pub(super) accept: fn(&str) -> Option<T>,
    pub(super) show: fn(&T) -> Cow<'_, str>,
}

impl<T> Form<T> for Word<T> {
    fn values(&self) -> String {
        self.values.to_owned()
    }

    fn accept(&self, written: &Scalar) -> Option<T> {
        let Scalar::Text(text) = written else { return None };
        (self.accept)(text)
    }

    fn written(&self, value: &T) -> Option<String> {
        Some(quoted(&(self.show)(value)))
    }
}

/// One of several words. One of `later` is refused as not built yet.
pub(super) struct Choice<T: 'static> {
    pub(super) words: &'static [(&'static str, T)],
    pub(super) later: &'static [&'static str],
}

impl<T: Copy + PartialEq> Choice<T> {
    /// The word for `value`.
    ///
    /// # Panics
    /// When it has none.
    pub(super) fn word(&self, value: T) -> &'static str {
        let found = self.words.iter().find(|(_, choice)| *choice == value);
        found.expect("every value has a word").0
    }
}

impl<T: Copy + PartialEq> Form<T> for Choice<T> {
    fn values(&self) -> String {
        let quoted: Vec<String> = self.words.iter().map(|(word, _)| format!("{word:?}")).collect();
        match quoted.as_slice() {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            all => all.concat(),
        }
    }

    fn accept(&self, written: &Scalar) -> Option<T> {
        let Scalar::Text(text) = written else { return None };
        self.words.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice)
    }

    fn written(&self, value: &T) -> Option<String> {
        Some(quoted(self.word(*value)))
    }

    fn read(&self, value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<T> {
        let written = value.read::<Scalar>();
        let taken = written.as_ref().and_then(|written| self.accept(written));
        if taken.is_none() {
            let is_later = matches!(&written, Some(Scalar::Text(text))
                if self.later.contains(&text.as_str()));
            problems.push(if is_later {
                value.error(LATER_RULE, &format!("remove it, or write {}", self.values()))
            } else {
                value.error(format!("must be {}", self.values()), remedy)
            });
        }
        taken
    }
}

/// Values that a section's own function reads.
pub(super) struct Own<T> {
    /// What they are, in words.
    pub(super) values: &'static str,
    pub(super) read: fn(&Value<'_>, &str, &mut Vec<ConfigError>) -> Option<T>,
    pub(super) written: fn(&T) -> String,
}

impl<T> Form<T> for Own<T> {
    fn values(&self) -> String {
        self.values.to_owned()
    }

    fn accept(&self, _: &Scalar) -> Option<T> {
        None
    }

    fn written(&self, value: &T) -> Option<String> {
        Some((self.written)(value))
    }

    fn read(&self, value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<T> {
        (self.read)(value, remedy, problems)
    }
}

/// The remedy for `value`, and its difference from it.
fn meant_instead(value: &Value<'_>, meant: &str) -> String {
    match (value.is_text(), is_text(meant)) {
        (true, false) => format!("write {meant}, without quotes"),
        (false, true) if meant.trim_matches('"') == value.text() => {
            format!("write {meant}, in quotes")
        }
        _ => format!("did you mean {meant}?"),
    }
}

/// Whether a value as it stands in a file is in quotes.
fn is_text(written: &str) -> bool {
    written.starts_with('"')
}
