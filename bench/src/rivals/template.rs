//! Words between @ in a text, replaced by what they stand for.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What words stand for.
pub(crate) type Words = BTreeMap<&'static str, String>;

/// What a line with such a word is written for, once for each of them.
const OF_A_SERVER: &str = "@server";

/// The text with every word replaced; the error names a word that stands for nothing.
pub(crate) fn render(text: &str, words: &Words, servers: &[SocketAddr]) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if !line.contains(OF_A_SERVER) {
            out.push_str(&replace(line, words)?);
            out.push('\n');
            continue;
        }
        for (number, server) in servers.iter().enumerate() {
            let mut words = words.clone();
            words.insert("server", server.to_string());
            words.insert("server_number", (number + 1).to_string());
            words.insert("server_address", server.ip().to_string());
            words.insert("server_port", server.port().to_string());
            out.push_str(&replace(line, &words)?);
            out.push('\n');
        }
    }
    Ok(out)
}

/// One line, or an argument.
pub(crate) fn replace(line: &str, words: &Words) -> Result<String, String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('@') {
        out.push_str(before);
        let length = after.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(0);
        match after[length..].strip_prefix('@') {
            Some(behind) if length > 0 => {
                let word = &after[..length];
                let value = words.get(word).ok_or_else(|| format!("@{word}@ stands for nothing"));
                out.push_str(value?);
                rest = behind;
            }
            _ => {
                out.push('@');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_and_other_signs_stay() {
        let words = Words::from([("a", "1".to_owned()), ("b_c", "2".to_owned())]);
        assert_eq!(
            replace("@a@ @b_c@@a@ @ \"@type\" x@", &words).expect("known"),
            "1 21 @ \"@type\" x@"
        );
        assert_eq!(replace("@other@", &words), Err("@other@ stands for nothing".to_owned()));
    }

    #[test]
    fn a_line_with_a_server_is_written_for_each() {
        let servers = ["127.0.0.1:1".parse().expect("a"), "127.0.0.1:2".parse().expect("b")];
        let text = render("x\ns@server_number@ @server@\n", &Words::new(), &servers);
        assert_eq!(text.expect("known"), "x\ns1 127.0.0.1:1\ns2 127.0.0.1:2\n");
    }
}
