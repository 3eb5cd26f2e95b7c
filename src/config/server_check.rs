//! `check` of `[upstream.NAME]`: how the gateway asks a server whether it serves.

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::config::error::ConfigError;
use crate::config::file::Value;
use crate::config::form::{AS_IT_STANDS, Choice, Number, Own, Span, Word};
use crate::config::key::SectionKeys;
use crate::config::keys::keys;
use crate::config::text::Written;

/// The first bytes of an answer in which the expected text is looked for, and the longest text.
pub const ANSWER_MAX_BYTES: usize = 4096;

pub(super) const CHECK: SectionKeys = SectionKeys {
    section: "upstream.NAME.check",
    about: "Checks of an upstream's servers; there are none without this table. In the upstream's \
            own section it is check = { interval = \"2s\" }.",
    keys: &[Check::KEYS],
    later: &["initial", "path"],
};

/// The table as a value of the upstream's key.
pub(super) const CHECKS: Own<Check> =
    Own { values: "a table of [upstream.NAME.check]", read, written };

const KINDS: Choice<CheckKind> = Choice {
    words: &[
        ("connect", CheckKind::Connect),
        ("send-expect", CheckKind::SendExpect),
        ("tls", CheckKind::Tls),
    ],
    later: &["http"],
};

const TEXT: Word<Vec<u8>> = Word {
    values: "a text of at most 4096 bytes with the escapes \\r, \\n, \\t and \\\\, or \"hex:\" and \
             pairs of hexadecimal digits",
    accept: bytes_of,
    show: |bytes| text_of(bytes),
};

/// What a text in hexadecimal begins with.
const HEX: &str = "hex:";

/// The question that a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Whether it takes a connection.
    Connect,
    /// Whether it also answers as it should.
    SendExpect,
    /// Whether it also begins a TLS handshake; where it is spoken to in TLS, whether it ends one.
    Tls,
}

impl CheckKind {
    /// The word that stands in the config and in what is said of a check.
    pub fn word(self) -> &'static str {
        let is_it = |(_, kind): &&(&str, CheckKind)| *kind == self;
        KINDS.words.iter().find(is_it).expect("each kind has its word").0
    }
}

keys! {
    /// How servers are checked: by connections of the gateway's own, which are reset when they have
    /// their answer.
    Check;

    /// "connect": a server passes when it takes a connection. "send-expect": it is sent the text
    /// of send, and passes when its answer has the text of expect. "tls": it is sent a ClientHello
    /// (TLS 1.2 and 1.3, no server name), and passes when it answers with a ServerHello; its
    /// certificate is not looked at. Servers of an upstream with a table tls are shaken hands with
    /// in any case, as connections do it; for "connect" and "tls" that is the whole check.
    ///
    /// Write "send-expect" where a process may listen and not serve: one that hangs, a replica in
    /// place of a primary.
    "kind" kind: CheckKind = "connect", Live, KINDS, AS_IT_STANDS;

    /// From one check of a server to its next, with a tenth more or less by chance; a quarter of it
    /// while a server fails that was up, or passes that was down.
    ///
    /// Lower it when a server that is down must be known sooner.
    "interval" interval: Duration = "2s", Live,
        Span::Of(Duration::from_millis(100)..=Duration::from_secs(3600)), "write it as in \"2s\"";

    /// For a server to pass a check, from its connect on.
    ///
    /// Raise it when a server that is merely slow is called down.
    "timeout" timeout: Duration = "1s", Live,
        Span::Of(Duration::from_millis(10)..=Duration::from_secs(60)), "write it as in \"1s\"";

    /// Checks that a server passes, one after the other, before it is up again.
    "rise" rise: u32 = 2, Live, Number(1..=100), "write the default, 2";

    /// Checks that a server fails, one after the other, before it is down.
    ///
    /// Lower it when clients wait for a dead one; raise it when servers are called down that are
    /// well.
    "fall" fall: u32 = 3, Live, Number(1..=100), "write the default, 3";

    /// The port that is checked; 0: the server's own.
    ///
    /// Set it where another port knows better whether the server serves.
    "port" port: u16 = 0, Live, Number(0..=65_535), "write the number of a port";

    /// What is sent first, as in 'PING\r\n'; "": nothing, the server speaks first. A text in
    /// hexadecimal is for protocols that are no text, as in "hex:0d0a". Dumps and reloads show it:
    /// write no password here.
    "send" send: Vec<u8> = "", Live, TEXT, "write it as in 'PING\\r\\n'";

    /// The text that the first 4 KiB of an answer must have, as in "+PONG".
    "expect" expect: Vec<u8> = "", Live, TEXT, "write it as in \"+PONG\"";
}

