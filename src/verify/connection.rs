//! A receiver's connection: sequence ids (S1, S2), transports and recoveries.
//!
//! What a replayed frame must contain (S3) is decided in `frame`, which knows the pairs.

use std::hint::black_box;
use std::time::Duration;

use smallvec::SmallVec;

use super::recorder::{CONTROL_KEPT, Control, Ring};
use crate::base::{GroupId, Time};
use crate::wire::{UNACKED_BYTES_MAX, UNACKED_MESSAGES_MAX};

/// Longer than between two pings of any client (20 s): when nothing at all was read for so
/// long the way was cut, though TCP outlived it.
const SILENCE: Duration = Duration::from_secs(25);

/// One slot as a receiver.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) conn: Option<Connection>,
    /// Its memberships, sorted by group.
    pub(super) members: SmallVec<[(GroupId, u32); 2]>,
    /// Confirmed recoveries, while they may still explain a loss.
    pub(super) recoveries: Vec<Recovery>,
    /// The newest of those that are forgotten: its connection and its transport.
    pub(super) last_recovery: Option<(u16, u16)>,
    pub(super) control: Ring<(Time, Control)>,
    /// As the plan has it; here it lies with the rest that a frame needs.
    pub(super) reliable: bool,
    /// The harness stopped it before the verification was over.
    pub(super) stopped: bool,
    /// It is a witness in the present window of the samples.
    pub(super) observed: bool,
    /// What is read until then may be late by a fault of ours.
    pub(super) disturbed: Time,
}

/// The session that a connectionId names.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) epoch: u16,
    pub(super) id: Box<str>,
    pub(super) transport: u16,
    pub(super) link: Link,
    /// The highest sequence id seen.
    max: u64,
    /// The last sequence id on this transport.
    last: u64,
    /// The highest sequence id acked by us.
    acked: u64,
    /// When the last frame was read.
    pub(super) heard: Time,
    /// When something was read for the first time after a silence; when it was connected,
    /// before that.
    pub(super) resumed: Time,
    /// When the last data frame was read; when it was connected, before the first.
    pub(super) data_at: Time,
    /// Since when a data frame waits for our sequence ack.
    unacked_since: Option<Time>,
    /// Our sequence ack was late, and by how much, when the transport was lost.
    pub(super) ack_lag: Duration,
    /// Messages sent to its groups, as known when the transport was lost.
    pub(super) sent_before: u64,
    /// Data frames and their bytes, for the mean size.
    frames: u64,
    bytes: u64,
    /// When the present outage began, and with which close code.
    pub(super) lost_at: Time,
    pub(super) lost_code: Option<u16>,
    /// The last recovery attempt was refused, and when.
    pub(super) refused: Option<Time>,
}

/// The state of a connection's transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Up,
    Lost,
    /// A recovery's WebSocket is open; the hub may still refuse it.
    Opened,
}

/// One confirmed recovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub(super) epoch: u16,
    pub(super) transport: u16,
    pub(super) lost_at: Time,
    pub(super) confirmed_at: Time,
    /// About how many messages the hub had to hold for it.
    pub(super) held: u64,
}

/// What a sequence id says about its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    /// Above all before it; `missing` ids were skipped just before.
    Fresh { missing: u64 },
    /// Sent again after a recovery: rising on this transport, not above all before.
    Replay,
    /// Not rising on this transport: S1 is broken.
    Stale,
}

impl Receiver {
    pub(super) fn new(reliable: bool) -> Self {
        Receiver {
            reliable,
            conn: None,
            members: SmallVec::new(),
            recoveries: Vec::new(),
            last_recovery: None,
            control: Ring::new(CONTROL_KEPT),
            stopped: false,
            observed: false,
            disturbed: Time::ZERO,
        }
    }

    pub(super) fn touch(&self) {
        let conn = self.conn.as_ref();
        black_box((
            self.stopped,
            conn.map(|conn| (conn.epoch, conn.max, conn.heard, conn.bytes, conn.lost_at)),
        ));
    }

    pub(super) fn member(&self, group: GroupId) -> Option<u32> {
        match self.members.as_slice() {
            [(only, member)] => (*only == group).then_some(*member),
            members => members
                .binary_search_by_key(&group, |(group, _)| *group)
                .ok()
                .map(|at| members[at].1),
        }
    }

    /// Forgets recoveries from losses older than this, but for which was the last.
    pub(super) fn forget_recoveries(&mut self, now: Time, age: Duration) {
        let last = &mut self.last_recovery;
        self.recoveries.retain(|recovery| {
            let young = now.since(recovery.lost_at) < age;
            if !young {
                *last = Some((recovery.epoch, recovery.transport));
            }
            young
        });
    }

    /// Messages sent to its groups, as far as facts told.
    pub(super) fn sent_to(&self, groups: &[super::group::Group]) -> u64 {
        let sent = |(group, _): &(GroupId, u32)| groups[group.index()].sent;
        self.members.iter().map(sent).sum()
    }

