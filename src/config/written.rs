//! A config as sections of keys and their values, and as the text of a file that means the same.

use super::file::quoted;
use super::text::{Written, list};
use super::{Config, Listener, Upstream, listener, sniffing, upstream};

impl Config {
    /// The text of a file that gives this config again, but for the file's own digest: defaults are
    /// written, variables are what they stood for.
    pub fn written(&self) -> String {
        let sections: Vec<String> = self.sections().iter().map(Written::text).collect();
        sections.join("\n").trim_end().to_owned()
    }

    /// Every section, in the order of the manual.
    pub(super) fn sections(&self) -> Vec<Written> {
        let Config {
            gateway,
            ring,
            listeners,
            upstreams,
            resolver,
            admin,
            status,
            log,
            access_log,
            file_sha256: _,
            files: _,
        } = self;
        let mut sections = vec![
            Written::new("gateway").with(|out| gateway.write(out)),
            Written::new("ring").with(|out| ring.write(out)),
        ];
        for listener in listeners {
            sections.push(of_listener(listener, upstreams));
        }
        sections.extend(upstreams.iter().map(of_upstream));
        sections.extend([
            Written::new("resolver").with(|out| resolver.write(out)),
            Written::new("admin").with(|out| admin.write(out)),
            Written::new("status").with(|out| status.write(out)),
            Written::new("log").with(|out| log.write(out)),
            Written::new("access_log").with(|out| access_log.write(out)),
        ]);
        sections
    }
}

fn of_listener(listener: &Listener, upstreams: &[Upstream]) -> Written {
    let mut out = Written::new(format!("listener.{}", listener.name));
    out.key(listener::BY_HAND, "bind", Some(list(&listener.bind)));
    out.key(listener::BY_HAND, "upstream", Some(quoted(&upstreams[listener.upstream].name)));
    listener.preamble.write(&mut out);
    let routes: Vec<String> =
        listener.sniffing.routes.iter().map(|route| route.written(upstreams)).collect();
    let routes = (!routes.is_empty()).then(|| format!("[{}]", routes.join(", ")));
    out.key(sniffing::BY_HAND, "route", routes);
    listener.sniffing.write(&mut out);
    listener.access.write(&mut out);
    listener.sockets.write(&mut out);
    listener.sockets.guards.write(&mut out);
    listener.write(&mut out);
    listener.timeouts.write(&mut out);
    out
}

fn of_upstream(upstream: &Upstream) -> Written {
    let mut out = Written::new(format!("upstream.{}", upstream.name));
    upstream::write_by_hand(upstream, &mut out);
    upstream.write(&mut out);
    upstream.forwarding.write(&mut out);
    upstream.guards.write(&mut out);
    out
}
