//! `hubstorm explain`: what a scenario would take, without running it.
//!
//! Arithmetic over the plan: faults, retries and replays are not in it. What the service
//! charges is not either; prices change, units and billed messages do not.

use std::io::{self, Write};
use std::time::Duration;

use crate::base::Slot;
use crate::base::units::format_duration;
use crate::generator::Forecast;
use crate::load::{OfferedAt, offered, offered_at, visit};
use crate::scenario::Scenario;

/// Rows of the table over time.
const ROWS: u32 = 12;
/// Points at which the load is added up.
const POINTS: u32 = 2000;
/// Connections that one unit takes. Source: protocol 9.
const UNIT_CONNECTIONS: u64 = 1000;
/// Bytes a second that one unit sends. Source: protocol 9, about 6 MB/s.
const UNIT_BYTES_PER_S: f64 = 6e6;
/// Outbound bytes that are billed as one message. Source: protocol 9.
const BILLED_BYTES: f64 = 2048.0;
/// What a delivery has around its payload, roughly: JSON keys, ids, a short group name.
const ENVELOPE_BYTES: f64 = 120.0;

/// Writes what `scenario` would take.
///
/// # Errors
/// `out` cannot be written.
pub fn explain(scenario: &Scenario, out: &mut dyn Write) -> io::Result<()> {
    let visits = visits(scenario);
    writeln!(
        out,
        "{}: {} of load",
        scenario.name,
        format_duration(scenario.duration)
    )?;
    writeln!(
        out,
        "\n        time  connected   msg/s in  msg/s out    MB/s in   MB/s out"
    )?;
    for row in 0..ROWS {
        let at = scenario.duration * row / ROWS;
        let offered = offered_at(scenario, at);
        writeln!(
            out,
            "{:>12}  {:>9}  {:>9.1}  {:>9.1}  {:>9.3}  {:>9.3}",
            format_duration(Duration::from_millis(at.as_millis() as u64)),
            connected(scenario, &visits, at),
            offered.publishes_per_s,
            offered.deliveries_per_s,
            offered.bytes_in_per_s / 1e6,
            offered.bytes_out_per_s / 1e6,
        )?;
    }
    let sum = Sum::of(scenario, &visits);
    let closed = offered(scenario).closed_loops;
    writeln!(
        out,
        "\n  in all       {} messages in, {} out, {:.1} MB out with envelopes",
        offered(scenario).publishes_total,
        sum.deliveries.round(),
        sum.wire_bytes / 1e6
    )?;
    let by_connections = sum.connected.div_ceil(UNIT_CONNECTIONS).max(1);
    let by_bytes = (sum.peak_bytes_per_s / UNIT_BYTES_PER_S).ceil().max(1.0) as u64;
    writeln!(
        out,
        "  service      {} (peak of {} connections needs {by_connections}, of {:.2} MB/s out {by_bytes})",
        units(by_connections.max(by_bytes)),
        sum.connected,
        sum.peak_bytes_per_s / 1e6
    )?;
    writeln!(
        out,
        "  billed       {} messages of 2 KB outbound",
        (sum.wire_bytes / BILLED_BYTES).ceil()
    )?;
    here(scenario, out)?;
    writeln!(out, "  left out     faults, retries and replays")?;
    if closed > 0 {
        writeln!(
            out,
            "               {closed} pools in a closed loop: the hub decides how much they send"
        )?;
    }
    Ok(())
}

/// What this machine would be asked for, by the same forecast that `run` prints.
fn here(scenario: &Scenario, out: &mut dyn Write) -> io::Result<()> {
    let forecast = Forecast::of(scenario);
    writeln!(
        out,
        "  here         {} open files, about {} MiB of memory; the verifier may take up to {} MiB",
        forecast.fds,
        forecast.memory_bytes >> 20,
        scenario.verify_memory >> 20
    )?;
    if offered(scenario).closed_loops > 0 {
        return writeln!(
            out,
            "  CPU here     not foretold: the hub decides how much is sent"
        );
    }
    writeln!(
        out,
        "  CPU here     about {:.1} s in all, at the most {:.2} cores",
        forecast.cpu_s, forecast.peak_cores
    )
}

