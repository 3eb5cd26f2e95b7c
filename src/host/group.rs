//! Groups of this host, and whether this process may give a file to one.

use nix::unistd::{Gid, Group, getegid, geteuid, getgroups};

/// The number of a group that is named, or is a number already; `None`: there is none of that name.
pub fn group_id(group: &str) -> Option<u32> {
    if let Ok(id) = group.parse() {
        return Some(id);
    }
    Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())
}

/// Whether a file of this user may become the group's: as root, or as a member of it (chown(2)).
pub fn may_give_to(group: u32) -> bool {
    let group = Gid::from_raw(group);
    let is_member = || getgroups().is_ok_and(|all| all.contains(&group));
    geteuid().is_root() || getegid() == group || is_member()
}
