//! Keys of the gateway's own that change while it runs: its logs, its rings' waits, its endpoints.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{getegid, mkfifo};
use serde_json::Value;

use crate::support::client;
use crate::support::command::{ask, ask_json, command, tell};
use crate::support::gateway::{Gateway, Home};
use crate::support::http::get;
use crate::support::network::free_port;
use crate::support::server::{self, finish};
use crate::support::wait_until;

/// A relay to a server; `rest` is the end of its file.
struct Rig {
    gateway: Gateway,
    text: String,
    _server: server::Server<()>,
}

impl Rig {
    fn start(rest: &str) -> Rig {
        let server = server::echo();
        let text = format!(
            "[gateway]\nworkers = 2\nmax_connections = 1000\n\
             [listener.edge]\nbind = [\"127.0.0.1:0\"]\nupstream = \"app\"\n\
             [upstream.app]\nservers = [\"{}\"]\n",
            server.address
        );
        let gateway = Gateway::start(&format!("{text}{rest}"));
        Rig { gateway, text, _server: server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gateway.home().path().join(name)
    }

    fn write(&self, rest: &str) {
        self.gateway.home().write("portcullis.toml", &format!("{}{rest}", self.text));
    }

    /// Writes another end of the file, and has it read: each change is made at once.
    fn reload_with(&self, rest: &str) -> Value {
        self.write(rest);
        let answer = ask_json(&self.gateway, &["reload"]);
        assert_eq!((&answer["applied"], &answer["failed"]), (&true.into(), &Value::Null));
        let changes = answer["changes"].as_array().expect("a list");
        assert!(changes.iter().all(|change| change["takes"] == "live"), "{answer}");
        answer
    }

    fn connect(&self) -> TcpStream {
        connect(self.gateway.address("edge"))
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = client::connect(address);
    exchange(&mut stream);
    stream
}

fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"x").expect("it is served");
    stream.read_exact(&mut [0]).expect("an echo");
}

fn end(stream: TcpStream) {
    finish(&stream);
    client::ending(&stream);
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn wait_for_lines(path: &Path, count: usize) -> Vec<String> {
    wait_until("the access log's lines", || lines(path).len() >= count);
    lines(path)
}

const STATUS_OFF: &str = "[status]\nbind = \"off\"\n";

fn log(level: &str, format: &str) -> String {
    format!("{STATUS_OFF}[log]\nlevel = \"{level}\"\nformat = \"{format}\"\n")
}

#[test]
fn the_logs_level_and_format_are_those_of_the_file_from_the_next_line_on() {
    let rig = Rig::start(&log("info", "text"));
    let before = rig.connect();
    let own = before.local_addr().expect("an address").to_string();
    end(rig.connect());
    rig.reload_with(&log("debug", "text"));
    // It was there before, and its end has a line with its addresses.
    end(before);
    let ended = rig.gateway.wait_for_ended(1);
    assert!(ended[0].contains(&format!("client={own} ")), "{ended:?}");
    rig.reload_with(&log("debug", "json"));
    end(rig.connect());
    let of_json = rig.gateway.wait_for_lines("\"message\":\"connection ended\"", 1);
    let line: Value = serde_json::from_str(&of_json[0]).expect("an object");
    assert_eq!((&line["level"], &line["reason"]), (&"DEBUG".into(), &"closed-by-client".into()));
    rig.reload_with(&log("info", "text"));
    end(rig.connect());
    rig.reload_with(&log("warn", "text"));
    tell(&rig.gateway, &["reload"]);
    rig.reload_with(&log("info", "text"));
    rig.gateway.wait_for_lines("the config is in force, generation 6", 1);
    let all = rig.gateway.lines();
    let ended = all.iter().filter(|line| line.contains("connection ended"));
    assert_eq!(ended.count(), 2, "{all:?}");
    rig.gateway.stop().expect(&[("closed-by-client", 4)]);
}

#[test]
fn an_access_log_comes_moves_and_goes_and_loses_no_line() {
    let rig = Rig::start(STATUS_OFF);
    let (one, two) = (rig.path("one.log"), rig.path("two.log"));
    let to = |path: &Path, rest: &str| {
        format!("{STATUS_OFF}[access_log]\npath = \"{}\"\n{rest}", path.display())
    };
    let before = rig.connect();
    let own = before.local_addr().expect("an address").to_string();
    end(rig.connect());
    rig.reload_with(&to(&one, ""));
    end(before);
    let said = wait_for_lines(&one, 1);
    assert!(said[0].contains(&format!(" client={own} ")), "it had begun before: {said:?}");

    let held = rig.connect();
    (0..100).for_each(|_| end(rig.connect()));
    rig.reload_with(&to(&two, "format = \"json\"\nqueue_lines = 8\nopenings = true\n"));
    assert_eq!(wait_for_lines(&one, 101).len(), 101, "those before the change are here");
    end(held);
    let said = wait_for_lines(&two, 1);
    let line: Value = serde_json::from_str(&said[0]).expect("an object");
    assert_eq!(line["event"], "ended", "{line}");
    end(rig.connect());
    let said = wait_for_lines(&two, 3);
    assert!(said[1].contains("\"event\":\"opened\""), "{said:?}");

    // The same log goes on, with another rule for what is worth a line.
    rig.reload_with(&to(&two, "format = \"json\"\nqueue_lines = 8\nempty = true\n"));
    end(client::connect(rig.gateway.address("edge")));
    assert_eq!(wait_for_lines(&two, 4).len(), 4);
    let counts = || ask_json(&rig.gateway, &["status"])["access_log"].clone();
    assert_eq!(counts()["written"], 105, "of all of them");
    rig.reload_with(STATUS_OFF);
    end(rig.connect());
    assert_eq!((lines(&one).len(), lines(&two).len()), (101, 4));
    wait_until("the files are let go of", || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", rig.gateway.pid())).expect("ours");
        let names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        names.filter(|name| *name == one || *name == two).count() == 0
    });
    assert_eq!((&counts()["written"], &counts()["dropped"]), (&105.into(), &0.into()));
    rig.gateway.stop();
}

