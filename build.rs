//! Tells the program its commit: that of PORTCULLIS_COMMIT, else in a release build that of `.git`.
//!
//! A debug build does not look: its crate would be compiled anew after each commit, for a word that
//! only a released program needs. `.git` is read as files, so that a machine without git does as
//! well; a source tree without `.git` has no commit unless the variable names it.

use std::env;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is made of.
const SOURCES: [&str; 4] = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    println!("cargo:rerun-if-env-changed=PORTCULLIS_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let told = env::var("PORTCULLIS_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let commit = told.or_else(|| {
        let looked = is_release.then(|| look(&root))?;
        for file in looked.files.iter().filter(|file| file.exists()) {
            println!("cargo:rerun-if-changed={}", file.display());
        }
        looked.commit
    });
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let words = commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo:rustc-env=PORTCULLIS_VERSION={version}{words}");
    if let Some(commit) = commit {
        println!("cargo:rustc-env=PORTCULLIS_COMMIT={commit}");
    }
}

/// What a look at a source tree has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Its commit; `-dirty` after it where git says that the sources differ.
    pub commit: Option<String>,
    /// What decides it: each may be missing.
    pub files: Vec<PathBuf>,
}

/// Looks at the source tree at `root`. A repository further up is another project's.
pub fn look(root: &Path) -> Look {
    let dot_git = root.join(".git");
    // In a second work tree it is a file that names the directory.
    let own =
        match read_to_string(&dot_git).ok().as_deref().map(|text| text.strip_prefix("gitdir:")) {
            Some(Some(place)) => root.join(place.trim()),
            _ => dot_git,
        };
    let shared = read_to_string(own.join("commondir")).map(|place| own.join(place.trim()));
    let shared = shared.unwrap_or_else(|_| own.clone());
    let head = own.join("HEAD");
    let Ok(text) = read_to_string(&head) else { return Look::default() };
    let mut files = vec![head];
    let id = match text.trim().strip_prefix("ref: ") {
        None => Some(text.trim().to_owned()),
        Some(name) => {
            let (loose, packed) = (shared.join(name), shared.join("packed-refs"));
            let id = read_to_string(&loose).map(|id| id.trim().to_owned()).ok();
            let id = id.or_else(|| packed_id(&read_to_string(&packed).ok()?, name));
            files.extend([loose, packed]);
            id
        }
    };
    let is_id = |id: &String| id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let commit = id.filter(is_id).map(|id| {
        let dirty = if is_dirty(root) { "-dirty" } else { "" };
        format!("{}{dirty}", &id[..12])
    });
    files.extend(SOURCES.map(|source| root.join(source)));
    Look { commit, files }
}

/// The id of a reference among packed ones: lines of an id and a name.
fn packed_id(packed: &str, name: &str) -> Option<String> {
    let line = packed.lines().find(|line| line.split(' ').nth(1) == Some(name))?;
    line.split(' ').next().map(str::to_owned)
}

/// Whether the sources are not those of the commit, as far as git is there to say so.
fn is_dirty(root: &Path) -> bool {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["status", "--porcelain", "--"]).args(SOURCES);
    git.output().is_ok_and(|said| said.status.success() && !said.stdout.is_empty())
}
