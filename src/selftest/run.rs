//! Runs the rows side by side and prints the table.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use super::judge::{Judgement, judge};
use super::own::{self, Comes, own};
use super::rows::{Row, churned, rows};
use crate::client::Sabotage;
use crate::hub::FaultKind;
use crate::report::results::Results;
use crate::run;
use crate::scenario::{self, Overrides, Scenario};

/// How a selftest is made.
#[derive(Debug)]
pub struct Options {
    /// Honest worlds last a quarter of their time.
    pub short: bool,
    /// Only the rows under churn. They are also part of a whole run, and not of a short one.
    pub churn: bool,
    /// The seed of every row.
    pub seed: u64,
    /// Only rows of these names; empty: all.
    pub only: Vec<String>,
    /// How many rows run at once; at least 1.
    pub at_once: usize,
    /// Where the results of wrong rows stay.
    pub out: PathBuf,
    /// Overrides of every row's scenario, as with `run --set`. Whoever switches the
    /// verifier off here must see the selftest fail.
    pub set: Vec<String>,
}

/// Why no row was run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `only` names no row.
    #[error("no row is called {got:?}; did you mean `{nearest}`? There are {}", .rows.join(", "))]
    Only {
        /// What was asked for.
        got: String,
        /// The most similar name.
        nearest: &'static str,
        /// All names.
        rows: Vec<&'static str>,
    },
    /// `set` cannot be applied to a row's scenario.
    #[error("--set does not fit row {row}:\n{mistakes}")]
    Set {
        /// The first row that it does not fit.
        row: String,
        /// What is wrong.
        mistakes: String,
    },
    /// The table cannot be written.
    #[error("cannot print the table: {0}")]
    Print(#[from] io::Error),
}

