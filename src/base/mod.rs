//! The words that every other module speaks.

mod bar;
pub mod chance;
pub mod chunk;
pub mod errno;
pub mod id;
pub mod limits;
pub mod op;
pub mod plain;
pub mod preamble;
pub mod reason;
pub mod side;
mod sparse;
pub mod sync;
pub mod time;
mod tls_fault;
pub mod unique_id;
pub mod version;

pub use bar::Bar;
pub use chunk::{Buffer, Chunk, PIPE_BYTES};
pub use errno::errno_of;
pub use id::{ConnIndex, GateId, Id, IdMap, ListenerId, RouteId, ServerId, UpstreamId, WorkerId};
pub use nix::errno::Errno;
pub use op::{Guard, InFlight, OpKind, Operation, Source};
pub use plain::{plain, plain_word};
pub use preamble::PreambleFault;
pub use reason::Reason;
pub use side::{BySide, Side};
pub use sparse::Sparse;
pub use time::{Clock, Micros, Millis, Tick};
pub use tls_fault::TlsFault;
pub use unique_id::UniqueId;

/// How a connect fails whose socket reached itself: the kernel chose the server's own port as its
/// source, and nobody listens there. connect(2) on a TCP socket never fails with this.
pub const SELF_CONNECT: Errno = Errno::ELOOP;

/// How a receive of a side fails whose record of TLS is not as it must be.
pub const BAD_RECORD: Errno = Errno::EBADMSG;
/// How it fails where the stream of TLS ended without close_notify: it was cut.
pub const CUT_OFF: Errno = Errno::EPROTO;
