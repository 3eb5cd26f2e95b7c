//! nginx with its stream module.

use std::path::Path;
use std::process::Command;

use super::{Build, Rival, Room, SECURED_ONLY, UPGRADE_ONLY, Way};

/// Descriptors of a worker that are no connection's.
const OWN_DESCRIPTORS: u64 = 100;
/// How full a worker may be in the mean: SO_REUSEPORT gives some more than others.
const FILL_PERCENT: u64 = 80;

pub(super) const NGINX: Rival = Rival {
    name: "nginx",
    program: "nginx",
    install: "apt-get install -y --no-install-recommends nginx-light libnginx-mod-stream",
    config: "nginx.conf",
    template: include_str!("../../rivals/nginx.conf"),
    version: &["-v"],
    start: &["-e", "stderr", "-p", "@run_folder@", "-c", "@config@"],
    check: &["-t", "-e", "stderr", "-p", "@run_folder@", "-c", "@config@"],
    compiled: None,
    // The news of nginx.org, of 2026-05-22.
    newest_seen: Some("1.30"),
    build: stream_module,
    holds: |room: Room| {
        let each = room.descriptors.saturating_sub(OWN_DESCRIPTORS) / 2;
        let full = if room.workers > 1 { FILL_PERCENT } else { 100 };
        each * room.workers * full / 100
    },
    only: None,
    tls: false,
    way: None,
};

pub(super) const SECURED: Rival = Rival {
    name: "nginx-tls",
    config: "nginx-tls.conf",
    template: include_str!("../../rivals/nginx-tls.conf"),
    only: SECURED_ONLY,
    tls: true,
    ..NGINX
};

/// With an end for old workers whose connections do not end.
pub(super) const UPGRADING: Rival = Rival {
    config: "nginx-upgrade.conf",
    template: include_str!("../../rivals/nginx-upgrade.conf"),
    only: UPGRADE_ONLY,
    way: Some(Way::Replace { pid_file: "nginx.pid" }),
    ..NGINX
};

/// The line that loads the stream module, if it is not built in.
fn stream_module(program: &Path) -> Result<Build, String> {
    let output = Command::new(program).arg("-V").output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut words = said.split_whitespace();
    let load = match words.find(|word| word.starts_with("--with-stream")) {
        _ if said.split_whitespace().any(|word| word == "--with-stream") => String::new(),
        Some(_) if said.contains("--with-stream=dynamic") => {
            let folder = said.split_whitespace().find_map(|w| w.strip_prefix("--modules-path="));
            let folder = folder.unwrap_or("/usr/lib/nginx/modules");
            let module = Path::new(folder).join("ngx_stream_module.so");
            if !module.is_file() {
                return Err(format!("{} is missing", module.display()));
            }
            format!("load_module {};", module.display())
        }
        _ => return Err("it is built without the stream module".to_owned()),
    };
    Ok(vec![("load_stream", load)])
}
