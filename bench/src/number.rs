//! Numbers as people read them.

use portcullis::doctor::thousands;

/// Decimals with which the smallest of these still shows three digits; whole numbers need none.
pub(crate) fn decimals(values: impl IntoIterator<Item = f64>) -> usize {
    let values: Vec<f64> = values.into_iter().map(f64::abs).collect();
    if values.iter().all(|value| value.fract() == 0.0) {
        return 0;
    }
    let least = values.into_iter().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    (2.0 - least.log10().floor()).clamp(0.0, 5.0) as usize
}

/// `12,345.67`
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // What is beyond 64 bits is no figure that anybody reads.
    let grouped = whole.parse().map_or_else(|_| whole.to_owned(), thousands);
    let is_zero = !text.contains(|c: char| ('1'..='9').contains(&c));
    let sign = if value < 0.0 && !is_zero { "-" } else { "" };
    format!("{sign}{grouped}{rest}")
}

/// A number that stands alone: whole ones whole, others with three digits.
pub(crate) fn alone(value: f64) -> String {
    fixed(value, decimals([value]))
}

/// An axis's label: `0.5`, `20`, `85k`, `1.5M`.
pub(crate) fn tick(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let grouped =
        if suffix.is_empty() && scaled.fract() == 0.0 { fixed(scaled, 0) } else { text.to_owned() };
    grouped + suffix
}

/// A time on a logarithmic axis, given in microseconds.
pub(crate) fn micros(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{} s", tick(value / 1e6)),
        _ if value >= 1e3 => format!("{} ms", tick(value / 1e3)),
        _ => format!("{} µs", tick(value)),
    }
}

/// `7.8 GiB`
pub(crate) fn bytes(value: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len()).rev().find(|power| value >> (10 * power) > 0).unwrap_or(0);
    let scaled = value as f64 / f64::from(1u32 << 10).powi(power as i32);
    let decimals = usize::from(power > 0 && scaled < 100.0);
    format!("{} {}", fixed(scaled, decimals), units[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_have_as_many_digits_as_they_need() {
        for (values, decimals, text) in [
            (vec![96_993.4, 358.0], 0, "96,993"),
            (vec![17.9, 6.02], 2, "17.90"),
            (vec![0.26, 2.3], 3, "0.260"),
            (vec![1_234_567.0], 0, "1,234,567"),
            (vec![-1_234.5, 12.0], 1, "-1,234.5"),
            (vec![-0.000_000_1], 5, "0.00000"),
            (vec![0.0], 0, "0"),
        ] {
            assert_eq!(super::decimals(values.iter().copied()), decimals, "{values:?}");
            assert_eq!(fixed(values[0], decimals), text, "{values:?}");
        }
        assert_eq!([alone(0.0), alone(20_000.0), alone(0.951)], ["0", "20,000", "0.951"]);
    }

    #[test]
    fn an_axis_is_labelled_shortly() {
        let ticks = [0.0, 0.25, 20.0, 5_000.0, 85_000.0, 1.5e6, 2e9].map(tick);
        assert_eq!(ticks, ["0", "0.25", "20", "5,000", "85k", "1.5M", "2G"]);
        assert_eq!([20.0, 2_000.0, 5e6].map(micros), ["20 µs", "2 ms", "5 s"]);
        assert_eq!([512, 8_380_305_408].map(bytes), ["512 B", "7.8 GiB"]);
    }
}
