//! Numbers as people read them.

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 ring`, `2 rings`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// Bytes rounded down to the unit that leaves two to four digits: `24,104 MiB`.
pub(super) fn size(bytes: u64) -> String {
    let (shift, unit) = match bytes {
        0..0x2800 => (0, "B"),
        0x2800..0xA0_0000 => (10, "KiB"),
        0xA0_0000..0x280_0000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    format!("{} {unit}", thousands(bytes >> shift))
}

#[test]
fn digits_stand_in_threes() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(thousands(number), text);
    }
    assert_eq!((count(1, "ring"), count(1_000, "ring")), ("1 ring".into(), "1,000 rings".into()));
    assert_eq!((size(4_096), size(24 << 30)), ("4,096 B".into(), "24,576 MiB".into()));
}
