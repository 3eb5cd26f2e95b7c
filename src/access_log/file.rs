//! Opens the access log's file, and never another one that a user put in its place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::geteuid;

use crate::host::directory::{distrust, parent_of};

/// The permissions of a file that is made: it says who was connected.
const MODE: u32 = 0o640;

/// Opens or makes the file. Where other users can put files in its directory, it must be a plain
/// file of this user's or root's own, and no link leads to it.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    let directory = parent_of(path);
    let distrust = distrust(directory).ok().flatten();
    // Opening a pipe would wait for a reader.
    let mut flags = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    if distrust.is_some() {
        flags |= OFlag::O_NOFOLLOW;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(flags.bits());
    let opened = options.open(path);
    let errno = |error: &io::Error| error.raw_os_error().map(Errno::from_raw);
    let refused = |what: &str| {
        let (directory, because) = (directory.display(), distrust.as_deref().unwrap_or_default());
        let rule = format!("other users can change {directory} ({because})");
        Err(io::Error::other(format!("it is {what}, and {rule}; name a file in another directory")))
    };
    let file = match opened {
        Err(error) if errno(&error) == Some(Errno::ENXIO) => return Err(a_pipe()),
        Err(error) if errno(&error) == Some(Errno::ELOOP) && distrust.is_some() => {
            return refused("a symbolic link");
        }
        opened => opened?,
    };
    let found = file.metadata()?;
    if found.file_type().is_fifo() {
        return Err(a_pipe());
    }
    if distrust.is_some() && (!found.is_file() || found.nlink() > 1) {
        return refused("not a plain file with one name");
    }
    if distrust.is_some() && found.uid() != 0 && found.uid() != geteuid().as_raw() {
        return refused(&format!("a file of uid {}", found.uid()));
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(file)
}

fn a_pipe() -> io::Error {
    io::Error::other("it is a pipe or a socket; write \"stdout\" and connect that to one")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn refusal(path: &Path) -> String {
        append_to(path).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_link_leads_to_the_file_only_where_no_other_user_can_have_made_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("aim"), "content\n").expect("a file");
        symlink(at("aim"), at("soft")).expect("a link");
        fs::hard_link(at("aim"), at("hard")).expect("a link");
        for link in [at("soft"), at("hard")] {
            append_to(&link).expect("the directory is ours").write_all(b"line\n").expect("written");
        }
        let content = "content\nline\nline\n";
        assert_eq!(fs::read_to_string(at("aim")).expect("it is there"), content);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("it is ours");
        assert!(refusal(&at("soft")).contains("a symbolic link, and other users can change"));
        assert!(refusal(&at("hard")).contains("one name"));
        assert_eq!(fs::read_to_string(at("aim")).expect("it is there"), content);
        append_to(&at("new")).expect("it is made");
        append_to(&at("new")).expect("it is ours");
        if geteuid().is_root() {
            chown(at("new"), Some(4711), None).expect("root may");
            assert!(refusal(&at("new")).contains("uid 4711"));
        }
    }

    #[test]
    fn a_pipe_is_refused_at_once_with_and_without_a_reader() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipe");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a pipe");
        assert!(refusal(&path).contains("a pipe"));
        let flags = OFlag::O_NONBLOCK.bits();
        let _reader = OpenOptions::new().read(true).custom_flags(flags).open(&path).expect("it");
        assert!(refusal(&path).contains("a pipe"));
    }

    #[test]
    fn what_is_opened_waits_as_a_file_does() {
        let file = append_to(Path::new("/dev/null")).expect("it is there");
        let flags = fcntl(&file, FcntlArg::F_GETFL).expect("flags");
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
    }
}
