//! Amounts on the command line: counts, sizes and durations, in one grammar for every flag.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value, json};

/// The letters after a count, and what they multiply it by.
const MULTIPLES: [(char, u64); 4] =
    [('k', 1_000), ('K', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];

/// Connections of one run at most.
const CONNECTIONS_MAX: u64 = 100_000_000;

/// Reads a count: `10000`, `10_000`, `10k`, `1.5M`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a count: write a number such as 10000, 10k or 1.5M");
    let multiple =
        MULTIPLES.iter().find_map(|(letter, by)| Some((text.strip_suffix(*letter)?, by)));
    let (digits, by) = multiple.unwrap_or((text, &1));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !whole.starts_with(|first: char| first.is_ascii_digit()) || !is_number(whole) {
        return Err(wrong());
    }
    if digits.contains('.') && (part.is_empty() || !part.bytes().all(|one| one.is_ascii_digit())) {
        return Err(wrong());
    }
    let whole: u64 = whole.replace('_', "").parse().map_err(|_| wrong())?;
    let part_of = 10u64.checked_pow(part.len() as u32).ok_or_else(wrong)?;
    let part: u64 = if part.is_empty() { 0 } else { part.parse().map_err(|_| wrong())? };
    let more = part.checked_mul(*by).filter(|more| more % part_of == 0).ok_or_else(wrong)?;
    let count = whole.checked_mul(*by).and_then(|all| all.checked_add(more / part_of));
    count.ok_or_else(wrong)
}

/// Reads a count of at least 1 and at most `MAX`.
pub(crate) fn count_to<const MAX: u64>(text: &str) -> Result<u64, String> {
    within(count(text)?, MAX, text, "a count")
}

/// The same for what the program holds in 32 bits.
pub(crate) fn count_u32<const MAX: u64>(text: &str) -> Result<u32, String> {
    const { assert!(MAX <= u32::MAX as u64) };
    count_to::<MAX>(text).map(|count| count as u32)
}

/// Reads a number of connections at one time: at least 1.
pub(crate) fn connections(text: &str) -> Result<u64, String> {
    count_to::<CONNECTIONS_MAX>(text)
}

/// Reads a number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    count(text).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Reads a size: `64` (bytes), `1KiB` (1,024), `1kB` (1,000), `4MiB`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write bytes, or a unit such as 1KiB or 4MiB");
    let size: ByteSize = text.parse().map_err(|_| wrong())?;
    Ok(size.as_u64())
}

/// Reads a size of at least 1 byte and at most `MAX`.
pub(crate) fn size_to<const MAX: u64>(text: &str) -> Result<u64, String> {
    within(size(text)?, MAX, text, "a size in bytes")
}

/// The same for what the program holds in 32 bits.
pub(crate) fn size_u32<const MAX: u64>(text: &str) -> Result<u32, String> {
    const { assert!(MAX <= u32::MAX as u64) };
    size_to::<MAX>(text).map(|bytes| bytes as u32)
}

/// Reads a duration: `2s`, `1m 30s`, `250ms`; a number without a unit is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write it with a unit, as 2s or 250ms");
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let span = if bare {
        text.parse().ok().map(Duration::from_secs)
    } else {
        humantime::parse_duration(text).ok()
    };
    // A deadline in the far future must still fit an instant.
    span.filter(|span| span.as_secs() <= u32::MAX.into()).ok_or_else(wrong)
}

/// The same, and more than nothing.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("{text:?}: the duration must be longer than 0")),
        span => Ok(span),
    }
}

/// Reads a duration of whole seconds, from 1 to `MAX`.
pub(crate) fn whole_seconds<const MAX: u64>(text: &str) -> Result<u64, String> {
    let span = duration(text)?;
    if span.subsec_nanos() != 0 {
        return Err(format!("{text:?}: write whole seconds, such as 5 or 2m"));
    }
    within(span.as_secs(), MAX, text, "whole seconds")
}

/// Seconds in a result: a whole number where they are whole.
pub(crate) fn seconds(span: Duration) -> Value {
    if span.subsec_nanos() == 0 { json!(span.as_secs()) } else { json!(span.as_secs_f64()) }
}

fn within(amount: u64, most: u64, text: &str, what: &str) -> Result<u64, String> {
    if (1..=most).contains(&amount) {
        return Ok(amount);
    }
    Err(format!("{text:?} is outside of the range: write {what} from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_multiples_and_no_fractions() {
        for (text, expected) in [
            ("0", 0),
            ("10000", 10_000),
            ("10_000", 10_000),
            ("10k", 10_000),
            ("10K", 10_000),
            ("1.5M", 1_500_000),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(count(text), Ok(expected), "{text}");
        }
        for text in
            ["", "k", "-1", "+1", "1.", ".5k", "1.5", "1.0005k", "10q", "1 k", "99999999999G"]
        {
            assert!(count(text).is_err(), "{text}");
        }
        assert!(count_to::<10>("11").is_err() && count_to::<10>("0").is_err());
    }

    #[test]
    fn sizes_and_durations_have_units_and_plain_numbers_stay() {
        for (text, expected) in [("64", 64), ("1KiB", 1_024), ("1kB", 1_000), ("1MiB", 1 << 20)] {
            assert_eq!(size_to::<{ 1 << 20 }>(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "2MiB", "1 furlong", "-1"] {
            assert!(size_to::<{ 1 << 20 }>(text).is_err(), "{text}");
        }
        for (text, millis) in [("2s", 2_000), ("2", 2_000), ("250ms", 250), ("1m 30s", 90_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5.5s", "2x"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(span("0s").is_err() && span("1ms").is_ok());
        assert_eq!(whole_seconds::<300>("2m"), Ok(120));
        assert!(whole_seconds::<300>("6m").is_err() && whole_seconds::<9>("1500ms").is_err());
    }
}