#[test]
fn an_access_log_changes_under_load_and_every_end_has_its_line() {
    const CLIENTS: usize = 400;
    let rig = Rig::start(STATUS_OFF);
    let paths = [rig.path("one.log"), rig.path("two.log")];
    let to = |path: &Path| format!("{STATUS_OFF}[access_log]\npath = \"{}\"\n", path.display());
    rig.reload_with(&to(&paths[1]));
    let address = rig.gateway.address("edge");
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| (0..CLIENTS).for_each(|_| end(connect(address))));
        for round in 0..20 {
            rig.reload_with(&to(&paths[round % 2]));
        }
        clients.join().expect("all were served");
    });
    let all = || paths.clone().map(|path| lines(&path)).concat();
    wait_until("every line", || all().len() == CLIENTS);
    let text = all();
    assert!(text.iter().all(|line| line.contains(" ended id=")), "a line is torn: {text:?}");
    rig.gateway.stop().expect(&[("closed-by-client", CLIENTS as u64)]);
}

#[test]
fn a_rings_waits_change_for_whoever_is_there() {
    let ring = |keys: &str| format!("{STATUS_OFF}[ring]\n{keys}\n");
    let rig = Rig::start(&ring("quiet_after = \"1h\""));
    let mut streams: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    let quieted = || {
        let status = ask_json(&rig.gateway, &["status"]);
        let workers = status["workers"].as_array().expect("a list").clone();
        workers.iter().filter_map(|one| one["quieted"].as_u64()).sum::<u64>()
    };
    assert_eq!(quieted(), 0);
    rig.reload_with(&ring("quiet_after = \"1s\"\nbatch_wait = \"200us\""));
    wait_until("the silent ones are quiet", || quieted() >= 20);
    streams.iter_mut().for_each(exchange);
    rig.reload_with(&ring("quiet_after = \"1h\""));
    streams.iter_mut().for_each(exchange);
    drop(streams);
    wait_until("all have left", || ask_json(&rig.gateway, &["status"])["drain"]["still_open"] == 0);
    rig.gateway.stop().expect(&[("closed-by-client", 20)]);
}

