//! What a window of membership owes and lets in, by scans over the checkpoints.

use super::*;

impl Oracle<'_> {
    /// When the facts told that `seq` was settled, by samples a second apart, of which the
    /// last 66 count; the last facts at the latest.
    pub(super) fn settled_at(&self, stream: StreamId, seq: u32) -> u64 {
        let source = self.history.source_of[&stream.publisher];
        let mut samples: Vec<(u64, u32)> = Vec::new();
        for (at, streams) in &self.history.checkpoints[source] {
            // The first sample is the first word about the group.
            let begun = streams.keys().any(|other| other.group == stream.group);
            if begun
                && samples
                    .last()
                    .is_none_or(|(last, _)| last + 1_000_000 <= *at)
            {
                samples.push((*at, streams.get(&stream).map_or(0, |state| state.1)));
            }
        }
        let kept = samples.len().saturating_sub(66);
        let found = samples[kept..].iter().find(|(_, settled)| *settled >= seq);
        let last = self.history.checkpoints[source].last();
        found.map_or(last.map_or(0, |(at, _)| *at), |(at, _)| *at)
    }

    /// The source's state of a stream at its first checkpoint at or after `time`.
    pub(super) fn after(&self, stream: StreamId, time: u64) -> Option<(u32, u32)> {
        let source = *self.history.source_of.get(&stream.publisher)?;
        self.history.checkpoints[source]
            .iter()
            .find(|(at, _)| *at >= time)
            .map(|(_, streams)| streams.get(&stream).copied().unwrap_or((0, 0)))
    }

    /// The source's state of a stream at its last checkpoint at or before `time`.
    pub(super) fn before(&self, stream: StreamId, time: u64) -> (u32, u32) {
        let source = self.history.source_of[&stream.publisher];
        self.history.checkpoints[source]
            .iter()
            .rev()
            .find(|(at, _)| *at <= time)
            .and_then(|(_, streams)| streams.get(&stream).copied())
            .unwrap_or((0, 0))
    }

    pub(super) fn floor(&self, stream: StreamId, window: &Window) -> Option<u32> {
        Some(self.after(stream, window.joined?)?.0 + 1)
    }

    /// The last window whose floor is at or below `seq`.
    pub(super) fn owner(&self, stream: StreamId, windows: &[Window], seq: u32) -> Option<usize> {
        windows
            .iter()
            .rposition(|w| self.floor(stream, w).is_some_and(|floor| floor <= seq))
    }

    /// A window may receive `seq`: it was not settled before the join was sent, nor first
    /// sent after the window's end.
    pub(super) fn may(&self, stream: StreamId, window: &Window, seq: u32) -> bool {
        let begun = seq > self.before(stream, window.join_invoked).1;
        let over = window
            .ended
            .and_then(|(at, _)| self.after(stream, at))
            .is_some_and(|(invoked, _)| seq > invoked);
        begun && !over
    }

    pub(super) fn ceiling(&self, stream: StreamId, window: &Window) -> u32 {
        window
            .leave_invoked
            .map_or(0, |at| self.before(stream, at).1)
    }

    /// Whether an acked message that came was owed.
    pub(super) fn owed(&self, stream: StreamId, windows: &[Window], seq: u32) -> bool {
        self.owner(stream, windows, seq).is_some_and(|at| {
            let window = &windows[at];
            match window.ended {
                Some((_, End::Gap | End::Unreliable)) => true,
                _ => window.leave_invoked.is_none() || seq <= self.ceiling(stream, window),
            }
        })
    }
}
