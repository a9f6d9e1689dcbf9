//! The run while it lasts: a bar on a terminal, plain lines elsewhere. On stderr.
//!
//! In a pipe indicatif draws nothing and swallows what is printed through it, so plain mode
//! does not touch it. Log lines in bar mode must go through [`Progress::event`].

use std::env;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::format::{count, micros};
use super::timeline::TimelinePoint;

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgressMode {
    /// One line that is drawn anew.
    Bar,
    /// A line every 5 s, later every 10 s and 30 s.
    Plain,
    /// Nothing.
    Quiet,
}

impl ProgressMode {
    /// A bar on a terminal; plain lines in a pipe, in CI and on a dumb terminal.
    pub fn detect(quiet: bool) -> Self {
        let ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        match quiet {
            true => ProgressMode::Quiet,
            false if ci || dumb || !std::io::stderr().is_terminal() => ProgressMode::Plain,
            false => ProgressMode::Bar,
        }
    }
}

/// What a tick shows beside the timeline's point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now<'a> {
    /// The phase of the run: `connect`, `load`, `heal`, `drain`.
    pub phase: &'a str,
    /// Clients planned.
    pub planned: u64,
    /// Clients trying to recover or to reconnect now.
    pub away: u64,
    /// Faults injected so far.
    pub faults: u64,
    /// Violations found so far.
    pub violations: u64,
}

/// Seconds between plain lines at `t_s`: 5 in the first minute, 10 up to ten minutes, 30
/// in a soak.
pub fn plain_interval_s(t_s: f64) -> f64 {
    match t_s {
        t if t < 60.0 => 5.0,
        t if t < 600.0 => 10.0,
        _ => 30.0,
    }
}

/// One line of `key=value`s. Rates are over `seconds`; latencies and overdue deliveries are
/// those of the worst second, 0 when nothing came.
pub fn plain_line(point: &TimelinePoint, seconds: f64, now: &Now<'_>) -> String {
    let per_s = |n: u64| (n as f64 / seconds.max(1e-3)).round();
    let ms = |us: Option<u64>| us.unwrap_or(0) as f64 / 1e3;
    format!(
        "t={:.0}s phase={} clients={} away={} published/s={} delivered/s={} p50_ms={:.1} \
         p99_ms={:.1} faults={} overdue={} violations={}",
        point.t_s,
        now.phase,
        point.connected,
        now.away,
        per_s(point.published),
        per_s(point.delivered),
        ms(point.delivery_p50),
        ms(point.delivery_p99),
        now.faults,
        point.overdue,
        now.violations
    )
}

/// The text right of the bar.
pub fn bar_text(point: &TimelinePoint, seconds: f64, now: &Now<'_>) -> String {
    let per_s = |n: u64| count((n as f64 / seconds.max(1e-3)).round() as u64);
    let latency = match (point.delivery_p50, point.delivery_p99) {
        (Some(p50), Some(p99)) => format!("p50 {} p99 {}", micros(p50), micros(p99)),
        _ => "no deliveries".into(),
    };
    let overdue = match point.overdue {
        0 => String::new(),
        n => format!(" {} overdue |", count(n)),
    };
    format!(
        "{} {}/{} up | {}/s out {}/s in | {latency} | {} faults |{overdue} {} violations",
        now.phase,
        count(point.connected),
        count(now.planned),
        per_s(point.published),
        per_s(point.delivered),
        count(now.faults),
        count(now.violations)
    )
}

/// Shows the run while it lasts.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    /// What has happened since the last plain line, and when that was.
    open: TimelinePoint,
    last_line_s: f64,
    last_tick_s: f64,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Plain,
    Quiet,
}

impl Progress {
    /// A display of a run that is expected to take `total`.
    pub fn new(mode: ProgressMode, total: Duration) -> Self {
        let shown = match mode {
            ProgressMode::Quiet => Shown::Quiet,
            ProgressMode::Plain => Shown::Plain,
            ProgressMode::Bar => {
                let target = ProgressDrawTarget::stderr();
                let bar = ProgressBar::with_draw_target(Some(total.as_secs().max(1)), target);
                // The template is a constant that a test parses.
                bar.set_style(style().expect("the bar's template is valid"));
                Shown::Bar(bar)
            }
        };
        Progress {
            shown,
            open: TimelinePoint::default(),
            last_line_s: 0.0,
            last_tick_s: 0.0,
        }
    }

    /// Shows the second that `point` describes.
    pub fn tick(&mut self, point: &TimelinePoint, now: &Now<'_>) {
        self.open.join(point);
        match &self.shown {
            Shown::Quiet => {}
            Shown::Bar(bar) => {
                let seconds = point.t_s - self.last_tick_s;
                bar.set_position(point.t_s as u64);
                bar.set_message(bar_text(point, seconds, now));
            }
            Shown::Plain => {
                let since = point.t_s - self.last_line_s;
                // Half a second of tolerance: ticks come a little early or late.
                if since + 0.5 >= plain_interval_s(point.t_s) {
                    eprintln!("{}", plain_line(&self.open, since, now));
                    self.open = TimelinePoint::default();
                    self.last_line_s = point.t_s;
                }
            }
        }
        self.last_tick_s = point.t_s;
    }

    /// Prints something that happened (a fault, a phase, a log line) at once.
    pub fn event(&self, text: &str) {
        match &self.shown {
            Shown::Quiet => {}
            Shown::Plain => eprintln!("{text}"),
            Shown::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
        }
    }

    /// Takes the bar away; the summary follows.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    ProgressStyle::with_template("{elapsed:>4} {bar:16} {msg}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: TimelinePoint = TimelinePoint {
        as_of_s: 3.0,
        t_s: 35.0,
        connected: 9000,
        published: 45_000,
        delivered: 450_000,
        delivery_p50: Some(1_240),
        delivery_p99: Some(12_300),
        violations: 0,
        overdue: 0,
        chaos: 3,
        rss_bytes: 41_000_000,
        verifier_bytes: 2_000_000,
        cpu_s: 0.0,
    };

    #[test]
    fn a_plain_line_is_read_by_people_and_by_scripts() {
        let now = Now {
            phase: "load",
            planned: 9010,
            away: 10,
            faults: 31,
            violations: 0,
        };
        assert_eq!(
            plain_line(&POINT, 5.0, &now),
            "t=35s phase=load clients=9000 away=10 published/s=9000 delivered/s=90000 \
             p50_ms=1.2 p99_ms=12.3 faults=31 overdue=0 violations=0"
        );
        assert_eq!(
            bar_text(&POINT, 5.0, &now),
            "load 9,000/9,010 up | 9,000/s out 90,000/s in | p50 1.24 ms p99 12.3 ms | \
             31 faults | 0 violations"
        );
        // What is overdue may be a loss: nobody should have to wait for the end of a soak.
        let late = TimelinePoint {
            overdue: 1234,
            ..POINT
        };
        assert!(plain_line(&late, 5.0, &now).ends_with(" overdue=1234 violations=0"));
        assert!(bar_text(&late, 5.0, &now).ends_with("31 faults | 1,234 overdue | 0 violations"));
    }

    #[test]
    fn a_soak_of_days_does_not_fill_its_log() {
        let mut lines = 0.0;
        let mut t = 0.0;
        while t < 86_400.0 {
            t += plain_interval_s(t);
            lines += 1.0;
        }
        assert_eq!(plain_interval_s(0.0), 5.0);
        assert!(lines < 3000.0, "{lines}");
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(style().is_ok());
    }
}