fn status(bind: &str) -> String {
    format!("[status]\nbind = \"{bind}\"\n")
}

#[test]
fn the_status_server_moves_and_goes_and_comes() {
    let rig = Rig::start(STATUS_OFF);
    let at = |address: String| address.parse::<SocketAddr>().expect("an address");
    let answers = |address: SocketAddr| get(address, "/healthz").body == "ok\n";
    let (one, two) = (free_port(), free_port());
    rig.reload_with(&status(&format!("127.0.0.1:{one}")));
    let own = at(format!("127.0.0.1:{one}"));
    assert!(answers(own));
    // A scraper that is there is answered to the end.
    let mut stream = TcpStream::connect(own).expect("it listens");
    // The addresses overlap, this way and back.
    rig.reload_with(&status(&format!("0.0.0.0:{one}")));
    assert!(answers(at(format!("127.0.0.2:{one}"))) && answers(own));
    let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("it is there");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("ok\n"), "{answer}");
    rig.reload_with(&status(&format!("127.0.0.1:{one}")));
    assert!(answers(own));
    wait_until("the other addresses are left", || {
        TcpStream::connect(at(format!("127.0.0.2:{one}"))).is_err()
    });
    rig.reload_with(&status(&format!("127.0.0.1:{two}")));
    assert!(answers(at(format!("127.0.0.1:{two}"))));
    wait_until("the old one is closed", || TcpStream::connect(own).is_err());
    // Nobody else can share the port.
    assert!(std::net::TcpListener::bind(("127.0.0.1", two)).is_err());
    rig.reload_with(STATUS_OFF);
    wait_until("there is none", || TcpStream::connect(("127.0.0.1", two)).is_err());
    rig.gateway.stop().expect(&[]);
}

#[test]
fn the_admin_socket_moves_and_the_command_under_way_has_its_answer() {
    let rig = Rig::start(STATUS_OFF);
    let (a, b) = (rig.path("a.sock"), rig.path("b.sock"));
    let auto = rig.gateway.admin_socket();
    let admin = |keys: &str| rig.write(&format!("{STATUS_OFF}[admin]\n{keys}\n"));
    let at = |path: &Path| format!("socket = \"{}\"", path.display());
    let reload = |socket: &Path| {
        let socket = socket.display().to_string();
        let said = command(&["reload", "--admin", &socket]);
        assert_eq!(said.code, Some(0), "{said:?}");
        // Commands find it by its link, or by its place.
        let home = rig.gateway.home();
        let found = crate::support::gateway::program(None)
            .args(["status"])
            .env("RUNTIME_DIRECTORY", home.path())
            .output()
            .expect("the program runs");
        assert!(found.status.success(), "{found:?}");
    };
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    admin(&at(&a));
    reload(&auto);
    assert!(auto.is_symlink() && mode(&a) == 0o600);
    admin(&format!("{}\nmode = \"0660\"\ngroup = \"{}\"", at(&a), getegid()));
    reload(&a);
    assert_eq!(mode(&a), 0o660);
    admin(&format!("{}\nmode = \"0620\"", at(&b)));
    reload(&a);
    assert!(!a.exists() && mode(&b) == 0o620, "the old one is gone with its file");
    assert_eq!(std::fs::read_link(&auto).expect("a link"), b);
    admin("socket = \"auto\"");
    reload(&b);
    assert!(!b.exists() && !auto.is_symlink() && mode(&auto) == 0o600);
    admin("socket = \"off\"");
    let socket = auto.display().to_string();
    assert_eq!(command(&["reload", "--admin", &socket]).code, Some(0));
    assert!(!auto.exists());
    admin("socket = \"auto\"");
    rig.gateway.signal(Signal::SIGHUP);
    wait_until("it is there again", || auto.exists());
    tell(&rig.gateway, &["status"]);
    rig.gateway.stop().expect(&[]);
}

