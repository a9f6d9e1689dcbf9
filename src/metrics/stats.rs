//! Plain counters per pool, counted by the clients of one arbiter, merged by addition.

use super::latency::{self, Latencies, LatencyHistogram, LatencyKind};
use crate::base::{ReadCounts, Time};
use crate::scenario::ChaosKind;

/// Declares a struct of `u64` counters that can be added up.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize,
        )]
        #[serde(default)]
        pub struct $name {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            /// Adds the counters of another part.
            pub fn merge(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }
        }
    };
}

counters! {
    /// How many clients are in which state now (gauges).
    Connections {
        /// Not started yet, or between attempts to reconnect.
        disconnected,
        /// Dialling a new connection, or waiting for its `connected` frame.
        connecting,
        /// Up.
        connected,
        /// Lost the transport, trying to recover the session.
        recovering,
        /// Stopped on purpose, or given up.
        stopped,
    }
}

counters! {
    /// Life of connections.
    ClientCounts {
        /// Dials for a new connection that reached for the target: an injected failure that
        /// keeps a dial from leaving is none.
        connect_dials,
        /// New connections that came up.
        connects,
        /// Attempts at a new connection that failed.
        connect_failures,
        /// Transports that ended after they had been up, for whatever reason but a stop.
        disconnects,
        /// Of these: torn by this harness, on purpose.
        disconnects_injected,
        /// Of these: ended by the hub or the network.
        disconnects_hub,
        /// Of these: ended by this harness for reasons of its own (idle timeout, overflow).
        disconnects_harness,
        /// Dials to recover a session that reached for the target. The hub may have granted
        /// one whose socket died before a frame told the client so.
        recovery_dials,
        /// Sessions recovered: the transport opened and a frame came.
        recoveries,
        /// Sessions given up: refused with 1008, or 30 s over.
        recovery_failures,
        /// New connections after a lost one.
        reconnects,
        /// Groups joined: first joins, and returns after a leave.
        joins,
        /// Of these requests: refused, so that the client is no member.
        join_failures,
        /// Groups joined again after a reconnect.
        rejoins,
        /// Groups whose rejoin was refused or not answered.
        rejoin_failures,
        /// Leaves asked for, by churn and by visitors on their way out.
        leaves,
        /// Frames from the hub that could not be read.
        bad_frames,
    }
}

counters! {
    /// Publishes: `attempted = acked + failed + unknown + unacked + in flight`.
    PublishCounts {
        /// Intended sends that came due and were taken up.
        attempted,
        /// Answered with success, or `Duplicate` on a retransmission.
        acked,
        /// `Duplicate` answers among them.
        duplicate_acks,
        /// Definitely not executed: refused, or never handed to a socket.
        failed,
        /// May have been executed or not.
        unknown,
        /// Sent without an ackId, so nobody knows.
        unacked,
        /// Transmissions after the first.
        retries,
        /// Of `failed`: turned away because too many were in flight on that client.
        overflow,
    }
}

counters! {
    /// What arrived.
    DeliveryCounts {
        /// Fresh data messages.
        messages,
        /// Replays, dropped by sequence id.
        replays,
        /// Payload bytes of fresh data messages.
        bytes,
    }
}

/// Everything counted for the clients of one pool.
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    /// States now.
    pub connections: Connections,
    /// Life of connections.
    pub clients: ClientCounts,
    /// Publishes.
    pub publish: PublishCounts,
    /// Publishes that have no outcome yet (gauge).
    pub outstanding: u64,
    /// Deliveries.
    pub delivery: DeliveryCounts,
    /// Latencies.
    pub latency: Latencies,
}

impl PoolStats {
    /// Adds another part of the same pool.
    pub fn merge(&mut self, other: &PoolStats) {
        self.connections.merge(&other.connections);
        self.clients.merge(&other.clients);
        self.publish.merge(&other.publish);
        self.outstanding += other.outstanding;
        self.delivery.merge(&other.delivery);
        self.latency.merge(&other.latency);
    }
}

/// The numbers of one arbiter, or of a whole run, at one moment: totals since the start.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By pool, in the scenario's order.
    pub pools: Vec<PoolStats>,
    /// Injected faults by kind, in the order of [`ChaosKind::ALL`]; one per client hit.
    pub chaos: [u64; ChaosKind::ALL.len()],
    /// How late the schedule's work was taken up after its intended time, µs.
    pub schedule_lag: Option<LatencyHistogram>,
    /// How much later than asked a short sleep on an arbiter ended, µs: the arbiter's own
    /// slowness.
    pub loop_lag: Option<LatencyHistogram>,
    /// What reading from sockets brought.
    pub reads: ReadCounts,
    /// When these numbers were read; of merged ones the latest.
    pub taken: Time,
    /// Turns of a client that ended at its bound of unsent bytes: what it wants to send
    /// waits in its session.
    pub writes_held: u64,
    /// The most bytes that waited to be written to one socket.
    pub unsent_peak_bytes: u64,
}

impl Snapshot {
    /// An empty one for `pools` pools.
    pub fn new(pools: usize) -> Self {
        Snapshot {
            pools: vec![PoolStats::default(); pools],
            ..Snapshot::default()
        }
    }

    /// Adds another arbiter's numbers.
    pub fn merge(&mut self, other: &Snapshot) {
        for (mine, theirs) in self.pools.iter_mut().zip(&other.pools) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.chaos.iter_mut().zip(&other.chaos) {
            *mine += theirs;
        }
        self.reads.merge(&other.reads);
        self.taken = self.taken.max(other.taken);
        self.writes_held += other.writes_held;
        self.unsent_peak_bytes = self.unsent_peak_bytes.max(other.unsent_peak_bytes);
        latency::merge(&mut self.schedule_lag, other.schedule_lag.as_ref());
        latency::merge(&mut self.loop_lag, other.loop_lag.as_ref());
    }

    /// The states of all pools' connections.
    pub fn connections(&self) -> Connections {
        let mut all = Connections::default();
        (self.pools.iter()).for_each(|pool| all.merge(&pool.connections));
        all
    }

    /// The latencies of one kind of all pools together, if anything was recorded.
    pub fn latency(&self, kind: LatencyKind) -> Option<LatencyHistogram> {
        let mut all = None;
        (self.pools.iter()).for_each(|pool| latency::merge(&mut all, pool.latency.kept(kind)));
        all
    }

    /// All pools together. With their histograms: up to 0.2 MB for each kind of latency.
    pub fn total(&self) -> PoolStats {
        let mut total = PoolStats::default();
        self.pools.iter().for_each(|pool| total.merge(pool));
        total
    }
}
