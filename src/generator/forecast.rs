//! What a run will take of this machine, from the scenario alone.
//!
//! The prices are those of `docs/performance.md`, which says of each whether it was measured
//! with `bench-self` on loopback or estimated from such figures; a run compares them with what happened, so that a reader sees how far to trust them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fds::needed_fds;
use crate::load::{offered, offered_at};
use crate::scenario::{Mode, Scenario, TargetSpec};

/// CPU time of the clients' side per delivery: read, parsed, verified, its share of the
/// receipts and publishes, µs.
const DELIVERY_US: f64 = 11.0;
/// The same at one arbiter's limit, where a read brings many frames, µs.
const DELIVERY_BUSY_US: f64 = 4.5;
/// Deliveries a second above which reads bring more than one frame.
const BUSY_FROM: f64 = 60_000.0;
/// CPU time of a publish: schedule, stamp, write, answer, µs.
const PUBLISH_US: f64 = 18.0;
/// CPU time of a connect with its joins, µs.
const CONNECT_US: f64 = 150.0;
/// What the embedded hub adds to each delivery, µs.
const HUB_DELIVERY_US: f64 = 6.0;
/// Memory of a process without clients, bytes.
const BASE_BYTES: u64 = 14 << 20;
/// Memory of a joined client, bytes.
const CLIENT_BYTES: u64 = 2_600;
/// What the verifier holds for a member and, once there is traffic, for its recorder, bytes.
const VERIFIED_BYTES: u64 = 7_600;
/// What TLS adds to a client, bytes.
const TLS_BYTES: u64 = 8_400;
/// What the embedded hub holds for a client, bytes.
const HUB_CLIENT_BYTES: u64 = 3_200;
/// Points at which the load is added up.
const POINTS: u32 = 500;

/// What is expected of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Deliveries owed in sum; 0 when the hub decides (a closed loop).
    pub deliveries: u64,
    /// CPU time of this process, s; 0 when the hub decides.
    pub cpu_s: f64,
    /// The most cores in use at once on average, threads that drive clients and the
    /// embedded hub together.
    pub peak_cores: f64,
    /// Resident memory at the most, bytes.
    pub memory_bytes: u64,
    /// Open files at the most.
    pub fds: u64,
}

impl Forecast {
    /// What `scenario` will take. Faults, retries and replays are not in it.
    pub fn of(scenario: &Scenario) -> Self {
        let embedded = matches!(scenario.target, TargetSpec::Embedded { .. });
        let sum = offered(scenario);
        let step = scenario.duration / POINTS;
        let (mut deliveries, mut cpu_us, mut peak_cores) = (0.0, 0.0, 0.0_f64);
        for point in 0..POINTS {
            let at = offered_at(scenario, step * point + step / 2);
            let each =
                delivery_us(at.deliveries_per_s) + if embedded { HUB_DELIVERY_US } else { 0.0 };
            let us_per_s = at.deliveries_per_s * each + at.publishes_per_s * PUBLISH_US;
            deliveries += at.deliveries_per_s * step.as_secs_f64();
            cpu_us += us_per_s * step.as_secs_f64();
            peak_cores = peak_cores.max(us_per_s / 1e6);
        }
        let clients = u64::from(scenario.connections());
        cpu_us += clients as f64 * CONNECT_US;
        let known = sum.closed_loops == 0;
        Forecast {
            deliveries: if known { deliveries.round() as u64 } else { 0 },
            cpu_s: if known { cpu_us / 1e6 } else { 0.0 },
            peak_cores,
            memory_bytes: needed_memory(scenario),
            fds: needed_fds(scenario),
        }
    }
}

/// A read of a busy socket brings several frames, which makes each cheaper.
fn delivery_us(per_second: f64) -> f64 {
    let busy = (per_second / BUSY_FROM).min(1.0);
    DELIVERY_US + (DELIVERY_BUSY_US - DELIVERY_US) * busy
}

/// Resident memory that a run of `scenario` needs, bytes: the one model, by which the room
/// on this box is judged too. The kernel's memory for sockets comes on top.
pub fn needed_memory(scenario: &Scenario) -> u64 {
    let mut each = CLIENT_BYTES;
    if scenario.duration > Duration::ZERO && scenario.mode != Mode::Counts {
        each += VERIFIED_BYTES;
    }
    match &scenario.target {
        TargetSpec::Embedded { .. } => each += HUB_CLIENT_BYTES,
        TargetSpec::Endpoint { url, .. } if url.starts_with("http:") || url.starts_with("ws:") => {}
        // The service is reached over TLS.
        _ => each += TLS_BYTES,
    }
    BASE_BYTES + u64::from(scenario.connections()) * each
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    fn forecast(text: &str) -> Forecast {
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        Forecast::of(&scenario)
    }

    /// A forecast that does not follow the scenario would be compared with nothing.
    #[test]
    fn twice_the_clients_take_twice_the_cpu_time_and_memory() {
        let text = |clients: u32| {
            format!(
                "{{name: f, seed: 1, duration: 100s, pools: {{a: {{clients: {clients}, groups: \
                 {{count: {}, join: 1}}, publish: {{rate: 1/s}}}}}}}}",
                clients / 10
            )
        };
        let (one, two) = (forecast(&text(1000)), forecast(&text(2000)));
        assert_eq!((one.deliveries, two.deliveries), (1_000_000, 2_000_000));
        let ratio = two.cpu_s / one.cpu_s;
        assert!((1.5..=2.0).contains(&ratio), "{one:?} {two:?}");
        assert!(two.fds > one.fds && two.memory_bytes > one.memory_bytes);
    }

    /// TLS sessions are most of a client's memory: a box sized without them runs out.
    #[test]
    fn tls_is_in_the_memory_and_the_embedded_hub_has_none() {
        let of = |target: &str| {
            let text = format!("{{seed: 1, {target} pools: {{a: {{clients: 1000}}}}}}");
            forecast(&text).memory_bytes
        };
        let plain = of("target: {endpoint: 'http://h', access_key: k},");
        let tls = of("target: {endpoint: 'https://h', access_key: k},");
        assert_eq!(tls - plain, 1000 * TLS_BYTES);
        assert_eq!(of("") - plain, 1000 * HUB_CLIENT_BYTES);
    }

    /// In a closed loop the hub decides how much comes: a number would be made up.
    #[test]
    fn a_closed_loop_is_not_foretold() {
        let text = "{name: c, seed: 1, duration: 10s, pools: {a: {clients: 2, groups: {names: [g]}, publish: {next: after_ack, pause: 1ms}}}}";
        let forecast = forecast(text);
        assert_eq!((forecast.deliveries, forecast.cpu_s), (0, 0.0));
        assert!(forecast.memory_bytes > BASE_BYTES);
    }
}