fn units(n: u64) -> String {
    format!("{n} unit{}", if n == 1 { "" } else { "s" })
}

/// When each visitor comes and goes.
fn visits(scenario: &Scenario) -> Vec<(Duration, Duration)> {
    let pools = scenario.pools.iter();
    let slots = pools.flat_map(|pool| pool.slots().map(move |slot| (pool, Slot(slot))));
    slots
        .filter_map(|(pool, slot)| visit(scenario.seed, slot, pool))
        .map(|visit| (visit.comes, visit.goes))
        .collect()
}

fn connected(scenario: &Scenario, visits: &[(Duration, Duration)], at: Duration) -> u64 {
    let there = |(comes, goes): &&(Duration, Duration)| *comes <= at && at < *goes;
    u64::from(scenario.residents()) + visits.iter().filter(there).count() as u64
}

/// Over the whole load.
#[derive(Default)]
struct Sum {
    deliveries: f64,
    wire_bytes: f64,
    peak_bytes_per_s: f64,
    connected: u64,
}

impl Sum {
    fn of(scenario: &Scenario, visits: &[(Duration, Duration)]) -> Self {
        let mut sum = Sum::default();
        let step = scenario.duration / POINTS;
        for point in 0..POINTS {
            let at = step * point + step / 2;
            let OfferedAt {
                deliveries_per_s,
                bytes_out_per_s,
                ..
            } = offered_at(scenario, at);
            let wire = bytes_out_per_s + deliveries_per_s * ENVELOPE_BYTES;
            sum.deliveries += deliveries_per_s * step.as_secs_f64();
            sum.wire_bytes += wire * step.as_secs_f64();
            sum.peak_bytes_per_s = sum.peak_bytes_per_s.max(wire);
        }
        for point in 0..ROWS * 10 {
            let at = scenario.duration * point / (ROWS * 10);
            sum.connected = sum.connected.max(connected(scenario, visits, at));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    #[test]
    fn units_and_bill_are_those_of_the_published_example() {
        // 30 messages a second of 2 KiB to 100 of 1,500 connections.
        let text = "{name: big, seed: 1, duration: 100s, pools: {all: {clients: 100, groups: {names: [g]}}, more: {clients: 1400}, in: {clients: 1, publish: {rate: 30/s, to: g, payload: {size: 2KiB}}}}}";
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let mut out = Vec::new();
        explain(&scenario, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains("3000 messages in, 300000 out"), "{told}");
        assert!(
            told.contains("2 units (peak of 1501 connections needs 2, of 6.50 MB/s out 2)"),
            "{told}"
        );
        // 300,000 deliveries of 2,168 bytes.
        assert!(told.contains("317579 messages of 2 KB"), "{told}");
        // Each second 3,000 deliveries with 0.71 receipts each and the embedded hub's part,
        // 20.4 us together; 24 ms for 30 publishes, the idle clients and the process. 50 us
        // for a connect. 15.4 MiB and 19.5 KiB for each client.
        assert!(told.contains("about 44 MiB of memory"), "{told}");
        assert!(
            told.contains("about 8.6 s in all, at the most 0.09 cores"),
            "{told}"
        );
    }

    #[test]
    fn visitors_and_pauses_show_over_time() {
        let text = "{name: v, seed: 1, duration: 60s, pools: {v: {sessions: {arrive: 1/s, stay: 10s}, groups: {count: 1}, publish: {rate: 1/s, profile: {pause: {at: 30s, for: 10s}}}}}}";
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None).unwrap();
        let visits = visits(&scenario);
        assert_eq!(
            connected(&scenario, &visits, Duration::from_millis(20_500)),
            10
        );
        assert_eq!(
            connected(&scenario, &visits, Duration::from_millis(2500)),
            3
        );
        let mut out = Vec::new();
        explain(&scenario, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        let line = told
            .lines()
            .find(|line| line.trim_start().starts_with("35s"));
        assert!(line.unwrap().contains("  0.0  "), "{told}");
    }
}