#[test]
fn a_reload_that_fails_at_any_of_its_steps_changes_nothing() {
    let home = Home::new();
    let status_port = free_port();
    let mut rig = Rig::start(&status(&format!("127.0.0.1:{status_port}")));
    let own = SocketAddr::from(([127, 0, 0, 1], status_port));
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = busy.local_addr().expect("it is bound");
    mkfifo(&home.path().join("pipe"), Mode::S_IRUSR).expect("a pipe");
    let _live = UnixListener::bind(home.path().join("live.sock")).expect("a socket");
    let locked = free_port();
    let mut stream = rig.connect();
    let effective = || {
        let dump = tell(&rig.gateway, &["dump"]);
        let (_, config) = dump.split_once("\n## config").expect("a section");
        config.split_once("\n## ").expect("another one").0.to_owned()
    };
    let metric = |name: &str| {
        let text = get(own, "/metrics").body;
        let line = text.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
        line.rsplit_once(' ').expect("a value").1.to_owned()
    };
    let config = effective();
    let listener =
        |bind: String| format!("[listener.more]\nbind = [\"{bind}\"]\nupstream = \"app\"\n");
    let own_status = status(&format!("127.0.0.1:{status_port}"));
    let with = |rest: String| format!("{own_status}{rest}");
    // Each would change the drain's time, too.
    rig.text = rig.text.replace("[gateway]\n", "[gateway]\ndrain_timeout = \"9s\"\n");
    let cases = [
        ("unknown key", with("[log]\nlevle = \"info\"\n".into()), "levle"),
        ("restart", with("[ring]\nbuffer_count = 512\n".into()), "ring.buffer_count needs an upgr"),
        ("bind in use", with(listener(taken.to_string())), "listens there"),
        ("address of nobody", with(listener("192.0.2.1:7000".into())), "no such address"),
        ("lock", with(listener(format!("127.0.0.1:{locked}"))), "another gateway has"),
        (
            "access log",
            with(format!("[access_log]\npath = \"{}/pipe\"\n", home.path().display())),
            "access_log.path",
        ),
        ("status", status(&taken.to_string()), "status.bind"),
        (
            "admin",
            with(format!("[admin]\nsocket = \"{}/live.sock\"\n", home.path().display())),
            "another process listens",
        ),
        ("group", with("[admin]\ngroup = \"nobody-has-it\"\n".into()), "admin.group"),
    ];
    let lock = lock_of(&rig, locked);
    for (step, rest, said) in cases {
        rig.write(&rest);
        let answer = ask(&rig.gateway, &["reload"]);
        assert_ne!(answer.code, Some(0), "{step}: {answer:?}");
        let words = format!("{}{}", answer.answer, answer.complaint);
        assert!(words.contains(said), "{step}: {words}");
        assert_eq!(effective(), config, "{step}");
        assert_eq!(metric("portcullis_config_generation "), "1", "{step}");
        assert_eq!(metric("portcullis_config_last_reload_successful "), "0", "{step}");
        exchange(&mut stream);
        end(rig.connect());
    }
    drop(lock);
    rig.reload_with(&with(listener(format!("127.0.0.1:{locked}"))));
    assert_eq!(metric("portcullis_config_last_reload_successful "), "1");
    assert_eq!(metric("portcullis_config_generation "), "2");
    exchange(&mut stream);
    drop(stream);
    wait_until("it has left", || ask_json(&rig.gateway, &["status"])["drain"]["still_open"] == 0);
    rig.gateway.stop().expect(&[("closed-by-client", 10)]);
}

/// Holds the lock of an address, as another gateway does.
fn lock_of(rig: &Rig, port: u16) -> Flock<File> {
    // The name is that of the gateway's own lock, for another port.
    let address = rig.gateway.address("edge");
    let own = format!("{}", address.port());
    let files = std::fs::read_dir(rig.gateway.home().path()).expect("it is readable").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let name = names.into_iter().find(|name| name.contains(&own) && name.ends_with(".lock"));
    let name = name.expect("its lock").replace(&own, &port.to_string());
    let file = File::create(rig.path(&name)).expect("a file");
    file.set_permissions(PermissionsExt::from_mode(0o600)).expect("ours");
    Flock::lock(file, FlockArg::LockExclusive).expect("it is free")
}
