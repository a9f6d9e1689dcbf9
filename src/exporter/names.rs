//! Every metric's name, type, labels and help: the one table. The exporter makes its
//! families from it, the dashboards are tested against it.
//!
//! Source: contract 4; what is added stands behind it. Label values come from the scenario
//! or from closed sets in the program, never from a connection.

use prometheus::proto::MetricType;

/// One metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// The labels every sample carries.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric {
                name: $name,
                kind: MetricType::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All metrics, in the order of this table.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    CONNECTIONS: GAUGE "hubstorm_connections" ["pool", "state"] "Simulated clients by connection state.";
    CONNECTS: COUNTER "hubstorm_connects_total" ["pool", "outcome"] "Attempts at a new connection, by outcome.";
    DIALS: COUNTER "hubstorm_dials_total" ["pool", "purpose"] "Dials that reached for the target, for a new connection or to recover a session.";
    DISCONNECTS: COUNTER "hubstorm_disconnects_total" ["pool", "cause"] "Transports that ended, by who ended them.";
    RECOVERIES: COUNTER "hubstorm_recoveries_total" ["pool", "outcome"] "Sessions recovered or given up.";
    RECONNECTS: COUNTER "hubstorm_reconnects_total" ["pool"] "New connections after a lost one.";
    REJOINS: COUNTER "hubstorm_rejoins_total" ["pool", "outcome"] "Groups joined again after a reconnect, by outcome.";
    PUBLISHES: COUNTER "hubstorm_publishes_total" ["pool", "outcome"] "Publishes settled, by outcome.";
    DELIVERIES: COUNTER "hubstorm_deliveries_total" ["pool"] "Fresh data messages received.";
    DELIVERED_BYTES: COUNTER "hubstorm_delivered_bytes_total" ["pool"] "Payload bytes of fresh data messages received.";
    DELIVERY_LATENCY: HISTOGRAM "hubstorm_delivery_latency_seconds" ["pool"] "From the intended time of a publish to its delivery.";
    ACK_LATENCY: HISTOGRAM "hubstorm_ack_latency_seconds" ["pool"] "From the intended time of a publish to its successful answer.";
    CONNECT_LATENCY: HISTOGRAM "hubstorm_connect_latency_seconds" ["pool"] "From the start of a dial to the connected frame.";
    RECOVERY_DURATION: HISTOGRAM "hubstorm_recovery_duration_seconds" ["pool"] "From the loss of a transport to the first frame after its recovery.";
    VIOLATIONS: COUNTER "hubstorm_violations_total" ["kind"] "What a correct hub never does, by kind.";
    PERMITTED: COUNTER "hubstorm_permitted_total" ["kind"] "Losses and repetitions that the protocol permits, by reason.";
    CHAOS_INJECTIONS: COUNTER "hubstorm_chaos_injections_total" ["kind"] "Faults injected, one for each client hit, by kind.";
    OUTSTANDING_PUBLISHES: GAUGE "hubstorm_outstanding_publishes" ["pool"] "Publishes without an outcome yet.";
    SCHEDULE_LAG: HISTOGRAM "hubstorm_schedule_lag_seconds" [] "How late scheduled work was taken up after its intended time.";
    BUILD_INFO: GAUGE "hubstorm_build_info" ["version"] "Always 1; names the build.";
    RUN_INFO: GAUGE "hubstorm_run_info" ["run_id", "scenario", "seed"] "Always 1; names the run.";
    // Beside the contract.
    REPLY_LATENCY: HISTOGRAM "hubstorm_reply_latency_seconds" ["pool"] "From the intended time of an event to its reply.";
    JOINS: COUNTER "hubstorm_joins_total" ["pool", "outcome"] "Groups joined for the first time or after a leave, by outcome; what is refused makes no member, to whom nothing is owed.";
    CLIENTS_PLANNED: GAUGE "hubstorm_clients_planned" ["pool"] "Clients the scenario asks for.";
    RECONNECT_DURATION: HISTOGRAM "hubstorm_reconnect_duration_seconds" ["pool"] "From the loss of a transport to the last rejoin on a new connection.";
    PUBLISHES_ATTEMPTED: COUNTER "hubstorm_publishes_attempted_total" ["pool"] "Intended sends that came due and were taken up.";
    PUBLISH_RETRIES: COUNTER "hubstorm_publish_retries_total" ["pool"] "Transmissions of a publish after its first.";
    DUPLICATE_ACKS: COUNTER "hubstorm_duplicate_acks_total" ["pool"] "Publishes answered Duplicate after a retransmission.";
    REPLAYS: COUNTER "hubstorm_replays_total" ["pool"] "Replayed data messages dropped by their sequence id.";
    BAD_FRAMES: COUNTER "hubstorm_bad_frames_total" ["pool"] "Frames from the hub that could not be read.";
    UNKNOWN: COUNTER "hubstorm_unknown_total" ["kind"] "Sightings that can be proved neither way, by kind.";
    DELIVERY_PAIRS: GAUGE "hubstorm_delivery_pairs" ["pool", "state"] "The delivery ledger by the receiver's pool, in (message, receiver) pairs; appears when the run is over.";
    OVERDUE: GAUGE "hubstorm_overdue_deliveries" [] "Owed deliveries that have not come more than a second after they were due; lost if they never do, which is judged when the run is over.";
    LATE: COUNTER "hubstorm_late_deliveries_total" [] "Deliveries later after their intended time than the limit; measured, not judged.";
    ORDER_COMPARED: COUNTER "hubstorm_order_pairs_compared_total" ["across"] "Pairs of messages whose order was compared, on samples: across the publishers of a group, across the groups of a publisher.";
    ORDER_INVERSIONS: COUNTER "hubstorm_order_inversions_total" ["across"] "Of the pairs compared, those in different orders; nobody promises one.";
    ORDER_NOTES: COUNTER "hubstorm_order_notes_total" ["outcome"] "Deliveries to the witnesses of the samples: noted, or without room.";
    UNSURE_PUBLISHES: GAUGE "hubstorm_unsure_publishes" ["outcome", "reached"] "Publishes of unknown outcome, or without one asked for, by how many of those they would be owed to they reached; appears when the run is over.";
    GROUP_PUBLISHES: GAUGE "hubstorm_group_publishes" ["group", "outcome"] "Publishes by group and outcome, the first 100 groups and the rest; appears when the run is over.";
    GROUP_PAIRS: GAUGE "hubstorm_group_delivery_pairs" ["group", "state"] "The delivery ledger by group, the first 100 groups and the rest; appears when the run is over.";
    GENERATOR_SATURATED: GAUGE "hubstorm_generator_saturated" [] "1 while the generator itself is the bottleneck.";
    GENERATOR_CPU_CORES: GAUGE "hubstorm_generator_cpu_cores" [] "Cores used over the last second.";
    GENERATOR_CORES_ALLOWED: GAUGE "hubstorm_generator_allowed_cores" [] "Cores this process may use.";
    GENERATOR_RUN_DELAY: COUNTER "hubstorm_generator_run_delay_seconds_total" [] "Time that threads waited for a core, over all threads.";
    GENERATOR_THREAD_CPU: COUNTER "hubstorm_generator_thread_cpu_seconds_total" ["thread"] "CPU time by thread name, the busiest threads.";
    GENERATOR_BUSIEST: GAUGE "hubstorm_generator_busiest_thread_cores" [] "Cores that the busiest thread used over the last second; 1 is its limit.";
    GENERATOR_RETRANSMITS: COUNTER "hubstorm_generator_tcp_retransmits_total" [] "TCP segments that this machine sent again, all processes.";
    READS: COUNTER "hubstorm_generator_reads_total" [] "Reads from sockets that brought something.";
    READ_BYTES: COUNTER "hubstorm_generator_read_bytes_total" [] "Bytes read from sockets.";
    READS_FULL: COUNTER "hubstorm_generator_reads_full_total" [] "Reads that filled the read buffer.";
    READ_PEAK: GAUGE "hubstorm_generator_read_peak_bytes" [] "The most that one read from a socket brought.";
    WRITES_HELD: COUNTER "hubstorm_generator_writes_held_total" [] "Turns of a client that ended at its bound of unsent bytes: the hub reads too slowly.";
    UNSENT_PEAK: GAUGE "hubstorm_generator_unsent_peak_bytes" [] "The most bytes that waited to be written to one socket.";
    LOOP_LAG: HISTOGRAM "hubstorm_loop_lag_seconds" [] "How much later than asked a short sleep on an arbiter ended.";
    LATENCIES_CLIPPED: COUNTER "hubstorm_latencies_clipped_total" [] "Latencies over one hour, recorded as one hour.";
    EVENTS_DROPPED: COUNTER "hubstorm_events_dropped_total" [] "Lines that did not fit into events.jsonl.";
    SCRAPES_REFUSED: COUNTER "hubstorm_scrapes_refused_total" [] "Connections to the metrics endpoint turned away at its limit.";
    PROCESS_CPU: COUNTER "process_cpu_seconds_total" [] "CPU time used, user and system.";
    PROCESS_RESIDENT: GAUGE "process_resident_memory_bytes" [] "Resident memory.";
    PROCESS_VIRTUAL: GAUGE "process_virtual_memory_bytes" [] "Virtual memory.";
    PROCESS_FDS: GAUGE "process_open_fds" [] "Open file descriptors.";
    PROCESS_FDS_MAX: GAUGE "process_max_fds" [] "The limit of open file descriptors.";
    PROCESS_THREADS: GAUGE "process_threads" [] "Threads.";
    PROCESS_START: GAUGE "process_start_time_seconds" [] "Start time since the Unix epoch.";
}

/// What appears when the run is over: before, it is not known, and no number would be true.
pub const AT_THE_END: [Metric; 4] = [
    DELIVERY_PAIRS,
    UNSURE_PUBLISHES,
    GROUP_PUBLISHES,
    GROUP_PAIRS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_that_dashboards_rely_on() {
        for metric in ALL {
            let Metric {
                name,
                kind,
                labels,
                help,
            } = *metric;
            assert!(
                name.starts_with("hubstorm_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                kind == MetricType::COUNTER,
                name.ends_with("_total"),
                "{name}"
            );
            assert!(
                kind != MetricType::HISTOGRAM || name.ends_with("_seconds"),
                "{name}"
            );
            assert!(labels.len() <= 3 && help.ends_with('.'), "{name}");
            assert_eq!(
                ALL.iter().filter(|other| other.name == name).count(),
                1,
                "{name}"
            );
        }
    }
}
