//! Orders that nobody promises, measured on samples: how messages of different publishers
//! of a group compare at two of its members, and how messages of one publisher to different
//! groups arrive at one. Source: verification 5, M1 and M2.
//!
//! For a second in every thirty of the run, the first from the first delivery on, up to
//! [`WITNESSES`] members of each group are witnesses: what comes to them is noted. When the
//! second is over the notes are compared, added up and thrown away. Nothing that is judged
//! depends on any of it. A delivery to anybody else costs a look at one flag.

use std::time::Duration;

use super::outcome::Measured;
use super::pairs::Arrival;
use super::plan::Mode;
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::Identity;

/// Members of a group that are witnesses.
pub(super) const WITNESSES: usize = 4;
/// How often deliveries are noted...
const EVERY: Duration = Duration::from_secs(30);
/// ... and for how long.
const LASTS: Duration = Duration::from_secs(1);
/// Deliveries noted in one window; more are only counted.
pub(super) const NOTES_MAX: usize = 16_384;
/// Memberships that may be noted in one window. Of more groups than this has room for, each
/// window takes others.
const WATCHED_MAX: usize = 4096;

/// A delivery to a witness.
#[derive(Clone, Copy, Debug)]
struct Note {
    slot: u32,
    group: u32,
    publisher: u32,
    seq: u32,
    tx: u32,
    epoch: u16,
    transport: u16,
}

/// The samples of one shard.
#[derive(Debug, Default)]
pub(super) struct Observer {
    window: Window,
    /// Windows begun so far, the first included before anything came.
    begun: u64,
    /// When the first began.
    zero: Time,
    /// In order of arrival.
    notes: Vec<Note>,
    /// Memberships whose flag is up.
    watched: Vec<u32>,
}

/// Whether deliveries are noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Window {
    /// From the next delivery to a witness on.
    #[default]
    Ready,
    Open {
        until: Time,
    },
    Shut {
        next: Time,
    },
}

impl Observer {
    pub(super) fn bytes(&self) -> u64 {
        (self.notes.capacity() * size_of::<Note>() + self.watched.capacity() * 4) as u64
    }
}

impl Shard {
    /// Before anything came, the first to join a group are its witnesses.
    pub(super) fn observe_member(&mut self, index: usize, member: u32) {
        if self.observer.window != Window::Ready || self.plan.mode == Mode::Counts {
            return;
        }
        let group = self.members[member as usize].group;
        if self.receivers[index].observed {
            self.watch(member);
        } else if self.groups[group.index()].members.len() <= WITNESSES {
            self.watch_receiver(index);
        }
    }

    /// Everything that comes to a witness is noted, whatever group it is of.
    fn watch_receiver(&mut self, index: usize) {
        if self.observer.watched.len() >= WATCHED_MAX {
            return;
        }
        self.receivers[index].observed = true;
        for at in 0..self.receivers[index].members.len() {
            let (_, member) = self.receivers[index].members[at];
            self.watch(member);
        }
    }

    fn watch(&mut self, member: u32) {
        let membership = &mut self.members[member as usize];
        if !membership.observed && self.observer.watched.len() < WATCHED_MAX {
            membership.observed = true;
            self.observer.watched.push(member);
        }
    }

    /// Notes a delivery to a witness.
    #[cold]
    pub(super) fn note(&mut self, slot: Slot, identity: &Identity, arrival: &Arrival) {
        let observer = &mut self.observer;
        if observer.window == Window::Ready {
            observer.zero = arrival.at;
            observer.begun = 1;
            self.measured.windows += 1;
            let until = arrival.at + LASTS;
            observer.window = Window::Open { until };
        }
        let Window::Open { until } = observer.window else {
            return;
        };
        if arrival.at >= until {
            return;
        }
        if observer.notes.capacity() == 0 && self.pressure == 0 {
            let more = (NOTES_MAX * size_of::<Note>()) as u64;
            if self.bytes_now.saturating_add(more) <= self.plan.memory_budget {
                observer.notes.reserve_exact(NOTES_MAX);
                self.bytes_now += more;
                self.bytes_peak = self.bytes_peak.max(self.bytes_now);
            }
        }
        if observer.notes.len() == observer.notes.capacity() {
            self.measured.not_noted += 1;
            return;
        }
        self.measured.noted += 1;
        observer.notes.push(Note {
            slot: slot.0,
            group: identity.group.0,
            publisher: identity.publisher.0,
            seq: identity.seq,
            tx: identity.tx,
            epoch: identity.epoch,
            transport: identity.transport,
        });
    }

