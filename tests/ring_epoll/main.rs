//! The ring over epoll behind the contract, against real sockets: the tests of the kernel's ring,
//! but for those of what that alone has.

use portcullis::ring::EpollRing as TestRing;

const IS_EPOLL: bool = true;

#[path = "../ring/accept.rs"]
mod accept;
#[path = "../ring/addresses.rs"]
mod addresses;
#[path = "../ring/ahead.rs"]
mod ahead;
#[path = "../ring/buffers.rs"]
mod buffers;
#[path = "../ring/bytes.rs"]
mod bytes;
#[path = "../ring/data.rs"]
mod data;
#[path = "../ring/endings.rs"]
mod endings;
#[path = "../ring/gates.rs"]
mod gates;
#[path = "../ring/guards.rs"]
mod guards;
#[path = "../ring/harness.rs"]
mod harness;
#[path = "../ring/layer.rs"]
mod layer;
#[path = "../ring/moves.rs"]
mod moves;
mod passive;
#[path = "../ring/pressure.rs"]
mod pressure;
#[path = "../ring/self_connect.rs"]
mod self_connect;
#[path = "../ring/splices.rs"]
mod splices;
#[path = "../ring/waits.rs"]
mod waits;
#[path = "../ring/wake.rs"]
mod wake;
