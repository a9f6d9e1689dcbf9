//! What a run shows while it lasts: progress, the metrics endpoint, the timeline, the
//! event log; and the files and the summary at its end.

use std::io::Write as _;
use std::sync::{Arc, PoisonError};

use crate::base::units::format_duration;
use crate::chaos::Injection;
use crate::coordinator::{Phase, RETURN_WITHIN, Tick};
use crate::exporter::{self, MetricsServer, SharedState};
use crate::generator::{Forecast, GeneratorFacts, Sampler};
use crate::report::progress::{Now, Progress, ProgressMode};
use crate::report::results::GroupResult;
use crate::report::terminal::{Again, Banner, Paint, banner, summary};
use crate::report::timeline::Held;
use crate::report::write::{Event, WriteError};
use crate::report::{EventLog, Monitor, Results, ResultsDir, RunInfo, Timeline};
use crate::scenario::Scenario;
use crate::verify::GroupBooks;

/// Faults told apart in progress lines per second; more are summed up in one line.
const FAULT_LINES_MAX: usize = 3;

/// Watches a run.
pub(super) struct Watch {
    scenario: Arc<Scenario>,
    timeline: Timeline,
    pub(super) sampler: Option<Sampler>,
    progress: Progress,
    events: EventLog,
    exporter: SharedState,
    /// The first interrupt was answered.
    interrupted: bool,
    monitor: Monitor,
    /// When the load began, s; 0 until then.
    joined_s: f64,
    forecast: Forecast,
}

impl Watch {
    /// Shows the banner and opens the event log.
    ///
    /// # Errors
    /// The event log cannot be written.
    pub(super) fn new(
        scenario: &Arc<Scenario>,
        info: &RunInfo,
        dir: &ResultsDir,
        exporter: SharedState,
        metrics: Option<&MetricsServer>,
        shown: Shown,
    ) -> Result<Self, WriteError> {
        let mode = ProgressMode::detect(shown.quiet);
        let forecast = Forecast::of(scenario);
        if mode != ProgressMode::Quiet {
            let facts = Banner {
                target: &info.target,
                lies: shown.lies,
                out: dir.path(),
                metrics: metrics.map(MetricsServer::addr),
                forecast,
            };
            eprint!("{}", banner(scenario, &facts, shown.progress));
        }
        let sampler = Sampler::new()
            .inspect_err(|error| tracing::warn!(%error, "this process cannot be watched: no CPU, memory, descriptors"))
            .ok();
        Ok(Watch {
            progress: Progress::new(mode, scenario.duration),
            events: dir.events()?,
            scenario: scenario.clone(),
            timeline: Timeline::default(),
            sampler,
            exporter,
            interrupted: false,
            monitor: Monitor::new(scenario),
            joined_s: 0.0,
            forecast,
        })
    }

    /// Takes a second's worth of news.
    /// Returns why to end the load early, when a threshold says so.
    pub(super) fn tick(&mut self, tick: &Tick<'_>) -> Option<String> {
        let t_s = tick.now.as_secs_f64();
        self.joined_s = tick.load_start.map_or(0.0, |start| start.as_secs_f64());
        for (at, phase) in tick.entered {
            let name = phase.name();
            self.events.push(at.as_secs_f64(), &Event::Phase { name });
        }
        for &(at, slot, turn) in &tick.moments.kept {
            let (slot, what) = (slot.0, turn.name());
            (self.events).push(at.as_secs_f64(), &Event::Client { slot, what });
        }
        self.events.dropped_before(tick.moments.dropped);
        self.faults(tick, t_s);
        let process = self
            .sampler
            .as_mut()
            .and_then(|sampler| sampler.sample(tick.now).ok());
        let violations = tick.progress.violations.total();
        let held = Held {
            rss_bytes: process.map_or(0, |process| process.rss_bytes),
            verifier_bytes: tick.progress.bytes,
            cpu_s: process.map_or(0.0, |process| process.cpu_s),
            overdue: tick.progress.overdue,
        };
        let point = self.timeline.push(t_s, tick.snapshot, violations, held);
        let connections = tick.snapshot.connections();
        self.progress.tick(
            &point,
            &Now {
                phase: tick.phase.name(),
                planned: tick.standing.planned,
                away: connections.recovering + connections.connecting + connections.disconnected,
                faults: tick.snapshot.chaos.iter().sum(),
                violations,
            },
        );
        // A panic elsewhere leaves the numbers whole or old; both can be shown.
        let mut exported = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        exported.snapshot = tick.snapshot.clone();
        exported.overdue = tick.progress.overdue;
        exported.violations = tick.progress.violations.clone();
        exported.permitted = tick.progress.permitted.clone();
        exported.unknown = tick.progress.unknown.clone();
        exported.measured = tick.progress.measured;
        if let Some(process) = process {
            exported.process = process;
            exported.threads = self
                .sampler
                .as_ref()
                .map_or_else(Vec::new, Sampler::threads);
        }
        exported.saturated = GeneratorFacts::judge(self.sampler.as_ref(), tick.snapshot).saturated;
        exported.events_dropped = self.events.dropped();
        drop(exported);
        if let Err(error) = self.events.flush() {
            tracing::warn!(%error, "events.jsonl");
        }
        match (tick.phase, tick.load_start) {
            (Phase::Loading { .. }, Some(start)) => {
                self.monitor.look(tick.now - start, tick.snapshot)
            }
            _ => None,
        }
    }

