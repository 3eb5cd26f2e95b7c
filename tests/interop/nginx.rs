//! Nginx in the foreground, for HTTP and for streams, with its complaints in a file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::program::{Daemon, folder, program};
use crate::support::network::free_port;

/// Debian builds it as a file of its own.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(crate) struct Nginx {
    _daemon: Daemon,
    folder: PathBuf,
}

impl Nginx {
    /// Starts one with these servers of HTTP and of streams.
    pub(crate) fn start(http: &str, stream: &str) -> Nginx {
        // A port of its own says that it is ready: a connect to the others could be complained of.
        // It is the last of the config, as nginx listens in the order of that.
        let (folder, ready) = (folder("nginx"), free_port());
        let path = folder.display();
        let load = match Path::new(STREAM_MODULE).exists() {
            true => format!("load_module {STREAM_MODULE};\n"),
            false => String::new(),
        };
        let config = format!(
            "{load}daemon off; master_process off; pid {path}/pid; error_log {path}/log info;\n\
             events {{ worker_connections 200; }}\n\
             stream {{ access_log off;\n{stream} }}\n\
             http {{ access_log off; root {path};\n\
             client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;\n\
             scgi_temp_path {path}/scgi;\n{http}\n\
             server {{ listen 127.0.0.1:{ready}; }} }}\n"
        );
        std::fs::write(folder.join("config"), config).expect("a config");
        let mut command = program("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("config"));
        command.args(["-e", "stderr"]);
        let address = (Ipv4Addr::LOCALHOST, ready).into();
        Nginx { _daemon: Daemon::start(&mut command, folder.clone(), address), folder }
    }

    /// Its address with this port.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// What it has complained of so far, and what it has said of connections.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).expect("a log")
    }
}
