//! The `hubstorm` command: see [`hubstorm::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hubstorm::cli::main()
}
