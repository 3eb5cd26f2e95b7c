//! Users and groups of this host by name, and whether this process may give a file to one.
//!
//! The C library asks what nsswitch.conf(5) names: files, a directory service. For that it loads
//! modules of the host. They are made for the host's own C library, so a program that has another
//! inside reads the two files by itself.

use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};

/// Whether the C library is inside the program.
const STATIC: bool = cfg!(target_feature = "crt-static");

const GROUPS: &str = "/etc/group";
const USERS: &str = "/etc/passwd";

/// Which groups there are, for a remedy: "write one that ...".
pub const GROUPS_ARE_THOSE: &str = if STATIC { "/etc/group has" } else { "`getent group` shows" };

/// The number of a group that is named, or is a number already; `None`: there is none of that name.
pub fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| group_named(group).ok().flatten())
}

/// The number of the group of this name; an error: the host's groups cannot be read.
pub fn group_named(name: &str) -> std::io::Result<Option<u32>> {
    if STATIC {
        return Ok(number_in(&text_of(Path::new(GROUPS))?, name));
    }
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// The name of a user, if this host knows one.
pub fn user_name(uid: u32) -> Option<String> {
    if STATIC {
        return name_in(&text_of(Path::new(USERS)).ok()?, uid);
    }
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// Whether a file of this user may become the group's: as root, or as a member of it (chown(2)).
pub fn may_give_to(group: u32) -> bool {
    let group = Gid::from_raw(group);
    let is_member = || getgroups().is_ok_and(|all| all.contains(&group));
    geteuid().is_root() || getegid() == group || is_member()
}

/// A host without the file has nobody in it.
fn text_of(file: &Path) -> std::io::Result<String> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn number_in(table: &str, name: &str) -> Option<u32> {
    entries(table).find(|&(named, _)| named == name).map(|(_, number)| number)
}

fn name_in(table: &str, number: u32) -> Option<String> {
    entries(table).find(|&(_, numbered)| numbered == number).map(|(name, _)| name.to_owned())
}

/// Names and numbers of passwd(5) and group(5), `name:password:number:...`. Lines of another shape
/// are no entries, as to the C library.
fn entries(table: &str) -> impl Iterator<Item = (&str, u32)> {
    table.lines().filter_map(|line| {
        let mut fields = line.trim_start().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let number = fields.nth(1)?.parse().ok()?;
        Some((name, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "root:x:0:\n# adm:x:3:\n\nbroken:x\n+::::\n:x:6:\nnobody:*:65534:a,b\n\
                         far:x:4294967296:\nlast:x:7";

    #[test]
    fn an_entry_is_found_by_name_and_by_number() {
        assert_eq!(number_in(TABLE, "root"), Some(0));
        assert_eq!(number_in(TABLE, "nobody"), Some(65534));
        assert_eq!(number_in(TABLE, "last"), Some(7));
        assert_eq!(name_in(TABLE, 65534).as_deref(), Some("nobody"));
        assert_eq!(name_in(TABLE, 8), None);
    }

    #[test]
    fn lines_of_another_shape_are_no_entries() {
        for name in ["# adm", "adm", "broken", "+", "", "far", "nob"] {
            assert_eq!(number_in(TABLE, name), None, "{name:?}");
        }
        assert_eq!(entries(TABLE).count(), 3);
    }

    /// The static program reads the files where any other asks the C library: what both know, they
    /// know alike.
    #[test]
    fn the_files_say_what_the_c_library_says() {
        let groups = text_of(Path::new(GROUPS)).expect("it is readable");
        let users = text_of(Path::new(USERS)).expect("it is readable");
        for (name, number) in entries(&groups) {
            assert_eq!(group_named(name).expect("groups are readable"), Some(number), "{name}");
        }
        for (_, number) in entries(&users) {
            assert_eq!(name_in(&users, number), user_name(number));
        }
        assert_eq!(text_of(Path::new("/etc/no such table")).expect("it is empty"), "");
    }
}
