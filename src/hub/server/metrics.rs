//! The hub's own numbers for Prometheus: counters of the truth, gauges of the core.
//!
//! Written by hand: a page of numbers that already exist needs no registry. Label values
//! come from fixed lists, never from connections.

use std::fmt::Write as _;

use super::shell::Shell;
use crate::hub::core::Core;
use crate::hub::truth::Truth;

/// A page under way.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn many<L: std::fmt::Display>(
        &mut self,
        (name, label, help): (&str, &str, &str),
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.head(name, "counter", help);
        for (text, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}=\"{text}\"}} {value}");
        }
    }
}

/// The whole page, in the text format.
pub(super) fn page(shell: &Shell) -> String {
    let core = shell.core.borrow();
    let mut page = Page(String::with_capacity(8 * 1024));
    gauges(&mut page, shell, &core);
    counters(&mut page, core.truth());
    if let Some(upstream) = &shell.upstream {
        page.one(
            "hubstorm_hub_upstream_failures_total",
            "counter",
            "Calls to the event handler that failed, retried ones included.",
            upstream.failures(),
        );
    }
    page.0
}

fn gauges(page: &mut Page, shell: &Shell, core: &Core) {
    let load = core.load();
    for (name, help, value) in [
        (
            "connections",
            "Sessions with an open transport.",
            load.connected,
        ),
        (
            "sessions_recoverable",
            "Sessions without a transport, in their recovery window.",
            load.recoverable,
        ),
        ("groups", "Groups with a member.", load.groups),
        (
            "unacked_messages",
            "Messages that wait for a sequenceAck, of all sessions.",
            load.unacked_messages,
        ),
        (
            "unacked_bytes",
            "Bytes of these, shared ones counted for each.",
            load.unacked_bytes,
        ),
        (
            "queue_max",
            "Messages that wait for a sequenceAck in the fullest session; 1000 end it.",
            load.unacked_max,
        ),
        (
            "frames_waiting",
            "Frames that wait for their socket.",
            load.frames_waiting,
        ),
        (
            "http_connections",
            "Connections busy with HTTP or a handshake.",
            shell.handshakes.get() as u64,
        ),
    ] {
        page.one(&format!("hubstorm_hub_{name}"), "gauge", help, value);
    }
}

fn counters(page: &mut Page, truth: &Truth) {
    let requests = &truth.requests;
    page.many(
        (
            "hubstorm_hub_requests_total",
            "type",
            "Frames received, by type.",
        ),
        [
            ("joinGroup", requests.join_group),
            ("leaveGroup", requests.leave_group),
            ("sendToGroup", requests.send_to_group),
            ("event", requests.event),
            ("sequenceAck", requests.sequence_ack),
            ("ping", requests.ping),
            ("newer", requests.newer),
            ("malformed", requests.malformed),
        ],
    );
    page.many(
        (
            "hubstorm_hub_sessions_ended_total",
            "reason",
            "Sessions ended, by reason.",
        ),
        [
            ("client", truth.sessions_ended_by_client),
            ("expired", truth.sessions_expired),
            ("overflow", truth.sessions_overflowed),
            ("slow", truth.sessions_slow),
            ("violation", truth.sessions_violated),
            ("service", truth.sessions_closed_by_service),
            ("killed", truth.sessions_killed),
        ],
    );
    page.many(
        (
            "hubstorm_hub_connects_refused_total",
            "status",
            "Connect requests refused, by HTTP status.",
        ),
        truth.connections_refused.iter().map(|(&s, &n)| (s, n)),
    );
    page.many(
        (
            "hubstorm_hub_recoveries_refused_total",
            "reason",
            "Recoveries refused with close 1008, by reason.",
        ),
        truth.recoveries_refused.iter().map(|(&r, &n)| (r, n)),
    );
    page.many(
        (
            "hubstorm_hub_faults_total",
            "kind",
            "Faults committed, by kind.",
        ),
        truth.faults.iter().map(|(&kind, &n)| (kind, n)),
    );
    for (name, help, value) in [
        (
            "connects_total",
            "New sessions opened.",
            truth.connections_accepted,
        ),
        (
            "recoveries_total",
            "Recoveries accepted.",
            truth.recoveries_accepted,
        ),
        (
            "transports_dropped_total",
            "Transports lost with their session kept.",
            truth.transports_dropped,
        ),
        (
            "ping_timeouts_total",
            "Transports cut for silence.",
            truth.ping_timeouts,
        ),
        (
            "publishes_total",
            "Publishes executed.",
            truth.publishes_executed,
        ),
        (
            "deliveries_total",
            "Data messages queued to sessions.",
            truth.deliveries_numbered + truth.deliveries_unnumbered,
        ),
        (
            "deliveries_replayed_total",
            "Data messages sent again by recoveries.",
            truth.deliveries_replayed,
        ),
        (
            "deliveries_expired_total",
            "Data messages dropped when their time to live ran out.",
            truth.deliveries_expired,
        ),
        (
            "frames_sent_total",
            "WebSocket messages handed to transports.",
            truth.frames_sent,
        ),
        ("acks_sent_total", "Of these, acks.", truth.acks_sent),
        (
            "service_sends_total",
            "Sends through the service API.",
            truth.service_sends,
        ),
        (
            "service_refused_total",
            "Requests to the service API refused.",
            truth.service_refused,
        ),
        (
            "handshakes_shed_total",
            "Connections closed because too many were in their handshake.",
            truth.handshakes_shed,
        ),
        ("restarts_total", "Restarts.", truth.restarts),
    ] {
        page.one(&format!("hubstorm_hub_{name}"), "counter", help, value);
    }
}
