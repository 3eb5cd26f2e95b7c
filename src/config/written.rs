//! A config as the text of a file that means the same, every key in it.

use std::fmt::Display;

use super::file::quoted;
use super::{Config, Listener, upstream};

impl Config {
    /// The text of a file that gives this config again, but for the file's own digest: defaults are
    /// written, variables are what they stood for.
    pub fn written(&self) -> String {
        let Config {
            gateway,
            ring,
            listeners,
            upstreams,
            admin,
            status,
            log,
            access_log,
            file_sha256: _,
        } = self;
        let mut out = Text::default();
        gateway.write(out.section("gateway"));
        ring.write(out.section("ring"));
        for listener in listeners {
            out.section(&format!("listener.{}", listener.name));
            out.listener(listener, &upstreams[listener.upstream].name);
        }
        for upstream in upstreams {
            out.section(&format!("upstream.{}", upstream.name));
            upstream::write_by_hand(&upstream.kind, &mut out);
            upstream.write(&mut out);
        }
        admin.write(out.section("admin"));
        status.write(out.section("status"));
        log.write(out.section("log"));
        access_log.write(out.section("access_log"));
        out.0.trim_end().to_owned()
    }
}

/// What is written so far.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    fn section(&mut self, path: &str) -> &mut Text {
        self.0 += &format!("\n[{path}]\n");
        self
    }

    /// A value that is TOML as it is shown.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.0 += &format!("{key} = {value}\n");
    }

    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.plain(key, quoted(word));
    }

    /// A value as its form writes it; `None`: the file leaves the key out.
    pub(super) fn key(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    fn listener(&mut self, listener: &Listener, upstream_name: &str) {
        self.plain("bind", list(&listener.bind));
        self.word("upstream", upstream_name);
        listener.sockets.write(self);
        listener.write(self);
        listener.timeouts.write(self);
    }
}

/// A list of texts.
pub(super) fn list<T: Display>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted = texts.into_iter().map(|text| quoted(&text.to_string()));
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
