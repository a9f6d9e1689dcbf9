//! `hubstorm run`: flags to a scenario, a scenario to a run, a run to an exit code.

use crate::run::{self, Options};
use crate::scenario::{self, Overrides};
use crate::transport::TlsOptions;

use super::args::RunArgs;
use super::{EXIT_USAGE, complain, logging};

pub(super) fn run(args: RunArgs) -> u8 {
    logging::start(args.log);
    let again = again(&args);
    let env = |name: &str| std::env::var(name).ok();
    let scenario = match scenario::load(&args.scenario, &overrides(&args), &env) {
        Ok(scenario) => scenario,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return EXIT_USAGE;
        }
    };
    for note in &scenario.notes {
        complain(note);
    }
    let again = format!("{again} --seed {}", scenario.seed);
    let options = Options {
        out: args.out,
        metrics: args.metrics,
        arbiters: args.arbiters,
        hub_faults: args.hub_fault,
        tls: TlsOptions {
            ca_file: args.ca_file,
            insecure: args.insecure,
        },
        sources: args.source_addresses,
        quiet: args.quiet,
        no_summary: false,
        no_color: args.no_color,
        again,
    };
    match run::run(scenario, &options) {
        Ok(results) => results.exit_code,
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}

fn overrides(args: &RunArgs) -> Overrides {
    Overrides {
        set: args.set.clone(),
        seed: args.seed.clone(),
        duration: args.duration.clone(),
        scale: args.scale.clone(),
        units: args.units,
        variant: args.variant.clone(),
        promise: args.promise.clone(),
        verify_memory: args.verify_memory.clone(),
        target: args.target.clone(),
        // An exported connection string must not stand in the way of an explicit target.
        connection_string: args
            .connection_string
            .clone()
            .filter(|_| args.target.is_none()),
        hub: args.hub.clone(),
    }
}

/// How to run this again, up to the seed. Secrets are left out: they come from the
/// environment, or have to be given again.
fn again(args: &RunArgs) -> String {
    let mut again = format!("hubstorm run {}", quoted(&args.scenario.to_string_lossy()));
    let flags = [
        ("--hub", &args.hub),
        ("--duration", &args.duration),
        ("--promise", &args.promise),
        ("--verify-memory", &args.verify_memory),
        ("--scale", &args.scale),
        ("--variant", &args.variant),
    ];
    for (flag, value) in flags {
        if let Some(value) = value {
            again.push_str(&format!(" {flag} {}", quoted(value)));
        }
    }
    if let Some(units) = args.units {
        again.push_str(&format!(" --units {units}"));
    }
    for set in &args.set {
        again.push_str(&format!(" --set {}", quoted(set)));
    }
    for fault in &args.hub_fault {
        again.push_str(&format!(" --hub-fault {}", quoted(&fault.to_string())));
    }
    if let Some(sources) = &args.source_addresses {
        again.push_str(&format!(" --source-addresses {sources}"));
    }
    if args.target.is_some() {
        again.push_str(" --target URL");
    }
    crate::transport::mask(&again)
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:%".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("scenarios/a.yaml"), "scenarios/a.yaml");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
