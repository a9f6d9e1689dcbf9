//! `hubstorm check`: whether scenarios are right, and what they would do, without running.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::units::format_duration;
use crate::chaos::{self, Plan};
use crate::generator::{self, Machine};
use crate::load::offered;
use crate::scenario::{self, ChaosKind, Env, Overrides, Scenario, TargetSpec};

/// Checks scenario files and writes to `out`, per file, a summary or every mistake; with
/// `plan`, also who is hit by which fault when; with `machine`, whether it has room. Returns the exit code: 0 when all are right,
/// 2 when one is not or `out` cannot be written.
pub fn check(
    paths: &[PathBuf],
    plan: bool,
    machine: Option<Machine>,
    env: Env<'_>,
    out: &mut dyn Write,
) -> u8 {
    let mut right = true;
    for path in paths {
        let written = match scenario::load(path, &Overrides::default(), env) {
            Ok(scenario) => {
                let chaos = chaos::plan(&scenario);
                let machine = machine.unwrap_or_default();
                let lacks = generator::lacks(&scenario, 1, &machine);
                right &= lacks.is_empty();
                let fits = match lacks.is_empty() {
                    true => "ok",
                    false => "right, but too large for this box",
                };
                writeln!(out, "{}: {fits}", path.display())
                    .and_then(|()| {
                        lacks
                            .iter()
                            .try_for_each(|lack| writeln!(out, "  no room    {lack}"))
                    })
                    .and_then(|()| summary(&scenario, &chaos, out))
                    .and_then(|()| match plan {
                        true => details(&scenario, &chaos, out),
                        false => Ok(()),
                    })
            }
            Err(diagnostics) => {
                right = false;
                let found = diagnostics.list.len() + diagnostics.more;
                let mistakes = if found == 1 { "mistake" } else { "mistakes" };
                let path = path.display();
                writeln!(out, "{diagnostics}\n\n{path}: {found} {mistakes}")
            }
        };
        right &= written.is_ok();
    }
    if right { 0 } else { 2 }
}

fn summary(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let offered = offered(scenario);
    writeln!(
        out,
        "  run        {}, seed {}{}, {} of load, then {} of drain",
        scenario.name,
        scenario.seed,
        if scenario.seed_drawn { " (drawn)" } else { "" },
        format_duration(scenario.duration),
        format_duration(scenario.drain),
    )?;
    writeln!(
        out,
        "  target     {}, promise {}, verify {}",
        target(&scenario.target),
        scenario.promise.name(),
        scenario.mode.name()
    )?;
    writeln!(
        out,
        "  clients    {} in {}{}; {}",
        scenario.connections(),
        count(scenario.pools.len(), "pool"),
        match scenario.clients() - scenario.connections() {
            0 => String::new(),
            n => format!(", beside {}", count(n as usize, "server")),
        },
        count(scenario.groups.len(), "group")
    )?;
    writeln!(
        out,
        "  offers     {} msg/s ({} in all), expects {} deliveries/s{}",
        number(offered.publishes_per_s),
        offered.publishes_total,
        number(offered.deliveries_per_s),
        match offered.closed_loops {
            0 => String::new(),
            n => format!("; beside {} in a closed loop", count(n, "pool")),
        }
    )?;
    writeln!(out, "  chaos      {}", chaos_counts(plan))?;
    writeln!(
        out,
        "  thresholds {}",
        count(scenario.thresholds.len(), "condition")
    )?;
    for note in &scenario.notes {
        writeln!(out, "  note       {note}")?;
    }
    Ok(())
}

/// The target as it may be shown: never a key or token.
fn target(target: &TargetSpec) -> String {
    match target {
        TargetSpec::Embedded { hub } => format!("embedded hub {hub}"),
        TargetSpec::Endpoint { url, hub, .. } => format!("{url} hub {hub}"),
        TargetSpec::ConnectionString { hub, .. } => format!("connection string, hub {hub}"),
        TargetSpec::ClientAccessUrl(_) => "client access URL".to_owned(),
    }
}

/// Per kind how often, and how many clients are hit in sum.
fn chaos_counts(plan: &Plan) -> String {
    let kinds: Vec<String> = ChaosKind::ALL
        .iter()
        .filter_map(|kind| {
            let of_kind = || plan.injections.iter().filter(|one| one.kind == *kind);
            let hits: usize = of_kind().map(|one| one.slots.len()).sum();
            let name = kind.name();
            match (of_kind().count(), hits) {
                (0, _) => None,
                (times, 0) => Some(format!("{name} {times}x")),
                (times, hits) => Some(format!("{name} {times}x ({})", count(hits, "hit"))),
            }
        })
        .collect();
    if kinds.is_empty() {
        "none".to_owned()
    } else {
        format!("{}; plan {}", kinds.join(", "), plan.hash)
    }
}

