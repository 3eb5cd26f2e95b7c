//! The host: its /proc and /sys, the limits and signals of this process, the gateway's own files.

pub mod accounts;
pub mod address_lock;
pub mod cgroup;
pub mod core_dumps;
pub mod directory;
pub mod facts;
pub mod holders;
pub mod kernel_files;
pub mod limits;
pub mod lock_file;
pub mod notice;
pub mod service_manager;
pub mod signals;
pub mod socket_file;
pub mod usage;
