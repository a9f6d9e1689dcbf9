//! The command line: what may be typed, and which part of the program does it.
//!
//! [`args`] is the one table of commands and flags. Exit codes are those of the contract.

pub mod args;
mod bench_self;
pub mod check;
pub mod explain;
mod hub;
mod logging;
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
                (!args.elsewhere).then(crate::generator::Machine::this),
                &env,
                &mut std::io::stdout().lock(),
            )
        }
        Command::Explain(args) => explain(&args),
        Command::Schema => {
            use std::io::Write as _;
            let schema = crate::scenario::reference::json_schema();
            let written = std::io::stdout().lock().write_all(schema.as_bytes());
            if written.is_ok() { 0 } else { EXIT_USAGE }
        }
        Command::Hub(args) => hub::hub(*args),
        Command::Report(args) => report::report(args),
        Command::Selftest(args) => selftest::selftest(args),
        Command::BenchSelf(args) => bench_self::bench_self(&args),
    }
}

fn explain(args: &args::ExplainArgs) -> u8 {
    if args.scenario.as_os_str() == crate::scenario::presets::PREFIX {
        let list = crate::scenario::presets::list();
        let written = std::io::Write::write_all(&mut std::io::stdout().lock(), list.as_bytes());
        return if written.is_ok() { 0 } else { EXIT_USAGE };
    }
    let env = |name: &str| std::env::var(name).ok();
    let overrides = crate::scenario::Overrides {
        set: args.set.clone(),
        scale: args.scale.clone(),
        units: args.units,
        variant: args.variant.clone(),
        duration: args.duration.clone(),
        ..Default::default()
    };
    match crate::scenario::load(&args.scenario, &overrides, &env) {
        Ok(scenario) => {
            let written = explain::explain(&scenario, &mut std::io::stdout().lock());
            if written.is_ok() { 0 } else { EXIT_USAGE }
        }
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            EXIT_USAGE
        }
    }
}

/// Tells a person what went wrong, on stderr. Secrets in the text are masked.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("hubstorm: {}", crate::transport::mask(&error.to_string()));
}
