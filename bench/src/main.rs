//! The `portcullis-bench` program.

fn main() {}
