//! How a build finds out its commit: from `.git` alone, and from nobody else's.

#[allow(dead_code, reason = "its main is cargo's to call")]
#[path = "../build.rs"]
mod build;

use std::fs;
use std::path::Path;

use build::{Look, look};

const ONE: &str = "1111111111111111111111111111111111111111";
const OTHER: &str = "2222222222222222222222222222222222222222";

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("it is writable");
    fs::write(path, text).expect("it is writable");
}

/// The commit, without what git may say of the rest.
fn commit(root: &Path) -> Option<String> {
    look(root).commit.map(|commit| commit.trim_end_matches("-dirty").to_owned())
}

#[test]
fn a_tree_without_a_repository_has_no_commit() {
    let outer = tempfile::tempdir().expect("a directory");
    write(outer.path(), ".git/HEAD", ONE);
    let root = outer.path().join("vendor/portcullis");
    fs::create_dir_all(&root).expect("it is writable");
    assert_eq!(look(&root), Look::default(), "the repository further up is another's");
}

#[test]
fn a_branch_names_it_loose_or_packed_and_a_detached_head_by_itself() {
    let root = tempfile::tempdir().expect("a directory");
    let root = root.path();
    write(root, ".git/HEAD", "ref: refs/heads/main\n");
    assert_eq!(commit(root), None, "before the first commit");
    let packed = format!("# pack-refs with: peeled\n{OTHER} refs/heads/x\n{ONE} refs/heads/main\n");
    write(root, ".git/packed-refs", &packed);
    assert_eq!(commit(root).as_deref(), Some(&ONE[..12]));
    write(root, ".git/refs/heads/main", &format!("{OTHER}\n"));
    assert_eq!(commit(root).as_deref(), Some(&OTHER[..12]));
    write(root, ".git/HEAD", &format!("{ONE}\n"));
    assert_eq!(commit(root).as_deref(), Some(&ONE[..12]));
    write(root, ".git/HEAD", "ref: refs/heads/.invalid\n");
    assert_eq!(commit(root), None, "a repository that keeps its references otherwise");
}

#[test]
fn a_second_work_tree_finds_its_branch_in_the_first() {
    let root = tempfile::tempdir().expect("a directory");
    let (main, second) = (root.path().join("main"), root.path().join("second"));
    write(&main, ".git/refs/heads/topic", ONE);
    write(&main, ".git/worktrees/second/HEAD", "ref: refs/heads/topic\n");
    write(&main, ".git/worktrees/second/commondir", "../..\n");
    let place = main.join(".git/worktrees/second");
    write(&second, ".git", &format!("gitdir: {}\n", place.display()));
    assert_eq!(commit(&second).as_deref(), Some(&ONE[..12]));
    let files = look(&second).files;
    let decides =
        |file: &Path| files.iter().any(|one| fs::canonicalize(one).ok().as_deref() == Some(file));
    let branch = fs::canonicalize(main.join(".git/refs/heads/topic")).expect("it is there");
    assert!(decides(&branch), "a new commit is a new build: {files:?}");
}
