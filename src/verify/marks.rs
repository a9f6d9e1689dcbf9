//! A membership's windows in sequence numbers: times looked up in a group's checkpoints.

use smallvec::SmallVec;

use super::group::{Group, MEMBERSHIP_GRACE, Snapshot, Stream};
use super::membership::{Membership, Window, WindowEnd};
use super::told::Told;
use crate::base::Time;

/// A window in sequence numbers of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) ordinal: u32,
    pub(super) epoch: u16,
    /// Everything below was settled before the join was sent.
    pub(super) may_from: u32,
    /// Everything from here on was first sent after the join was acked; `u32::MAX`: nothing.
    pub(super) floor: u32,
    /// From here on the membership must have been visible everywhere.
    pub(super) grace: u32,
    /// Everything up to here was settled before the leave was sent.
    pub(super) ceiling: u32,
    /// Everything above was first sent after the window had ended.
    pub(super) may_to: u32,
    pub(super) end: Option<WindowEnd>,
}

impl Membership {
    /// Looks the windows up in the group's checkpoints.
    pub(super) fn resolve<'g>(&self, group: &'g Group, told: &'g [Told]) -> Resolved<'g> {
        let windows = self
            .windows
            .iter()
            .map(|window| ResolvedWindow {
                ordinal: window.ordinal,
                epoch: window.epoch,
                passed: window.passed,
                closed: window.closed,
                end: window.end(),
                sources: (0..told.len())
                    .map(|source| Snapshots::look_up(window, group, told, source))
                    .collect(),
            })
            .collect();
        Resolved {
            group,
            told,
            windows,
        }
    }
}

/// A membership's windows with their checkpoints found; gives the marks of any stream.
#[derive(Debug)]
pub(super) struct Resolved<'g> {
    group: &'g Group,
    told: &'g [Told],
    windows: SmallVec<[ResolvedWindow<'g>; 2]>,
}

#[derive(Debug)]
struct ResolvedWindow<'g> {
    ordinal: u32,
    epoch: u16,
    passed: bool,
    closed: bool,
    end: Option<WindowEnd>,
    sources: SmallVec<[Snapshots<'g>; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Snapshots<'g> {
    join_invoked: Snapshot<'g>,
    joined: Snapshot<'g>,
    visible: Snapshot<'g>,
    leave_invoked: Snapshot<'g>,
    ended: Snapshot<'g>,
}

impl<'g> Snapshots<'g> {
    fn look_up(window: &Window, group: &'g Group, told: &[Told], source: usize) -> Self {
        let after = |time: Option<Time>| match time {
            Some(time) => group.after(source, time),
            None => Snapshot::None,
        };
        // A must window that ended before its floor was known has no floor: everything
        // above it was sent after the end.
        Snapshots {
            join_invoked: group.before(source, told, window.join_invoked),
            joined: after(window.joined),
            visible: after(window.joined.map(|joined| joined + MEMBERSHIP_GRACE)),
            leave_invoked: match window.leave_invoked {
                Some(time) => group.before(source, told, time),
                None => Snapshot::None,
            },
            ended: after(window.ended.map(|(at, _)| at)),
        }
    }
}

impl Resolved<'_> {
    /// Whether every source has spoken since the membership of a window must have been
    /// visible everywhere: what comes of streams not yet begun is owed from the first on.
    pub(super) fn is_visible(&self, window: usize) -> bool {
        let sources = self.windows[window].sources.iter().enumerate();
        sources
            .filter(|(source, _)| self.told[*source].has_spoken())
            .all(|(_, s)| !matches!(s.visible, Snapshot::None))
    }

    /// Two memberships with the same signature have the same marks, but for the ordinals
    /// and the connections of their windows.
    pub(super) fn signature(&self) -> SmallVec<[u64; 16]> {
        let mut out = SmallVec::new();
        for window in &self.windows {
            let end = window.end.map_or(0, |end| end as u64 + 1);
            out.push(end << 2 | u64::from(window.passed) << 1 | u64::from(window.closed));
            for s in &window.sources {
                for snapshot in [
                    s.join_invoked,
                    s.joined,
                    s.visible,
                    s.leave_invoked,
                    s.ended,
                ] {
                    out.push(snapshot.identity());
                }
            }
        }
        out
    }

    /// The windows in sequence numbers of `stream`.
    pub(super) fn marks(&self, stream: &Stream, out: &mut SmallVec<[Mark; 4]>) {
        out.clear();
        let source = self.group.source_of(stream);
        for window in &self.windows {
            let found = source.and_then(|source| window.sources.get(source));
            let at = |snapshot: Option<Snapshot<'_>>| snapshot.and_then(|s| s.of(stream));
            let after = |value: Option<(u32, u32)>| value.map_or(u32::MAX, |v| v.0 + 1);
            out.push(Mark {
                ordinal: window.ordinal,
                epoch: window.epoch,
                may_from: match window.passed {
                    true => 1,
                    false => at(found.map(|s| s.join_invoked)).map_or(0, |v| v.1) + 1,
                },
                floor: match window.passed {
                    true => 1,
                    false => after(at(found.map(|s| s.joined))),
                },
                grace: match window.passed {
                    true => 1,
                    false => after(at(found.map(|s| s.visible))),
                },
                ceiling: at(found.map(|s| s.leave_invoked)).map_or(0, |v| v.1),
                may_to: match window.closed {
                    true => 0,
                    false => at(found.map(|s| s.ended)).map_or(u32::MAX, |v| v.0),
                },
                end: window.end,
            });
        }
    }
}
