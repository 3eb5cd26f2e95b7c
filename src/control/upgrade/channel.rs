//! The line between the control planes of the two processes: JSON, with descriptors.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize as _, Zeroizing};

use crate::base::{Errno, Millis};
use crate::courier::{Courier, Parcel, may_go_later};

/// Between two looks for a message.
pub(super) const POLL: Duration = Duration::from_millis(2);
/// From the end of a process's first descriptor to that of its last, and to spare.
const END: Duration = Duration::from_millis(500);
/// For the other end of a full line to hear something.
const FULL: Duration = Duration::from_secs(5);
/// A longer text goes as a parcel.
const TEXT_MAX: usize = 16 << 10;
/// The longest one: a history of ten minutes and the counters of thousands of servers are shorter.
const TEXT_MOST: u64 = 256 << 20;
/// In place of a text that is in the first descriptor.
const PARCEL: &[u8] = b"@";
/// Descriptors of a message.
pub(super) const DESCRIPTORS: usize = 128;

/// One end of the line.
#[derive(Debug)]
pub struct Channel {
    courier: Courier,
}

/// Why nothing more comes or goes.
#[derive(Debug)]
pub enum Broken {
    /// The other process is gone.
    Gone,
    /// It says what is not understood, or the kernel refuses.
    Other(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Gone => write!(out, "the other process is gone"),
            Broken::Other(words) => write!(out, "{words}"),
        }
    }
}

impl From<Errno> for Broken {
    fn from(errno: Errno) -> Broken {
        match errno {
            Errno::ECONNRESET | Errno::EPIPE => Broken::Gone,
            errno => Broken::Other(format!("a message to the other process: {errno}")),
        }
    }
}

impl Channel {
    /// Over this pair's end.
    pub fn new(courier: Courier) -> Channel {
        Channel { courier }
    }

    /// Sends a message; says whether it went, or has to be said again.
    ///
    /// # Errors
    /// When the other process is gone.
    pub fn say(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, Broken> {
        let other = |error: &dyn fmt::Display| Broken::Other(error.to_string());
        let text = serde_json::to_vec(message).map_err(|error| other(&error))?;
        let sent = if text.len() <= TEXT_MAX {
            self.courier.send(&text, descriptors)
        } else {
            let parcel = Parcel::of(&text).map_err(|error| other(&error))?;
            let all = [parcel.as_fd()].into_iter().chain(descriptors.iter().copied());
            self.courier.send(PARCEL, &all.collect::<Vec<_>>())
        };
        went(sent)
    }

    /// The next message and its descriptors, if one is there.
    ///
    /// # Errors
    /// When the other process is gone, or says what is not understood.
    pub fn hear<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>, Broken> {
        let mut text = Vec::new();
        let mut descriptors = match self.courier.receive(&mut text) {
            Ok(descriptors) => descriptors,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if text == PARCEL && !descriptors.is_empty() {
            text = Parcel::read(descriptors.remove(0), TEXT_MOST)
                .map_err(|error| Broken::Other(error.to_string()))?;
        }
        let message = serde_json::from_slice(&text).map_err(|error| {
            Broken::Other(format!(
                "the other process is of a version that says other things: {error}"
            ))
        });
        if text.len() <= TEXT_MAX {
            // It may be secret.
            text[..].zeroize();
        }
        Ok(Some((message?, descriptors)))
    }

    /// Says it, and waits while the line is full.
    ///
    /// # Errors
    /// As [`Channel::say`].
    pub(super) async fn tell(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Broken> {
        until_it_went(|| self.say(message, descriptors)).await
    }

    /// Says what is secret: it goes in a message alone, and is wiped here after that.
    ///
    /// # Errors
    /// As [`Channel::say`], and when it is too long for a message.
    pub(super) async fn tell_secret(&self, message: &impl Serialize) -> Result<(), Broken> {
        // A vector that grows leaves secrets behind.
        let mut text = Zeroizing::new(vec![0; TEXT_MAX]);
        let mut rest = &mut text[..];
        serde_json::to_writer(&mut rest, message)
            .map_err(|error| Broken::Other(error.to_string()))?;
        let bytes = TEXT_MAX - rest.len();
        until_it_went(|| went(self.courier.send(&text[..bytes], &[]))).await
    }
}

/// Whether a message went, or has to be said again.
fn went(sent: Result<(), Errno>) -> Result<bool, Broken> {
    match sent {
        Ok(()) => Ok(true),
        Err(errno) if may_go_later(errno) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Says it again and again, for a bounded time.
async fn until_it_went(say: impl Fn() -> Result<bool, Broken>) -> Result<(), Broken> {
    let mut waited = Duration::ZERO;
    while !say()? {
        if waited > FULL {
            return Err(Broken::Other("the other process hears nothing".to_owned()));
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
    Ok(())
}

/// A way between workers that is cut, while the line between their control planes is not: its other
/// end has lost a message, or has not understood one. A process that ends loses all of them.
#[derive(Debug, Default)]
pub(super) struct Cut(Option<Millis>);

impl Cut {
    /// Whether one has been cut for longer than the end of a process takes.
    pub(super) fn is_broken(&mut self, is_cut: bool, now: Millis) -> bool {
        is_cut && now.since(*self.0.get_or_insert(now)) > END
    }
}
