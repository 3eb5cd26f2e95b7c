//! The manual of the config file, made of the keys' declarations: a file of defaults, and a page.

use super::check::SECTIONS;
use super::key::{Class, Key, SectionKeys};

/// Columns of a line of the documented file.
const COLUMNS: usize = 100;

/// The head of the documented file, before its first section; an empty line ends a paragraph.
const HEAD: &str = "\
Every key of this version. Each is set to its default, so this file and no file mean the same,
and each says what tells you to change it. Lines that begin with \"#key\" are keys that cannot
stand beside the ones that are set, or that have no default.

Durations are written \"30s\", \"5m\", \"1h\", \"1500ms\"; sizes \"16KiB\", \"1MiB\"; \"off\"
where a key says so. ${VAR} in quotes is replaced from the environment, and \"${VAR}\" by
itself is a number or a truth value where the key is one; $${ stands for the two characters
${. Errors never show what the environment says. A key that is not here is an error.
`portcullis check F` says what is wrong with a file, and `--set KEY=VALUE` of a command line
puts a key over the file's.

The last line on a key says what its values are, and what `portcullis reload` makes of a
change of it while the gateway runs. \"live\": it holds at once; \"new connections\": open
ones keep what they began with; \"restart\": the gateway must start again, and a reload
refuses the change without --allow-partial.";

/// The text of config/portcullis.toml: every key with its manual, set to its default.
pub fn documented() -> String {
    let mut out = paragraphs(HEAD).map(|part| comment(&part)).collect::<Vec<_>>().join("#\n");
    for key in of_the_top() {
        let example = key.example.expect("it has no default");
        out +=
            &format!("\n{}{}#{} = {example}\n", comment(key.text), comment(&facts(key)), key.name);
    }
    for section in documented_sections() {
        // One that is there makes a difference, whatever is in it.
        let mark = if OPTIONAL.contains(&section.section) { "#" } else { "" };
        out.push('\n');
        out += &comment(section.about);
        out += &format!("{mark}[{}]\n", section.section.replace("NAME", "default"));
        for (index, key) in section.keys().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out += &comment(key.text);
            out += &comment(&facts(key));
            out += &match (key.default, key.example) {
                (Some(default), _) => format!("{mark}{} = {default}\n", key.name),
                (None, Some(example)) => {
                    // A long one was broken into lines.
                    let words: Vec<&str> = example.split_whitespace().collect();
                    format!("#{} = {}\n", key.name, words.join(" "))
                }
                (None, None) => panic!("{} has neither a default nor an example", key.name),
            };
        }
    }
    out
}

/// Sections that the documented file shows and does not have.
const OPTIONAL: [&str; 4] =
    ["listener.NAME.per_source", "listener.NAME.tls", "upstream.NAME.check", "upstream.NAME.tls"];

/// Keys that stand above the first section.
fn of_the_top() -> impl Iterator<Item = &'static Key> {
    SECTIONS[0].keys().filter(|key| key.default.is_none())
}

/// Sections that stand in a file under a header of their own.
fn documented_sections() -> impl Iterator<Item = &'static SectionKeys> {
    const WITHIN: [&str; 5] = [
        "",
        "listener.NAME.route",
        "listener.NAME.tls.certificates",
        "upstream.NAME.servers",
        "upstream.NAME.servers_from",
    ];
    let is_own = |section: &&SectionKeys| !WITHIN.contains(&section.section);
    SECTIONS.into_iter().filter(is_own)
}

/// The values of a key, and what a change of it takes.
fn facts(key: &Key) -> String {
    format!("Values: {}. Change: {}.", (key.values)(), key.class.words())
}

/// The paragraphs of `text`, each from a line of its own on, as a comment.
fn comment(text: &str) -> String {
    let mut out = String::new();
    for paragraph in paragraphs(text) {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS {
                out += &line;
                line = String::from("\n#");
            }
            line.push(' ');
            line += word;
        }
        out += &line;
        out.push('\n');
    }
    out
}

fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let parts = lines.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().into_iter()
}

/// The manual page of the config file, portcullis.toml(5), for man(1).
pub fn man_page() -> String {
    let mut out = String::from(".TH portcullis.toml 5\n.SH NAME\n");
    out += "portcullis.toml \\- the config file of portcullis(1)\n.SH DESCRIPTION\n";
    for (index, paragraph) in paragraphs(HEAD).skip(1).enumerate() {
        out += if index > 0 { ".PP\n" } else { "" };
        out += &line(&paragraph);
    }
    out += ".SH ABOVE THE SECTIONS\n";
    out += &of_the_top().map(entry).collect::<String>();
    for section in SECTIONS.into_iter().filter(|section| !section.section.is_empty()) {
        out += &format!(".SH [{}]\n", section.section.to_uppercase());
        out += &paragraphs(section.about).map(|about| line(&about)).collect::<String>();
        out += &section.keys().map(entry).collect::<String>();
    }
    out += ".SH CLASSES\n";
    out += &Class::ALL
        .map(|class| format!(".TP\n{}\n{}", class.words(), line(class.meaning())))
        .concat();
    out.trim_end().to_owned()
}

/// A key of the page.
fn entry(key: &Key) -> String {
    let default = key.default.map(|default| format!(" = {default}")).unwrap_or_default();
    let mut out = format!(".TP\n\\fB{}\\fR{}\n", escaped(key.name), escaped(&default));
    for (index, paragraph) in paragraphs(key.text).enumerate() {
        out += if index > 0 { "\n" } else { "" };
        out += &line(&paragraph);
    }
    out + &format!(".br\n{}", line(&facts(key)))
}

/// A line of text, which roff fills.
fn line(text: &str) -> String {
    format!("{}\n", escaped(text))
}

/// `text` without what roff would take for its own.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
