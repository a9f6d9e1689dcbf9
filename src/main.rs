//! The `hubstorm` command.

fn main() {}
