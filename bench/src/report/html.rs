//! The page in HTML, with its style and its charts inside.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::page::{Block, Cell, Chart, Column, Mark, Page, Section, Size, Table};
use super::palette::Colour;

const STYLE: &str = include_str!("style.css");
/// Longer names may wrap.
const NAME_LETTERS: usize = 24;

pub(crate) fn write(page: &Page) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (page.title) }
                    p.lead { (page.lead) }
                }
                (contents(page))
                main {
                    @for pair in page.sections.iter().enumerate() { (of_section(pair)) }
                }
            }
        }
    };
    markup.into_string()
}

fn contents(page: &Page) -> Markup {
    let entry = |(index, section): (usize, &Section)| {
        html! { li { a href=(format!("#{}", section.anchor(index))) { (section.title) } } }
    };
    html! {
        @if page.sections.len() > 1 {
            nav aria-label="Contents" {
                ol { @for pair in page.sections.iter().enumerate() { (entry(pair)) } }
            }
        }
    }
}

fn of_section((index, section): (usize, &Section)) -> Markup {
    let anchor = section.anchor(index);
    html! {
        section id=(anchor) {
            h2 { a href=(format!("#{anchor}")) { (section.title) } }
            @for block in &section.blocks { (of_block(block)) }
        }
    }
}

fn of_block(block: &Block) -> Markup {
    match block {
        Block::Heading(words) => html! { h3 { (words) } },
        Block::Text(words) => html! { p { (words) } },
        Block::Warning(words) => html! { p.warning { (words) } },
        Block::Command(command) => html! { pre tabindex="0" { code { (command) } } },
        Block::Facts(facts) => html! {
            dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
        },
        Block::List(items) => html! { ul { @for item in items { li { (item) } } } },
        Block::Table(table) => of_table(table),
        Block::Tables(tables) => html! {
            div.tables { @for table in tables { div { (of_table(table)) } } }
        },
        Block::Charts(charts) => html! {
            @for size in [Size::Small, Size::Medium] {
                @let of_size: Vec<&Chart> = charts.iter().filter(|one| one.size == size).collect();
                @if !of_size.is_empty() {
                    div class=(if size == Size::Small { "charts small" } else { "charts medium" }) {
                        @for chart in of_size { (of_chart(chart)) }
                    }
                }
            }
        },
    }
}

fn of_chart(chart: &Chart) -> Markup {
    html! {
        figure {
            figcaption {
                b { (chart.title) }
                @if !chart.legend.is_empty() { " " span { (chart.legend) } }
            }
            (chart.svg)
        }
    }
}

fn of_table(table: &Table) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label=(table.caption) {
            table {
                caption { (table.caption) }
                thead { tr { @for column in &table.columns { (of_column(column)) } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (cell, column) in row.iter().zip(&table.columns) {
                                (of_cell(cell, column, std::ptr::eq(cell, &row[0])))
                            }
                        }
                    }
                }
            }
        }
        @for note in &table.notes { p.note { (note) } }
    }
}

fn of_column(column: &Column) -> Markup {
    html! {
        th scope="col" class=[column.is_number.then_some("number")] {
            (named(&column.title, column.colour))
            @if !column.note.is_empty() { " " small { (column.note) } }
        }
    }
}

/// A text behind its colour, which stay on one line unless that were too long.
fn named(text: &str, colour: Option<Colour>) -> Markup {
    let class = if text.chars().count() > NAME_LETTERS { "long" } else { "name" };
    html! {
        @match colour {
            Some(colour) => span class=(class) {
                i class=(format!("swatch {}", colour.class())) {}
                (text)
            },
            None => (text),
        }
    }
}

fn of_cell(cell: &Cell, column: &Column, is_head: bool) -> Markup {
    let content = html! {
        @if cell.mark == Mark::Best {
            span.star role="img" aria-label="best" { "★" } " " strong { (cell.text) }
        } @else {
            (named(&cell.text, cell.colour))
        }
        @if !cell.note.is_empty() { " " small { (cell.note) } }
    };
    let mark = match cell.mark {
        Mark::Plain => "",
        Mark::Best => " best",
        Mark::Bad => " bad",
        Mark::Absent => " absent",
    };
    let class = format!("{}{mark}", if column.is_number { "number" } else { "words" });
    html! {
        @if is_head { th scope="row" class=(class) { (content) } }
        @else { td class=(class) { (content) } }
    }
}