/// Runs the rows, prints a line for each as it ends and a last line that sums up.
/// Gives whether all were right.
///
/// # Errors
/// No such row, a `set` that does not fit, or the table cannot be written.
pub fn selftest(options: &Options, out: &mut dyn Write) -> Result<bool, Error> {
    let mut all = match options.churn {
        true => Vec::new(),
        false => rows(options.short).into_iter().chain(own()).collect(),
    };
    if options.churn || !options.short {
        all.extend(churned());
    }
    let chosen = choose(all, &options.only)?;
    for row in &chosen {
        // What is mistyped says nothing about the verifier: no row is wrong for it.
        scenario_of(row, options).map_err(|mistakes| Error::Set {
            row: row.title(),
            mistakes,
        })?;
    }
    let total = chosen.len();
    let queue = Mutex::new(VecDeque::from(chosen));
    let (tell, told) = mpsc::channel();
    writeln!(out, "{:<6}{:<30} {:<46} got", "", "fault", "expected")?;
    let right = std::thread::scope(|scope| {
        for _ in 0..options.at_once.clamp(1, total.max(1)) {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || {
                while let Some(row) = next(queue) {
                    let judgement = attempt(&row, options);
                    if tell.send((row, judgement)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut right = 0;
        for (row, judgement) in told {
            right += usize::from(judgement.wrong.is_empty());
            print(&row, &judgement, out)?;
        }
        Ok::<_, io::Error>(right)
    })?;
    writeln!(out, "{right} of {total} rows right, seed {}", options.seed)?;
    if right < total {
        writeln!(
            out,
            "the results of the others are in {}",
            options.out.display()
        )?;
    }
    Ok(right == total && total > 0)
}

fn next(queue: &Mutex<VecDeque<Row>>) -> Option<Row> {
    // A row that panicked took its own thread along, not the queue.
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front()
}

fn choose(rows: Vec<Row>, only: &[String]) -> Result<Vec<Row>, Error> {
    for name in only {
        if !rows.iter().any(|row| row.name == *name) {
            let likeness = |row: &&Row| strsim::jaro_winkler(name, row.name);
            let nearest = rows
                .iter()
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            return Err(Error::Only {
                got: name.chars().take(60).collect(),
                nearest: nearest.map_or("", |row| row.name),
                rows: names(&rows),
            });
        }
    }
    let wanted = |row: &Row| only.is_empty() || only.iter().any(|name| *name == row.name);
    let mut chosen: Vec<Row> = rows.into_iter().filter(wanted).collect();
    // The longest first, so that none is left over at the end.
    chosen.sort_by_key(|row| match row.fault {
        Some(FaultKind::HalfOpen) => 0,
        None => 1,
        Some(_) => 2,
    });
    Ok(chosen)
}

/// The names of rows, each once, in their order.
fn names(rows: &[Row]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for row in rows {
        if !names.contains(&row.name) {
            names.push(row.name);
        }
    }
    names
}

/// A row's scenario with what was overridden; an error tells all mistakes.
fn scenario_of(row: &Row, options: &Options) -> Result<Scenario, String> {
    let overrides = Overrides {
        seed: Some(options.seed.to_string()),
        set: options.set.clone(),
        ..Overrides::default()
    };
    let file = format!("{}.yaml", row.name);
    scenario::parse(&row.yaml, &file, &overrides, &|_| None)
        .map_err(|mistakes| mistakes.to_string())
}

fn attempt(row: &Row, options: &Options) -> Judgement {
    let dir = options.out.join(row.title());
    let sabotage = row.own.map(|own| own.sabotage);
    let without = match row.own {
        Some(own) if own.comes == Comes::Nothing => {
            Some(results(row, None, options, &dir.join("without")))
        }
        _ => None,
    };
    let both = results(row, sabotage, options, &dir)
        .and_then(|results| Ok((results, without.transpose()?)));
    match both {
        Ok((results, without)) => {
            let judgement = match row.own {
                Some(own) => own::judge(own, &results, without.as_ref()),
                None => judge(row, &results),
            };
            if judgement.wrong.is_empty() {
                // What stays behind is only in the way.
                let _ = std::fs::remove_dir_all(&dir);
                let _ = std::fs::remove_dir(&options.out);
            }
            judgement
        }
        Err(error) => Judgement {
            expected: String::new(),
            got: String::new(),
            wrong: vec![error],
        },
    }
}

fn results(
    row: &Row,
    sabotage: Option<Sabotage>,
    options: &Options,
    dir: &Path,
) -> Result<Results, String> {
    let scenario = scenario_of(row, options)?;
    let hub_faults = row
        .specs
        .iter()
        .map(|spec| spec.parse())
        .collect::<Result<_, crate::hub::FaultSpecError>>()
        .map_err(|error| error.to_string())?;
    let options = run::Options {
        out: Some(dir.to_owned()),
        // Facts are told from thread to thread.
        arbiters: Some(if row.own.is_some() { 2 } else { 1 }),
        hub_faults,
        quiet: true,
        no_summary: true,
        ..run::Options::default()
    };
    run::run_with(scenario, &options, sabotage).map_err(|error| error.to_string())
}

fn print(row: &Row, judgement: &Judgement, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match judgement.wrong.is_empty() {
        true => "ok",
        false => "WRONG",
    };
    let expected = match row.why {
        _ if row.own.is_some() => judgement.expected.clone(),
        "" => judgement.expected.clone(),
        _ if judgement.expected == "nothing" => "no violation".to_owned(),
        _ => format!("{}; no violation", judgement.expected),
    };
    writeln!(
        out,
        "{verdict:<6}{:<30} {expected:<46} {}",
        row.title(),
        judgement.got
    )?;
    if !row.why.is_empty() && row.fault.is_some() {
        writeln!(out, "      {:<30} ({})", "", row.why)?;
    }
    if row.churn {
        for (kind, why) in &row.turns_into {
            writeln!(out, "      {:<30} (or {kind}: {why})", "")?;
        }
    }
    for wrong in &judgement.wrong {
        writeln!(out, "      {:<30} ! {wrong}", "")?;
    }
    out.flush()
}
