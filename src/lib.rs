//! Portcullis: an io_uring TCP gateway for very large numbers of open connections.
//!
//! The map, highest rank first; a module sees only modules of lower rank. `tests/style` checks
//! that, and this list against the disk.
//!
//! - `cli/` — the command line: flags become a command, and its outcome an exit code
//! - `top/` — a gateway's figures on a terminal, kept current until a key ends it
//! - `gateway/` — gets the sockets, builds all parts, starts the workers, drains and joins them
//! - `control/` — the slow plane: signals, the admin and status servers and their client, the
//!   status page, connections listed and ended, steering, the dump, the watch over the workers, the
//!   log and the access log, runtime files
//! - `summary/` — what readings say to a person: figures and tables for terminal and page
//! - `worker/` — the fast plane: the loop on one screen; route, admission, timers, mailbox
//! - `listener.rs` — makes passive sockets, or adopts them: one per worker and address
//! - `conn/` — one connection as a pure state machine: no clock, no ring, no allocation
//! - `upstream/` — servers and the choice among them, pure
//! - `doctor/` — what this host and config can hold: every limit, its arithmetic, its remedy
//! - `ring/` — slots, buffers and queues behind one contract, and the kernel below it
//! - `query/` — which connections are meant: a filter's words become conditions, pure
//! - `config/` — text becomes one checked, typed, immutable config
//! - `metrics/` — what is counted, by worker; the catalogue of it, readings, and their text
//! - `budget.rs` — what the process may still hold, leased to workers
//! - `base/` — the words that every other module speaks
//!
//! What is absent, on purpose:
//!
//! - A second place for what one place does: only `base/time.rs` reads a clock, only `ring/` says
//!   unsafe, only `config/file.rs` knows TOML, only the worker counts bytes and reasons.
//! - Knowledge that a part can do without: `conn` sees `base` alone, so every order of completions
//!   can be tried on it; nothing above `ring` knows how many kernel rings there are.
//! - Waiting in a worker: it opens no path and takes no lock, and its log drops lines first.
//! - Global mutable state: what workers share (the budget, counts of servers) is handed to them.
//! - An ordinary descriptor, a buffer, a timer object or an allocation per connection. Those that
//!   move bulk borrow descriptors, as many as there are pipes for them.
//! - `setsockopt` per client: options are set on the passive socket and inherited.
//! - An epoll fallback: where io_uring is refused, the start says so and ends.

pub mod base;
pub mod budget;
pub mod cli;
pub mod config;
pub mod conn;
pub mod control;
pub mod doctor;
pub mod gateway;
pub mod listener;
pub mod metrics;
pub mod query;
pub mod ring;
pub mod summary;
pub mod top;
pub mod upstream;
pub mod worker;
