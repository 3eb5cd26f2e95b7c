//! `${VAR}` in the texts of a file: replaced by what the environment says.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Source, cut, joined};
use crate::config::error::ConfigError;

/// A text, and the environment.
pub(super) struct Expansion<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

/// Expands every text of a table.
pub(super) fn expand_table(
    table: &mut DeTable<'_>,
    path: &str,
    with: &Expansion<'_>,
    problems: &mut Vec<ConfigError>,
) {
    for (key, value) in table.iter_mut() {
        expand_value(value, &joined(path, key.get_ref()), with, problems);
    }
}

fn expand_value(
    value: &mut Spanned<DeValue<'_>>,
    path: &str,
    with: &Expansion<'_>,
    problems: &mut Vec<ConfigError>,
) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => expand_table(table, path, with, problems),
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                expand_value(element, path, with, problems);
            }
        }
        DeValue::String(text) if text.contains("${") => match expanded(text, with.env) {
            Ok(result) => *text = Cow::Owned(result),
            Err((rule, remedy)) => {
                let mut error = with.source.error(Some(&span), rule, remedy);
                error.key = Some(path.to_owned());
                error.value = Some(with.source.shown(&span));
                problems.push(error);
            }
        },
        _ => {}
    }
}

/// `text` with `${VAR}` replaced and `$${` as `${`; or the rule it breaks and the remedy.
fn expanded(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, (String, &'static str)> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(escaped) = before.strip_suffix('$') {
            result.push_str(escaped);
            result.push_str("${");
            rest = &from[2..];
            continue;
        }
        let (name, after) = from[2..].split_once('}').ok_or_else(|| {
            ("has a ${ without its }".to_owned(), "close it, or write $${ for the two characters")
        })?;
        let set = env(name).ok_or_else(|| {
            let rule = format!(
                "the environment variable {} is not set",
                cut(name.escape_debug().collect())
            );
            (rule, "set it, or write $${ for the two characters")
        })?;
        result.push_str(before);
        result.push_str(&set);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("127.0.0.1".to_owned()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once_and_can_be_escaped() {
        for (text, result) in [
            ("${HOST}:70", "127.0.0.1:70"),
            ("a${HOST}${HOST}", "a127.0.0.1127.0.0.1"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("$HOST $ }", "$HOST $ }"),
        ] {
            assert_eq!(expanded(text, &env).as_deref(), Ok(result), "{text}");
        }
        assert!(expanded("${HOST", &env).is_err());
        assert!(expanded("${}", &env).is_err());
    }
}
