//! Memory that two processes share by its descriptor (memfd): flags of connections, long texts.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl, posix_fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::base::{Errno, errno_of};

/// What the successor says of a connection that was lent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// No byte of it is in the successor's hands: it can be taken back.
    Idle = 0,
    /// Bytes of it may be.
    InHand = 1,
    /// It has ended.
    Ended = 2,
}

impl Flag {
    /// A byte that no version knows yet may mean anything, so the most careful is assumed.
    fn of(byte: u8) -> Flag {
        match byte {
            0 => Flag::Idle,
            2 => Flag::Ended,
            _ => Flag::InHand,
        }
    }
}

/// The flags of all connections of a handover, in memory that both processes have (memfd).
#[derive(Debug)]
pub struct Flags {
    file: File,
    count: u64,
}

impl Flags {
    /// So many flags, all idle. Their memory is there at once, so that no later change can fail for
    /// want of it.
    ///
    /// # Errors
    ///
    /// When memory is short.
    pub fn new(count: u64) -> io::Result<Flags> {
        let memory = memory(c"portcullis-flags")?;
        if let Some(bytes) = i64::try_from(count).ok().filter(|bytes| *bytes > 0) {
            posix_fallocate(&memory, 0, bytes)?;
        }
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        Flags::from_fd(memory)
    }

    /// Those that another process has made.
    ///
    /// # Errors
    ///
    /// When it is no file.
    pub fn from_fd(memory: OwnedFd) -> io::Result<Flags> {
        let file = File::from(memory);
        let count = file.metadata()?.len();
        Ok(Flags { file, count })
    }

    /// Changes the flag at this index.
    ///
    /// # Errors
    ///
    /// `ERANGE`: there is none. Else the kernel's.
    pub fn set(&self, at: u64, flag: Flag) -> Result<(), Errno> {
        self.check(at, 1)?;
        self.file.write_all_at(&[flag as u8], at).map_err(|error| errno_of(&error))
    }

    /// So many flags from this index on.
    ///
    /// # Errors
    ///
    /// As [`Flags::set`].
    pub fn read(&self, at: u64, count: u32) -> Result<Vec<Flag>, Errno> {
        self.check(at, count)?;
        let mut bytes = vec![0; count as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(|error| errno_of(&error))?;
        Ok(bytes.into_iter().map(Flag::of).collect())
    }

    fn check(&self, at: u64, count: u32) -> Result<(), Errno> {
        let end = at.checked_add(count.into());
        if end.is_some_and(|end| end <= self.count) { Ok(()) } else { Err(Errno::ERANGE) }
    }
}

impl AsFd for Flags {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A text that is too long for a message: memory that nobody can change any more travels instead.
#[derive(Debug)]
pub struct Parcel;

impl Parcel {
    /// Memory with these bytes.
    ///
    /// # Errors
    ///
    /// When memory is short.
    pub fn of(bytes: &[u8]) -> io::Result<OwnedFd> {
        let file = File::from(memory(c"portcullis-parcel")?);
        file.write_all_at(bytes, 0)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
        Ok(file.into())
    }

    /// The bytes in it.
    ///
    /// # Errors
    ///
    /// `FileTooLarge` if there are more than `most`; else the kernel's.
    pub fn read(memory: OwnedFd, most: u64) -> io::Result<Vec<u8>> {
        let file = File::from(memory);
        let bytes = file.metadata()?.len();
        if bytes > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{bytes} bytes, where {most} may be"),
            ));
        }
        let mut read = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_exact_at(&mut read, 0)?;
        Ok(read)
    }
}

fn memory(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(memfd_create(name, flags)?)
}