    /// Can receive now, and is not waiting to hear whether its recovery worked.
    pub(super) fn attached(&self) -> bool {
        self.conn.as_ref().is_none_or(|conn| conn.link == Link::Up)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.control.bytes()
            + (size_of::<Self>() + self.members.len() * 8 + self.recoveries.len() * 32) as u64
    }
}

impl Connection {
    pub(super) fn new(epoch: u16, id: &str, now: Time) -> Self {
        Connection {
            epoch,
            id: id.into(),
            transport: 0,
            link: Link::Up,
            max: 0,
            last: 0,
            acked: 0,
            heard: now,
            resumed: now,
            data_at: now,
            unacked_since: None,
            ack_lag: Duration::ZERO,
            sent_before: 0,
            frames: 0,
            bytes: 0,
            lost_at: Time::ZERO,
            lost_code: None,
            refused: None,
        }
    }

    /// Takes the sequence id of a data frame.
    pub(super) fn sight(&mut self, id: u64) -> Sight {
        if id > self.max {
            // Nobody needs to know a jump exactly that no run could fill.
            let missing = (id - self.max - 1).min(u64::from(u32::MAX));
            self.max = id;
            self.last = id;
            Sight::Fresh { missing }
        } else if id > self.last {
            self.last = id;
            Sight::Replay
        } else {
            Sight::Stale
        }
    }

    /// Something was read. After a silence it may come with what waited behind it for as long.
    pub(super) fn alive(&mut self, now: Time) {
        if now.since(self.heard) > SILENCE {
            self.resumed = now;
        }
        self.heard = now;
    }

    /// A data frame was read.
    pub(super) fn heard(&mut self, bytes: usize, now: Time) {
        self.alive(now);
        self.data_at = now;
        self.unacked_since = self.unacked_since.or(Some(now));
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn lost(&mut self, code: Option<u16>, now: Time) {
        if self.link == Link::Up {
            self.lost_at = now;
            self.ack_lag = self.unacked_since.map_or(Duration::ZERO, |at| now - at);
        }
        self.unacked_since = None;
        self.link = Link::Lost;
        self.lost_code = code;
    }

    pub(super) fn opened(&mut self, transport: u16, now: Time) {
        if self.link == Link::Up {
            self.lost_at = now;
        }
        self.transport = transport;
        self.link = Link::Opened;
        self.last = 0;
    }

    pub(super) fn sequence_acked(&mut self, id: u64) {
        self.acked = self.acked.max(id);
        if self.acked >= self.max {
            self.unacked_since = None;
        }
    }

    /// Whether the hub must have held about its limit for this connection, given messages
    /// that were sent to its groups and have not come.
    pub(super) fn overflowing(&self, missing: u64) -> bool {
        // Facts lag by a quarter of a second and the hub counts its envelopes too: from
        // four fifths of the limit on the hub is not contradicted.
        self.holds(missing, 4, 5).1
    }

    /// About how many messages the hub held for this connection, and whether that was
    /// surely more than it may: then it had to end the session.
    pub(super) fn holding(&self, missing: u64) -> (u64, bool) {
        self.holds(missing, 1, 1)
    }

    fn holds(&self, missing: u64, share: u64, of: u64) -> (u64, bool) {
        let queued = missing.saturating_add(self.max.saturating_sub(self.acked));
        let mean = self.bytes.checked_div(self.frames).unwrap_or(0);
        let over = queued > UNACKED_MESSAGES_MAX as u64 * share / of
            || queued.saturating_mul(mean) > UNACKED_BYTES_MAX as u64 * share / of;
        (queued, over)
    }

    /// The hub closed it in a way that ends the session at once.
    /// Source: protocol, close codes: 1000 normal, 1002/1003/1007/1009 our fault, 1008 policy.
    pub(super) fn closed_for_good(&self) -> bool {
        matches!(self.lost_code, Some(1000 | 1002 | 1003 | 1007..=1009))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_told_from_a_repetition_by_its_transport() {
        let mut conn = Connection::new(0, "c", Time::ZERO);
        assert_eq!(conn.sight(1), Sight::Fresh { missing: 0 });
        assert_eq!(conn.sight(4), Sight::Fresh { missing: 2 });
        assert_eq!(conn.sight(4), Sight::Stale);
        assert_eq!(conn.sight(2), Sight::Stale);
        conn.lost(None, Time::ZERO);
        conn.opened(1, Time::ZERO);
        assert_eq!(conn.sight(2), Sight::Replay);
        assert_eq!(conn.sight(2), Sight::Stale);
        assert_eq!(conn.sight(4), Sight::Replay);
        assert_eq!(conn.sight(5), Sight::Fresh { missing: 0 });
    }

    #[test]
    fn a_queue_near_its_limit_excuses_the_hub() {
        let mut conn = Connection::new(0, "c", Time::ZERO);
        conn.sight(500);
        assert!(!conn.overflowing(200));
        assert!(conn.overflowing(301));
        conn.sequence_acked(500);
        assert!(!conn.overflowing(300));
        conn.heard(100_000, Time::ZERO);
        assert!(
            conn.overflowing(300),
            "300 messages of 100 kB are over 16 MiB"
        );
    }
}