    /// Ends the window that is over, begins the one that is due.
    pub(super) fn observe(&mut self, now: Time) {
        if let Window::Open { until } = self.observer.window
            && now >= until
        {
            self.compare_notes();
        }
        if let Window::Shut { next } = self.observer.window
            && now >= next
        {
            self.begin_window(now);
        }
    }

    /// Compares what was noted, and waits for the next window.
    pub(super) fn compare_notes(&mut self) {
        for member in std::mem::take(&mut self.observer.watched) {
            self.members[member as usize].observed = false;
            let slot = self.members[member as usize].slot;
            self.receivers[(slot.0 - self.slots.start) as usize].observed = false;
        }
        compare(std::mem::take(&mut self.observer.notes), &mut self.measured);
        let next = self.observer.zero + EVERY * self.observer.begun as u32;
        self.observer.window = Window::Shut { next };
    }

    /// The next witnesses of every group: those after the last ones that surely are members.
    fn begin_window(&mut self, now: Time) {
        let observer = &mut self.observer;
        observer.window = Window::Open { until: now + LASTS };
        let nth = observer.begun as usize;
        // A second that nobody looked at in time is left out.
        while observer.zero + EVERY * observer.begun as u32 <= now {
            observer.begun += 1;
        }
        self.measured.windows += 1;
        let groups = self.groups.len();
        let first = nth * (WATCHED_MAX / WITNESSES);
        for at in 0..groups {
            let group = (first + at) % groups;
            let members = self.groups[group].members.len();
            let mut found = 0;
            for at in 0..members {
                let member = self.groups[group].members[(nth * WITNESSES + at) % members];
                let membership = &self.members[member as usize];
                if found < WITNESSES && membership.latest().is_some_and(|window| window.must()) {
                    found += 1;
                    let index = (membership.slot.0 - self.slots.start) as usize;
                    self.watch_receiver(index);
                }
            }
            if self.observer.watched.len() >= WATCHED_MAX {
                return;
            }
        }
    }
}

/// Adds what the notes of one window show.
fn compare(notes: Vec<Note>, into: &mut Measured) {
    // At most NOTES_MAX.
    let mut order: Vec<u32> = (0..notes.len() as u32).collect();
    let at = |place: &u32| &notes[*place as usize];
    order.sort_unstable_by_key(|place| (at(place).group, at(place).slot, *place));
    for group in order.chunk_by(|a, b| at(a).group == at(b).group) {
        let seen: Vec<Vec<Seen>> = group
            .chunk_by(|a, b| at(a).slot == at(b).slot)
            .take(WITNESSES)
            .map(|places| {
                let seen = |place: &u32| Seen {
                    publisher: at(place).publisher,
                    seq: at(place).seq,
                    place: *place,
                };
                let mut all: Vec<Seen> = places.iter().map(seen).collect();
                all.sort_unstable_by_key(|seen| (seen.publisher, seen.seq));
                all
            })
            .collect();
        for (nth, one) in seen.iter().enumerate() {
            for other in &seen[nth + 1..] {
                let (compared, inversions) = different(&common(one, other));
                into.pairs_compared += compared;
                into.inversions += inversions;
            }
        }
    }
    let transport = |place: &u32| {
        let note = at(place);
        (note.slot, note.publisher, note.epoch, note.transport)
    };
    order.sort_unstable_by_key(|place| (transport(place), *place));
    for places in order.chunk_by(|a, b| transport(a) == transport(b)) {
        let items: Vec<_> = places.iter().map(|p| (at(p).group, at(p).tx)).collect();
        let (compared, inversions) = different(&items);
        into.publisher_pairs_compared += compared;
        into.publisher_inversions += inversions;
    }
}