/// One line per injection: when, what, for how long, to whom by pool and slot.
fn details(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    for injection in &plan.injections {
        let at = injection.at.as_secs_f64();
        let kind = injection.kind.name();
        write!(out, "  {at:10.3}s chaos.{:<3} {kind:<15}", injection.entry)?;
        if let Some(lasts) = injection.lasts {
            write!(out, " for {}", format_duration(lasts))?;
        }
        if !injection.drops.is_empty() {
            let drops = injection.drops.iter().map(Duration::as_millis);
            let drops: Vec<String> = drops.map(|ms| format!("+{ms}ms")).collect();
            write!(out, " {}", drops.join(" "))?;
        }
        let mut shown = None;
        for slot in &injection.slots {
            let pool = scenario.pool_of(*slot);
            if shown.replace(pool) != Some(pool) {
                write!(out, " {}:", scenario.pools[pool].name)?;
            }
            write!(out, " {slot}")?;
        }
        if injection.kind == ChaosKind::HubRestart {
            write!(out, " everyone")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// `1 pool`, `2 pools`.
fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A rate for people: whole where it is, else three digits.
fn number(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "seed: 3\nduration: 10s\ntarget: {endpoint: 'http://h', access_key: '${KEY}'}\npools:\n  a: {clients: 20, groups: {count: 4}, publish: {rate: 30/min}}\n  b: {clients: 1}\nchaos:\n  - {kind: flap, start: 1s, every: 4s, share: 10%}\n  - {kind: blackout, at: 2s, count: 1, for: 3s, pool: b}\nthresholds: [ack.p99 < 1s]\n";

    fn checked(texts: &[(&str, &str)], plan: bool) -> (u8, String) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = texts
            .iter()
            .map(|(name, text)| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        let env = |name: &str| (name == "KEY").then(|| "hush".to_owned());
        let mut out = Vec::new();
        let code = check(&paths, plan, None, &env, &mut out);
        let out = String::from_utf8(out).unwrap();
        let folder = format!("{}/", folder.path().display());
        (code, out.replace(&folder, ""))
    }

    #[test]
    fn a_right_file_is_summed_up() {
        insta::assert_snapshot!(checked(&[("right.yaml", RIGHT)], false).1);
    }

    #[test]
    fn the_plan_says_who_when_and_what() {
        let (code, out) = checked(&[("right.yaml", RIGHT)], true);
        assert_eq!(code, 0);
        insta::assert_snapshot!(out);
    }

    #[test]
    fn one_wrong_file_fails_all_and_the_others_are_still_checked() {
        let (code, out) = checked(
            &[
                ("wrong.yaml", "pools: {a: {clients: 0}}\n"),
                ("right.yaml", RIGHT),
            ],
            false,
        );
        assert_eq!(code, 2);
        assert!(
            out.contains("wrong.yaml:1:22: `0` is not a number"),
            "{out}"
        );
        assert!(out.contains("wrong.yaml: 1 mistake\n"), "{out}");
        assert!(out.contains("right.yaml: ok\n"), "{out}");
        assert!(!out.contains("hush"), "{out}");
    }

    #[test]
    fn a_plan_that_does_not_fit_this_box_is_no_success_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.yaml");
        std::fs::write(&path, "pools: {a: {clients: 30000}}\n").unwrap();
        let paths = [path];
        let small = Machine {
            files: Some(1024),
            memory: Some(64 << 20),
            ports: Some(28_232),
        };
        let mut out = Vec::new();
        let code = check(&paths, false, Some(small), &|_| None, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(code, 2, "{out}");
        assert_eq!(out.matches("no room").count(), 3, "{out}");
        assert!(out.contains("ulimit -Hn"), "{out}");
        assert_eq!(check(&paths, false, None, &|_| None, &mut Vec::new()), 0);
    }

    #[test]
    fn an_output_that_cannot_be_written_is_no_success() {
        let path = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/scenarios/quickstart.yaml"
        ));
        let mut full: &mut [u8] = &mut [];
        assert_eq!(check(&[path], false, None, &|_| None, &mut full), 2);
    }
}
