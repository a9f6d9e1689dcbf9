//! The log on stderr: how much of it, and of whom.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::args::LogLevel;

/// Starts logging to stderr at `level`; `RUST_LOG` is not read, so that a run does what its
/// flags say. `HUBSTORM_LOG_PAYLOADS` shows payloads, `HUBSTORM_LOG_CLIENT=SLOT` of all
/// clients one.
pub(super) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What clients send is the user's own: it is logged only when asked for by this name.
    let payloads = match std::env::var_os("HUBSTORM_LOG_PAYLOADS") {
        Some(_) => level,
        None => LevelFilter::OFF,
    };
    let targets = Targets::new()
        .with_target("hubstorm", level)
        .with_target("frame_payloads", payloads);
    let client = std::env::var("HUBSTORM_LOG_CLIENT").ok();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter(OneClient(client));
    // Only a second start in one process could fail, and then logging is on.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(layer)
        .try_init();
}

/// Lets through what is about one client, or about none; everything without a name.
struct OneClient(Option<String>);

impl<S: Subscriber> Filter<S> for OneClient {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let Some(wanted) = &self.0 else { return true };
        let mut about = About {
            wanted,
            another: false,
        };
        event.record(&mut about);
        !about.another
    }
}

/// Whether an event is about another client.
struct About<'a> {
    wanted: &'a str,
    another: bool,
}

impl Visit for About<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "slot" | "client") {
            self.another |= format!("{value:?}") != self.wanted;
        }
    }
}
