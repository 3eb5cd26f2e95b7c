//! The page in Markdown: everything but the charts, whose numbers the tables hold.

use super::page::{Block, Cell, Mark, Page, Table};

pub(crate) fn write(page: &Page) -> String {
    let mut text = format!("# {}\n\n", escaped(&page.title));
    if !page.lead.is_empty() {
        text += &format!("{}\n\n", escaped(&page.lead));
    }
    for section in &page.sections {
        text += &format!("## {}\n\n", escaped(&section.title));
        for block in &section.blocks {
            text += &of_block(block);
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn of_block(block: &Block) -> String {
    match block {
        Block::Heading(words) => format!("### {}\n\n", escaped(words)),
        Block::Text(words) => format!("{}\n\n", escaped(words)),
        Block::Warning(words) => format!("> **{}**\n\n", escaped(words)),
        Block::Command(command) => code(command),
        Block::Facts(facts) => {
            let line = |(name, value): &(String, String)| {
                format!("- **{}**: {}\n", escaped(name), escaped(value))
            };
            facts.iter().map(line).collect::<String>() + "\n"
        }
        Block::List(items) => {
            let line = |item: &String| format!("- {}\n", escaped(item));
            items.iter().map(line).collect::<String>() + "\n"
        }
        Block::Table(table) => of_table(table),
        Block::Tables(tables) => tables.iter().map(of_table).collect(),
        Block::Charts(_) => String::new(),
    }
}

/// A fence longer than any in the text.
fn code(command: &str) -> String {
    let mut fence = "```".to_owned();
    while command.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}\n{command}\n{fence}\n\n")
}

fn of_table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = table.columns.iter().map(|column| {
        let title = escaped(&column.title);
        if column.note.is_empty() { title } else { format!("{title} ({})", escaped(&column.note)) }
    });
    let ruler = table.columns.iter().map(|column| if column.is_number { "---:" } else { "---" });
    let mut text = format!("**{}**\n\n", escaped(&table.caption));
    text += &line(head.collect());
    text += &line(ruler.map(str::to_owned).collect());
    for row in &table.rows {
        text += &line(row.iter().map(of_cell).collect());
    }
    text += "\n";
    for note in &table.notes {
        text += &format!("{}\n\n", escaped(note));
    }
    text
}

fn of_cell(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    let text = if cell.mark == Mark::Best { format!("**{text}** ★") } else { text };
    if cell.note.is_empty() { text } else { format!("{text} ({})", escaped(&cell.note)) }
}

/// Text that stays text in Markdown, in HTML within it, and in a table's cell.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in text.chars() {
        match letter {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '\n' | '\r' => safe.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' => {
                safe.push('\\');
                safe.push(letter);
            }
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let text = escaped("<script>a|b</script> *x* `y` [z](u)\n# h");
        assert_eq!(text, "&lt;script&gt;a\\|b&lt;/script&gt; \\*x\\* \\`y\\` \\[z\\](u) \\# h");
        assert!(code("a\n```\nb").starts_with("````\n"));
    }
}
