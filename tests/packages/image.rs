//! The image in a container: over epoll where the profile of its runtime refuses io_uring, and over
//! io_uring under the profile that is shipped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PROGRAM, ended, installed, root, said, script};

/// The profile of Docker, Podman and containerd, as Debian ships it.
const DEFAULT_PROFILE: &str = "/usr/share/containers/seccomp.json";
/// The user of the image.
const USER: &str = "65532:65532";
/// Locked memory of a container where nobody says otherwise.
const MEMLOCK_BYTES: u64 = 8 << 20;

/// The image as an OCI layout.
static IMAGE: LazyLock<TempDir> = LazyLock::new(built);

fn built() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    said(script("config/packaging/image").args([PROGRAM.as_path(), folder.path()]));
    folder
}

/// A profile as the runtime's specification has it: what Docker's form grants to a container
/// without capabilities on this machine.
fn seccomp(profile: &Path) -> Value {
    let text = fs::read_to_string(profile).expect("the profile is there");
    let profile: Value = serde_json::from_str(&text).expect("JSON");
    let names = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    };
    let holds = |call: &&Value| {
        let (includes, excludes) = (&call["includes"], &call["excludes"]);
        let arches = names(&includes["arches"]);
        names(&includes["caps"]).is_empty()
            && (arches.is_empty() || arches.iter().any(|one| one == arch))
            && !names(&excludes["arches"]).iter().any(|one| one == arch)
    };
    let calls = profile["syscalls"].as_array().expect("a list").iter().filter(holds);
    let calls: Vec<Value> = calls
        .map(|call| {
            let mut kept = json!({"names": call["names"], "action": call["action"]});
            for key in ["args", "errnoRet"] {
                if !call[key].is_null() {
                    kept[key] = call[key].clone();
                }
            }
            kept
        })
        .collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"].as_u64().unwrap_or(1),
        "syscalls": calls,
    })
}

/// A container of the image, as crun has it: no capability, a read-only root, little locked memory.
struct Container {
    folder: TempDir,
    name: &'static str,
}

impl Container {
    fn new(name: &'static str, profile: &Path) -> Container {
        let folder = tempfile::tempdir().expect("a folder");
        let image = format!("{}:portcullis", IMAGE.path().display());
        let bundle = folder.path().join("bundle");
        said(installed("umoci").args(["unpack", "--image", &image]).arg(&bundle));
        let path = bundle.join("config.json");
        let mut config: Value =
            serde_json::from_slice(&fs::read(&path).expect("umoci wrote it")).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["capabilities"] = json!({});
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 20_000, "hard": 20_000},
            {"type": "RLIMIT_MEMLOCK", "soft": MEMLOCK_BYTES, "hard": MEMLOCK_BYTES},
        ]);
        config["root"]["readonly"] = json!(true);
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.insert("seccomp".to_owned(), seccomp(profile));
        linux.remove("resources");
        // The network is the test's own: see `serves_under_the_shipped_profile`.
        let spaces = linux["namespaces"].as_array_mut().expect("a list");
        spaces.retain(|space| space["type"] != "network");
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|mount| !["cgroup", "sysfs"].contains(&mount["type"].as_str().unwrap_or("")));
        // As Kubernetes mounts an emptyDir: root's, and anybody may write.
        mounts.push(json!({
            "destination": "/run/portcullis", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "mode=0777"],
        }));
        fs::write(&path, config.to_string()).expect("it is ours");
        Container { folder, name }
    }

    /// crun in a mount namespace with a cgroup tree of one version: it takes no mixed one.
    fn crun(&self, action: &str) -> Command {
        installed("crun");
        let mut command = installed("unshare");
        let crun = "mount -t cgroup2 none /sys/fs/cgroup && \
            exec crun --cgroup-manager=disabled \"$@\"";
        command.args(["--mount", "sh", "-c", crun, "crun"]);
        command.arg(format!("--root={}", self.folder.path().join("state").display()));
        command.arg(action);
        command
    }

    /// Its start, to which it is the parent.
    fn run(&self) -> Command {
        let mut run = self.crun("run");
        run.arg("--bundle").arg(self.folder.path().join("bundle")).arg(self.name);
        run
    }

    fn asked(&self, command: &str) -> (Option<i32>, String) {
        let program = ["/usr/bin/portcullis", command];
        ended(self.crun("exec").args(["--user", USER, self.name]).args(program))
    }
}

/// The lines of a container's log up to one with `words`; the rest goes unread.
fn await_words(child: &mut Child, words: &str) -> String {
    let mut log = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
    while !log.contains(words) {
        let read = lines.read_line(&mut log).expect("it speaks UTF-8");
        assert!(read > 0, "it ended without {words:?}:\n{log}");
    }
    // It must not meet a pipe without a reader.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    log
}

fn shipped_profile() -> PathBuf {
    root().join("config/host/seccomp.json")
}

#[test]
fn two_builds_are_the_same_bytes() {
    let digests = |layout: &TempDir| {
        let index = fs::read_to_string(layout.path().join("index.json")).expect("it is there");
        let blobs = fs::read_dir(layout.path().join("blobs/sha256")).expect("it is there");
        let mut names: Vec<_> = blobs.map(|blob| blob.expect("a blob").file_name()).collect();
        names.sort();
        (index, names)
    };
    assert_eq!(digests(&IMAGE), digests(&built()));
}

#[test]
fn under_the_runtimes_default_profile_it_serves_over_epoll_and_says_what_to_allow() {
    let log = serves("portcullis-default", Path::new(DEFAULT_PROFILE));
    for words in ["epoll", "seccomp filter refuses io_uring_setup", "config/host/seccomp.json"] {
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn under_the_shipped_profile_it_serves_over_io_uring() {
    let log = serves("portcullis-shipped", &shipped_profile());
    assert!(!log.contains("epoll"), "{log}");
}

/// It starts, echoes, says that it is well, and drains, in a network of this thread's own, which
/// the container's processes come to share. Returns its log up to the start.
fn serves(name: &'static str, profile: &Path) -> String {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network of our own: run it as root");
    said(installed("ip").args(["link", "set", "lo", "up"]));
    let container = Container::new(name, profile);
    let mut child = container.run().stderr(Stdio::piped()).spawn().expect("crun starts");
    let log = await_words(&mut child, "ready with");

    let mut client = TcpStream::connect("127.0.0.1:7000").expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    client.write_all(b"hello\n").expect("it reads");
    let mut answer = [0; 6];
    client.read_exact(&mut answer).expect("it echoes");
    assert_eq!(&answer, b"hello\n");
    drop(client);

    // What the image's health check runs.
    let (code, status) = container.asked("status");
    assert!(code == Some(0) && status.contains("ready"), "{status}");
    said(container.crun("kill").args([container.name, "TERM"]));
    let code = child.wait().expect("it ends").code();
    assert_eq!(code, Some(0), "drained");
    log
}

/// Containers of one uid share its locked memory.
#[test]
fn two_containers_of_one_user_both_serve() {
    let start = |name| {
        let container = Container::new(name, &shipped_profile());
        let mut run = container.run();
        let thread = std::thread::spawn(move || {
            // A thread for each: both listen on the same ports.
            unshare(CloneFlags::CLONE_NEWNET).expect("a network of our own: run it as root");
            let mut child = run.stderr(Stdio::piped()).spawn().expect("crun starts");
            await_words(&mut child, "ready with");
            child
        });
        (container, thread.join().expect("it is ready"))
    };
    for (container, mut child) in ["portcullis-one", "portcullis-other"].map(start) {
        said(container.crun("kill").args([container.name, "TERM"]));
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "drained");
    }
}