    /// Somebody interrupted the run, which drains now. Silence would be taken for a hang.
    pub(super) fn interrupted(&mut self) {
        if !std::mem::replace(&mut self.interrupted, true) {
            self.progress.event(&format!(
                "interrupted: draining up to {}; press ctrl-C again to leave at once",
                format_duration(RETURN_WITHIN + self.scenario.drain)
            ));
        }
    }

    /// What the generator used of this machine, beside what was foretold.
    pub(super) fn generator(&self, snapshot: &crate::metrics::Snapshot) -> GeneratorFacts {
        GeneratorFacts {
            joined_s: self.joined_s,
            forecast: Some(self.forecast),
            ..GeneratorFacts::judge(self.sampler.as_ref(), snapshot)
        }
    }

    /// By threshold, the worst of its stretches.
    pub(super) fn worst(&self) -> Vec<Option<f64>> {
        self.monitor.worst()
    }

    fn faults(&mut self, tick: &Tick<'_>, t_s: f64) {
        for (n, injection) in tick.injected.iter().enumerate() {
            let at_s = tick
                .load_start
                .map_or(t_s, |start| (start + injection.at).as_secs_f64());
            let slots: Vec<u32> = injection.slots.iter().map(|slot| slot.0).collect();
            let pool = self.scenario.chaos[injection.entry]
                .pool
                .map(|pool| self.scenario.pools[pool].name.as_str());
            self.events.push(
                at_s,
                &Event::Chaos {
                    kind: injection.kind.name(),
                    pool,
                    slots: &slots,
                    for_s: injection.lasts.map(|lasts| lasts.as_secs_f64()),
                },
            );
            if n < FAULT_LINES_MAX {
                self.progress.event(&fault_line(at_s, injection, pool));
            }
        }
        if let Some(more) = tick
            .injected
            .len()
            .checked_sub(FAULT_LINES_MAX)
            .filter(|more| *more > 0)
        {
            self.progress
                .event(&format!("  t={t_s:.1}s  and {more} more faults"));
        }
    }

    /// Writes the last files.
    ///
    /// # Errors
    /// The report cannot be written.
    pub(super) fn finish(mut self, dir: &ResultsDir, results: &Results) -> Result<(), WriteError> {
        self.progress.finish();
        for incident in &results.incidents {
            self.events.push(incident.t_s, &Event::Incident(incident));
        }
        if let Err(error) = self.events.finish() {
            tracing::warn!(%error, "events.jsonl");
        }
        dir.write_report(results)
    }

    /// Puts the final numbers on the metrics page and returns it.
    pub(super) fn last_page(
        &self,
        snapshot: &crate::metrics::Snapshot,
        verification: &crate::verify::Verification,
        groups: &[GroupResult],
    ) -> Option<String> {
        let mut exported = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        exported.over = true;
        exported.snapshot = snapshot.clone();
        // Judged by now, whatever it was.
        exported.overdue = 0;
        exported.delivery = verification.pools.clone();
        let books = |group: &GroupResult| GroupBooks {
            publish: group.publish,
            delivery: group.delivery,
        };
        exported.groups = groups.iter().map(|g| (g.name.clone(), books(g))).collect();
        exported.violations = verification.violations.clone();
        exported.permitted = verification.permitted.clone();
        exported.unknown = verification.unknown.clone();
        exported.measured = verification.measured;
        drop(exported);
        exporter::render(&self.exporter).ok()
    }

    pub(super) fn take_timeline(&mut self) -> Timeline {
        std::mem::take(&mut self.timeline)
    }
}

/// Prints the summary.
pub(super) fn show(dir: &ResultsDir, results: &Results, again: &str, paint: Paint) {
    let report = dir.report();
    let again = Again {
        command: again,
        report: &report,
    };
    let text = summary(results, &again, paint);
    // A closed pipe is the reader's choice; the report is on disk.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// How a run is shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) quiet: bool,
    /// What the embedded hub is told to do wrong.
    pub(super) lies: Vec<String>,
    /// Colours of what goes to stderr.
    pub(super) progress: Paint,
}

fn fault_line(at_s: f64, injection: &Injection, pool: Option<&str>) -> String {
    let hit = match injection.slots.as_slice() {
        [] => String::new(),
        [slot] => format!(" on client {slot}"),
        slots => format!(" on {} clients", slots.len()),
    };
    let of = pool.map_or(String::new(), |pool| format!(" of {pool}"));
    let lasts = injection.lasts.map_or(String::new(), |lasts| {
        format!(" for {}", format_duration(lasts))
    });
    format!("  t={at_s:.1}s  {}{hit}{of}{lasts}", injection.kind.name())
}
