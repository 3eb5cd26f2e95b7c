//! The scenarios: one file for each, with its flags, its help and what its connections do.
//!
//! One more is its file, and its two lines here.

mod abort;
mod bulk;
mod churn;
mod crowd;
mod ends;
mod halfclose;
mod hold;
mod limit;
mod outage;
mod pingpong;
mod restart;
mod slow;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;

/// Writes the commands of the scenarios, and runs the one that was asked for.
macro_rules! commands {
    ($($(#[$attribute:meta])? $name:ident($flags:ty),)*) => {
        #[derive(Subcommand)]
        pub(crate) enum Scenario {
            $($(#[$attribute])? $name($flags),)*
        }

        impl Scenario {
            pub(crate) fn run(&self) -> io::Result<ExitCode> {
                match self {
                    $(Scenario::$name(flags) => flags.run(),)*
                }
            }
        }
    };
}

// In the order of the help, whose sentence on each is the doc comment of its flags.
commands! {
    Hold(hold::Hold),
    Crowd(crowd::Crowd),
    Pingpong(pingpong::PingPong),
    Churn(churn::Churn),
    Storm(churn::Storm),
    #[command(name = "halfclose")]
    HalfClose(halfclose::HalfClose),
    Reset(ends::Reset),
    Abort(abort::Abort),
    Limit(limit::Limit),
    Slow(slow::Slow),
    Restart(restart::Restart),
    Bulk(bulk::Bulk),
}
