//! Takes addresses out of a text that strangers will read.

use std::collections::HashMap;
use std::net::IpAddr;

/// Replaces every IP address in `text` by a word that stands for it throughout: `ip4-1`, `ip6-2`.
/// Those of the loopback stay, and so do unspecified ones: they name no machine.
pub(super) fn redact(text: &str) -> String {
    let mut words = HashMap::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|part| !is_part(part)).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        out.push_str(before);
        // Within a longer word it is none: the "::face" of `surface::face`.
        let stands_alone = !out.ends_with(is_of_a_word) && !after.starts_with(is_of_a_word);
        if stands_alone {
            out.push_str(&replaced(run, &mut words));
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A character that addresses are made of.
fn is_part(one: char) -> bool {
    one.is_ascii_hexdigit() || one == '.' || one == ':'
}

fn is_of_a_word(one: char) -> bool {
    one.is_alphanumeric() || one == '_'
}

/// A run of such characters, its address replaced if it is one: alone, or as IPv4 with a port.
fn replaced(run: &str, words: &mut HashMap<IpAddr, String>) -> String {
    // Of a sentence.
    let whole = run.trim_end_matches(['.', ':']);
    let whole = if whole.is_empty() || run == "::" || run.ends_with("::") { run } else { whole };
    let (host, port) = match whole.split_once(':') {
        Some((host, port)) if host.contains('.') && !port.contains(':') => (host, Some(port)),
        _ => (whole, None),
    };
    let Ok(address) = host.parse::<IpAddr>() else { return run.to_owned() };
    if address.is_loopback() || address.is_unspecified() {
        return run.to_owned();
    }
    let count = words.len() + 1;
    let family = if address.is_ipv4() { 4 } else { 6 };
    let word = words.entry(address).or_insert_with(|| format!("ip{family}-{count}"));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{word}{port}{}", &run[whole.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_the_same_word_wherever_it_stands() {
        let text = "bind 10.1.2.3:80, from 10.0.0.0/8 or [2001:db8::1]:443; again 10.1.2.3. \
                    server=\"192.0.2.7:9000\" and ::ffff:10.1.2.3 and fe80::";
        assert_eq!(
            redact(text),
            "bind ip4-1:80, from ip4-2/8 or [ip6-3]:443; again ip4-1. \
             server=\"ip4-4:9000\" and ip6-5 and ip6-6"
        );
    }

    #[test]
    fn what_names_no_machine_stays() {
        let text = "127.0.0.1:7000 [::1]:7000 0.0.0.0:80 [::]:80 ::1/128 6.18.44 0.1.0 \
                    2026-11-22T19:05:39.859560Z worker::scan base::face added: 12.5 1.2.3 id=0-5-1 \
                    dead:beef {:?} e.g. v1.2.3.4x sha256=00ff";
        assert_eq!(redact(text), text);
    }

    #[test]
    fn nothing_is_lost_at_the_ends() {
        for text in ["", ".", "::", "a", "10.1.2", "é10.1.2.3", "."] {
            assert_eq!(redact(text), text);
        }
        assert_eq!(redact("10.9.9.9"), "ip4-1");
        assert_eq!(redact("é 10.9.9.9 é"), "é ip4-1 é");
    }
}