/// A message as one witness saw it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    publisher: u32,
    seq: u32,
    place: u32,
}

/// What both have, in the order of `one`: the publisher, and the place at the other. Both
/// sorted by message.
fn common(one: &[Seen], other: &[Seen]) -> Vec<(u32, u32)> {
    let mut both = Vec::new();
    let mut rest = other.iter().peekable();
    for seen in one {
        let key = (seen.publisher, seen.seq);
        while rest.next_if(|o| (o.publisher, o.seq) < key).is_some() {}
        if let Some(same) = rest.next_if(|o| (o.publisher, o.seq) == key) {
            both.push((seen.place, seen.publisher, same.place));
        }
    }
    both.sort_unstable_by_key(|(place, ..)| *place);
    both.into_iter()
        .map(|(_, class, rank)| (class, rank))
        .collect()
}

/// Of the pairs of items of different classes: how many there are, and of how many the
/// first has the greater rank.
fn different(items: &[(u32, u32)]) -> (u64, u64) {
    let pairs = |n: usize| n as u64 * (n as u64).saturating_sub(1) / 2;
    let ranks = |items: &[(u32, u32)]| items.iter().map(|(_, rank)| *rank).collect::<Vec<_>>();
    let mut compared = pairs(items.len());
    let mut inverted = inversions(&mut ranks(items));
    let mut by_class = items.to_vec();
    // Stable: within a class the order stays.
    by_class.sort_by_key(|(class, _)| *class);
    for class in by_class.chunk_by(|a, b| a.0 == b.0) {
        compared -= pairs(class.len());
        inverted -= inversions(&mut ranks(class));
    }
    (compared, inverted)
}

/// How many pairs are in falling order; sorts on the way.
fn inversions(ranks: &mut [u32]) -> u64 {
    let (mut buffer, mut found) = (ranks.to_vec(), 0);
    let mut width = 1;
    while width < ranks.len() {
        for (run, out) in ranks.chunks(2 * width).zip(buffer.chunks_mut(2 * width)) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            for slot in out {
                match (left, right) {
                    ([l, rest @ ..], [r, ..]) if l <= r => (*slot, left) = (*l, rest),
                    ([l, rest @ ..], []) => (*slot, left) = (*l, rest),
                    (_, [r, rest @ ..]) => {
                        found += left.len() as u64;
                        (*slot, right) = (*r, rest);
                    }
                    ([], []) => {}
                }
            }
        }
        ranks.copy_from_slice(&buffer);
        width *= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(items: &[(u32, u32)]) -> (u64, u64) {
        let mut found = (0, 0);
        for (at, x) in items.iter().enumerate() {
            for y in items[at + 1..].iter().filter(|y| y.0 != x.0) {
                found.0 += 1;
                found.1 += u64::from(x.1 > y.1);
            }
        }
        found
    }

    #[test]
    fn inversions_between_classes_are_those_that_comparing_every_pair_finds() {
        assert_eq!(different(&[]), (0, 0));
        assert_eq!(different(&[(1, 5)]), (0, 0));
        assert_eq!(different(&[(1, 5), (1, 4)]), (0, 0), "one class");
        assert_eq!(different(&[(1, 5), (2, 4), (1, 6)]), (2, 1));
        // Numbers without a pattern, of many lengths, around powers of two above all.
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for n in 0..70 {
            let items: Vec<_> = (0..n).map(|_| (next() % 3, next() % 50)).collect();
            assert_eq!(different(&items), naive(&items), "{items:?}");
        }
    }
}
