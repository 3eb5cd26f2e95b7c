//! A key of the gateway's config and a value for it, written into a config's text.

use std::fs::read_to_string;
use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

/// A key with its dots, and a value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Reads `ring.buffer_size=4KiB,16KiB`.
pub(crate) fn parse(text: &str) -> Result<Vec<Setting>, String> {
    let (key, values) = text.split_once('=').ok_or("not KEY=VALUE,VALUE,…")?;
    if key.split('.').any(|part| part.trim().is_empty()) {
        return Err(format!("{key:?} is no key such as ring.buffer_size"));
    }
    let mut settings: Vec<Setting> = Vec::new();
    for value in values.split(',').map(str::trim) {
        if value.is_empty() {
            return Err(format!("{key}: an empty value among {values:?}"));
        }
        let setting = Setting { key: key.trim().to_owned(), value: value.to_owned() };
        if settings.contains(&setting) {
            return Err(format!("{key}: {value} stands there twice"));
        }
        settings.push(setting);
    }
    Ok(settings)
}

impl Setting {
    /// The config with this key at this value, whether it was there or not.
    pub(crate) fn written_into(&self, config: &str) -> Result<String, String> {
        let mut document: DocumentMut = config.parse().map_err(|error| format!("{error}"))?;
        let (path, last) = self.key.rsplit_once('.').unwrap_or(("", &self.key));
        let mut table: &mut dyn TableLike = document.as_table_mut();
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let entry = table.entry(part).or_insert(toml_edit::table());
            let is_none = || format!("{}: {part} is no table", self.key);
            table = entry.as_table_like_mut().ok_or_else(is_none)?;
        }
        table.insert(last, Item::Value(self.typed()));
        Ok(document.to_string())
    }

    /// What TOML reads as a value is that; anything else (`4KiB`, `off`) is text.
    fn typed(&self) -> Value {
        self.value.parse().unwrap_or_else(|_| Value::from(self.value.as_str()))
    }
}

/// A config of the user's as a template: its only listener is where the generator goes, its only
/// upstream is the backend, and everything else stays as it is.
pub(crate) fn template_of(path: &Path) -> Result<String, String> {
    let at = |error: String| format!("{}: {error}", path.display());
    let text = read_to_string(path).map_err(|error| at(error.to_string()))?;
    let mut document: DocumentMut = text.parse().map_err(|error| at(format!("{error}")))?;
    let listener = only(&mut document, "listener").map_err(at)?;
    listener.insert("bind", Item::Value(Value::from(Array::from_iter(["@listen@"]))));
    let upstream = only(&mut document, "upstream").map_err(at)?;
    upstream.remove("builtin");
    upstream.insert("servers", Item::Value(servers()));
    Ok(document.to_string())
}

/// The one table below this name.
fn only<'a>(document: &'a mut DocumentMut, kind: &str) -> Result<&'a mut dyn TableLike, String> {
    let tables = document.get_mut(kind).and_then(Item::as_table_like_mut);
    let count = tables.as_ref().map_or(0, |tables| tables.len());
    let rule = format!(
        "it has {count} of [{kind}.NAME]; a sweep measures exactly one, whose address it replaces"
    );
    let (1, Some(tables)) = (count, tables) else { return Err(rule) };
    let (_, table) = tables.iter_mut().next().ok_or_else(|| rule.clone())?;
    table.as_table_like_mut().ok_or(rule)
}

/// A list with the word for a server on a line of its own.
fn servers() -> Value {
    let mut server = Value::from("@server@");
    server.decor_mut().set_prefix("\n    ");
    let mut list = Array::new();
    list.push_formatted(server);
    list.set_trailing_comma(true);
    list.set_trailing("\n");
    Value::from(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: &str, value: &str, config: &str) -> String {
        let setting = Setting { key: key.to_owned(), value: value.to_owned() };
        setting.written_into(config).expect("it can be written")
    }

    #[test]
    fn values_have_the_type_that_they_look_like() {
        for (value, line) in [
            ("4KiB", "x = \"4KiB\""),
            ("off", "x = \"off\""),
            ("\"16\"", "x = \"16\""),
            ("16", "x = 16"),
            ("60_000", "x = 60_000"),
            ("true", "x = true"),
            ("[]", "x = []"),
        ] {
            assert_eq!(written("a.x", value, "[a]\nx = 1\n"), format!("[a]\n{line}\n"));
        }
    }

    #[test]
    fn keys_are_replaced_or_added_and_the_rest_stays() {
        let config = "# why\n[listener.edge]\nbind = [\"x\"]\n";
        let text = written("listener.edge.backlog", "7", config);
        assert_eq!(text, "# why\n[listener.edge]\nbind = [\"x\"]\nbacklog = 7\n");
        assert!(written("ring.buffer_size", "4KiB", config).contains("[ring]\nbuffer_size"));
        let setting = Setting { key: "a.b".into(), value: "1".into() };
        assert!(setting.written_into("a = 5").expect_err("no table").contains("a is no table"));
    }

    #[test]
    fn what_is_no_list_of_values_is_refused() {
        assert_eq!(parse("a.b=1,2").expect("two").len(), 2);
        for text in ["a.b", "=1", "a..b=1", "a=1,", "a=1,1", "a="] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_config_becomes_a_template() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.toml");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        write(
            "[listener.a]\nbind = [\"127.0.0.1:1\"]\nupstream = \"b\"\n\
             [upstream.b]\nbuiltin = \"echo\"\nbalance = \"round-robin\"\n\
             [log]\nlevel = \"warn\"\n",
        );
        assert_eq!(
            template_of(&path).expect("one of each"),
            "[listener.a]\nbind = [\"@listen@\"]\nupstream = \"b\"\n\
             [upstream.b]\nbalance = \"round-robin\"\nservers = [\n    \"@server@\",\n]\n\
             [log]\nlevel = \"warn\"\n"
        );
        write("[listener.a]\n[listener.b]\n[upstream.c]\n");
        let error = template_of(&path).expect_err("two listeners");
        assert!(error.contains("it has 2 of [listener.NAME]"), "{error}");
    }
}