fn read(value: &Value<'_>, remedy: &str, problems: &mut Vec<ConfigError>) -> Option<Check> {
    let Some(section) = value.section(&CHECK) else {
        problems.push(value.error(format!("must be {}", CHECKS.values), remedy));
        return None;
    };
    section.check_keys(problems);
    let check = Check::read(&section, problems);
    match check.kind {
        CheckKind::Connect | CheckKind::Tls => {
            let kind = check.kind.word();
            let texts = ["send", "expect"].into_iter().filter_map(|key| section.get(key));
            for text in texts {
                let rule = format!("belongs to kind = \"send-expect\", and the kind is \"{kind}\"");
                problems.push(text.error(rule, "write kind = \"send-expect\", or remove it"));
            }
        }
        CheckKind::SendExpect if check.expect.is_empty() => {
            let rule = "has no text to expect: no answer would tell a good server from others";
            problems.push(section.error(rule, "write expect = \"+PONG\", or kind = \"connect\""));
        }
        CheckKind::SendExpect => {}
    }
    Some(check)
}

/// The table within a line.
fn written(check: &Check) -> String {
    let mut out = Written::new(CHECK.section);
    check.write(&mut out);
    let keys = out.values.iter().map(|(key, value)| format!("{} = {value}", key.name));
    format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

/// The bytes that a text of a file stands for.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let bytes = match text.strip_prefix(HEX) {
        Some(digits) => HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?,
        None => unescaped(text)?.into_bytes(),
    };
    (bytes.len() <= ANSWER_MAX_BYTES).then_some(bytes)
}

fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next()? {
                'r' => '\r',
                'n' => '\n',
                't' => '\t',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(out)
}

/// The text that stands for these bytes, in hexadecimal where a person could not read them.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    let is_readable = |c: char| !c.is_control() || ['\r', '\n', '\t'].contains(&c);
    let readable = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.chars().all(is_readable) && !text.starts_with(HEX));
    let Some(text) = readable else { return format!("{HEX}{}", HEXLOWER.encode(bytes)).into() };
    let escapes = [("\\", "\\\\"), ("\r", "\\r"), ("\n", "\\n"), ("\t", "\\t")];
    let escaped = |text: String, (plain, escape): (&str, &str)| text.replace(plain, escape);
    escapes.into_iter().fold(text.to_owned(), escaped).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_for_bytes_and_back() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("PING\\r\\n", b"PING\r\n"),
            ("PING\r\n", b"PING\r\n"),
            ("a\\\\b\\t", b"a\\b\t"),
            ("hex:00fF0d", b"\0\xff\r"),
            ("hex:", b""),
            ("\u{e9}", "\u{e9}".as_bytes()),
        ] {
            let taken = bytes_of(text).expect(text);
            assert_eq!(taken, bytes, "{text}");
            assert_eq!(bytes_of(&text_of(&taken)).expect("its own"), bytes, "{text}");
        }
        assert_eq!(text_of(b"PING\r\n"), "PING\\r\\n");
        assert_eq!(text_of(b"hex:00"), "hex:6865783a3030");
        for text in ["\\", "a\\x", "hex:0", "hex:zz", &"x".repeat(ANSWER_MAX_BYTES + 1)] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }
}
