//! A config as the text of a file that means the same, every key in it.

use super::text::{Text, list};
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
            write_listener(listener, &upstreams[listener.upstream].name, &mut out);
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

fn write_listener(listener: &Listener, upstream_name: &str, out: &mut Text) {
    out.plain("bind", list(&listener.bind));
    out.word("upstream", upstream_name);
    listener.sockets.write(out);
    listener.write(out);
    listener.timeouts.write(out);
}
