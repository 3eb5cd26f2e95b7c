//! Bars, and the colours of levels.

use ratatui::style::Color;
use ratatui::text::Span;

use crate::summary::Level;

/// Cells of a bar in a table.
pub(super) const BAR: usize = 6;

/// The colour of what is so near its end, or of a state that is so bad.
pub(super) fn color(level: Level) -> Color {
    match level {
        Level::Easy => Color::Green,
        Level::High => Color::Yellow,
        Level::Full => Color::Red,
    }
}

/// A bar of `width` cells, in eighths; what is not nothing shows.
pub(super) fn bar(part: f64, level: Level, width: usize) -> Span<'static> {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let mut eighths = (part * (width * 8) as f64).round() as usize;
    if part > 0.0 {
        eighths = eighths.max(1);
    }
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(EIGHTHS[eighths % 8]);
    }
    Span::styled(format!("{text:·<width$}"), color(level))
}
