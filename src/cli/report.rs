//! `hubstorm report`: shows a saved result again, or one client's part in it.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use crate::report::results::{Results, SCHEMA};
use crate::report::story::{Events, story};
use crate::report::terminal::{Again, Paint, summary};

use super::args::ReportArgs;
use super::{EXIT_USAGE, complain};

pub(super) fn report(args: ReportArgs) -> u8 {
    match render(&args) {
        Ok(text) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            0
        }
        Err(error) => {
            complain(&error);
            EXIT_USAGE
        }
    }
}

fn render(args: &ReportArgs) -> Result<String, String> {
    // A results folder is as good as the report in it.
    let path = match args.result.is_dir() {
        true => args.result.join("report.json"),
        false => args.result.clone(),
    };
    let results = load(&path)?;
    if let Some(slot) = args.client {
        if u64::from(slot) >= results.clients.planned {
            return Err(format!(
                "client {slot} is not in this run; its clients are 0 to {}",
                results.clients.planned.saturating_sub(1)
            ));
        }
        return Ok(story(&results, &events(&path)?, slot));
    }
    let scenario = path.with_file_name("scenario.yaml");
    let command = format!(
        "hubstorm run {} --seed {}",
        scenario.display(),
        results.run.seed
    );
    let again = Again {
        command: &command,
        report: &path,
    };
    let paint = Paint::detect(std::io::stdout().is_terminal(), args.no_color);
    Ok(summary(&results, &again, paint))
}

fn load(path: &Path) -> Result<Results, String> {
    let text = fs::read(path).map_err(|error| {
        format!(
            "cannot read {}: {error}; give a report.json or the folder with it",
            path.display()
        )
    })?;
    let results: Results = serde_json::from_slice(&text).map_err(|error| {
        format!(
            "{} is no result of this program ({SCHEMA}): {error}",
            path.display()
        )
    })?;
    match results.schema == SCHEMA {
        true => Ok(results),
        false => Err(format!(
            "{} has the schema {:?}; this version reads {SCHEMA}",
            path.display(),
            results.schema
        )),
    }
}

/// The events beside the report; a report alone has none.
fn events(report: &Path) -> Result<Events, String> {
    let path = report.with_file_name("events.jsonl");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Events::read(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Events::default()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}
