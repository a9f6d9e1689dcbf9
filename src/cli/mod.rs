//! The command line: what may be typed, and which part of the program does it.
//!
//! [`args`] is the one table of commands and flags. Exit codes are those of the contract.

pub mod args;
pub mod check;
mod hub;
mod report;
mod run;
mod selftest;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// Bad usage or a bad scenario: nothing was started.
pub const EXIT_USAGE: u8 = 2;

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    // clap itself exits with 2 on bad usage and 0 on `--help`.
    let args = Args::parse();
    ExitCode::from(dispatch(args))
}

fn dispatch(args: Args) -> u8 {
    match args.command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => {
            let env = |name: &str| std::env::var(name).ok();
            check::check(
                &args.scenarios,
                args.plan,
                &env,
                &mut std::io::stdout().lock(),
            )
        }
        Command::Hub(args) => hub::hub(*args),
        Command::Report(args) => report::report(args),
        Command::Selftest(args) => selftest::selftest(args),
    }
}

/// Tells a person what went wrong, on stderr. Secrets in the text are masked.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("hubstorm: {}", crate::transport::mask(&error.to_string()));
}

/// Starts logging to stderr at `level`; `RUST_LOG` is not read, so that a run does what its
/// flags say.
fn start_logging(level: args::LogLevel) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match level {
        args::LogLevel::Off => LevelFilter::OFF,
        args::LogLevel::Error => LevelFilter::ERROR,
        args::LogLevel::Warn => LevelFilter::WARN,
        args::LogLevel::Info => LevelFilter::INFO,
        args::LogLevel::Debug => LevelFilter::DEBUG,
        args::LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = tracing_subscriber::filter::Targets::new().with_target("hubstorm", level);
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // Only a second start in one process could fail, and then logging is on.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init();
}
