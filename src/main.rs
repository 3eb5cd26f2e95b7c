//! The `portcullis` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis::cli::main(std::env::args_os())
}
