//! The naive counterpart of the samples: every pair of messages at every pair of witnesses,
//! from the whole history. Shares nothing with the verifier but the numbers of the rule: four
//! members of a group, a second in thirty.

use std::collections::{BTreeMap, BTreeSet};

use hubstorm::base::{GroupId, Slot};
use hubstorm::verify::Measured;

use crate::history::{Frame, History};

const SECOND: u64 = 1_000_000;
/// The model's plan calls deliveries later than this late.
const LATE: u64 = 2 * SECOND;

/// What the deliveries that count, each pair once, measure in the shards of the history.
pub(crate) fn measure(history: &History, firsts: &[(Slot, Frame)], into: &mut Measured) {
    for (_, frame) in firsts {
        let intended = frame.identity.unwrap_intended(frame.at);
        into.late += u64::from(frame.at.saturating_sub(intended) > LATE);
    }
    for shard in 0..history.checkpoints.len() {
        let ours = firsts
            .iter()
            .filter(|(slot, _)| history.source_of[slot] == shard);
        let mut all: Vec<_> = ours.copied().collect();
        all.sort_by_key(|(_, frame)| frame.at);
        let shard = Shard::of(history, shard, all);
        for (from, witnesses) in shard.windows() {
            shard.compare(from, &witnesses, into);
        }
    }
}

struct Shard<'h> {
    history: &'h History,
    /// When the last of the run was seen.
    deliveries: Vec<(Slot, Frame)>,
    /// By group: when its members first asked to be, in that order.
    members: BTreeMap<GroupId, Vec<(u64, Slot)>>,
}

impl<'h> Shard<'h> {
    fn of(history: &'h History, shard: usize, deliveries: Vec<(Slot, Frame)>) -> Self {
        let mut members: BTreeMap<GroupId, Vec<(u64, Slot)>> = BTreeMap::new();
        for ((slot, group), windows) in &history.windows {
            if history.source_of[slot] == shard {
                let first = windows.iter().map(|w| w.join_invoked).min().unwrap();
                members.entry(*group).or_default().push((first, *slot));
            }
        }
        members
            .values_mut()
            .for_each(|members| members.sort_unstable());
        Shard {
            history,
            deliveries,
            members,
        }
    }

    /// Every window: when it began, and who its witnesses are.
    fn windows(&self) -> Vec<(u64, BTreeSet<Slot>)> {
        let early = |at: u64| {
            let first = self
                .members
                .values()
                .flat_map(|members| members.iter().take(4));
            first
                .filter(|(joined, _)| *joined < at)
                .map(|(_, slot)| *slot)
                .collect::<BTreeSet<_>>()
        };
        // The first begins with what first comes to a witness.
        let first = self
            .deliveries
            .iter()
            .find(|(slot, frame)| early(frame.at).contains(slot));
        let Some(zero) = first.map(|(_, frame)| frame.at) else {
            return Vec::new();
        };
        let mut windows = vec![(zero, early(zero))];
        let mut due = 1;
        for tick in &self.history.ticks {
            if *tick >= zero + due * 30 * SECOND {
                windows.push((*tick, self.witnesses(*tick, due as usize)));
                due = (tick - zero) / (30 * SECOND) + 1;
            }
        }
        windows
    }

    /// The next four that surely are members, by group.
    fn witnesses(&self, now: u64, nth: usize) -> BTreeSet<Slot> {
        let mut witnesses = BTreeSet::new();
        for (group, members) in &self.members {
            let mut known: Vec<_> = members.iter().filter(|(at, _)| *at < now).collect();
            if known.is_empty() {
                continue;
            }
            let first = (nth * 4) % known.len();
            known.rotate_left(first);
            let member = |slot: Slot| {
                let mut windows = self.history.windows[&(slot, *group)].iter();
                let last = windows.rfind(|w| w.join_invoked < now).unwrap();
                let over = |at: Option<u64>| at.is_some_and(|at| at < now);
                over(last.joined)
                    && !over(last.leave_invoked)
                    && !over(last.ended.map(|(at, _)| at))
            };
            let four = known.into_iter().filter(|(_, slot)| member(*slot)).take(4);
            witnesses.extend(four.map(|(_, slot)| *slot));
        }
        witnesses
    }

    fn compare(&self, from: u64, witnesses: &BTreeSet<Slot>, into: &mut Measured) {
        into.windows += 1;
        let noted: Vec<&(Slot, Frame)> = self
            .deliveries
            .iter()
            .filter(|(slot, frame)| {
                let members = &self.members[&frame.identity.group];
                let since = members.iter().find(|(_, member)| member == slot).unwrap().0;
                (from..from + SECOND).contains(&frame.at)
                    && witnesses.contains(slot)
                    && since < from
            })
            .collect();
        into.noted += noted.len() as u64;
        for group in self.members.keys() {
            let seen = |slot: Slot| {
                let of = noted.iter().filter(move |(at, _)| *at == slot);
                of.filter(|(_, frame)| frame.identity.group == *group)
                    .map(|(_, frame)| (frame.identity.publisher, frame.identity.seq))
                    .collect::<Vec<_>>()
            };
            let orders: Vec<_> = witnesses.iter().map(|slot| seen(*slot)).collect();
            let orders: Vec<_> = orders
                .into_iter()
                .filter(|o| !o.is_empty())
                .take(4)
                .collect();
            for (nth, one) in orders.iter().enumerate() {
                for other in &orders[nth + 1..] {
                    self.pairs(one, other, into);
                }
            }
        }
        for (at, (slot, x)) in noted.iter().enumerate() {
            for (_, y) in noted[at + 1..].iter().filter(|(other, _)| other == slot) {
                let (x, y) = (&x.identity, &y.identity);
                let sent = |i: &hubstorm::payload::Identity| (i.publisher, i.epoch, i.transport);
                if sent(x) == sent(y) && x.group != y.group {
                    into.publisher_pairs_compared += 1;
                    into.publisher_inversions += u64::from(x.tx > y.tx);
                }
            }
        }
    }

    fn pairs(&self, one: &[(Slot, u32)], other: &[(Slot, u32)], into: &mut Measured) {
        let place = |message| other.iter().position(|o| *o == message);
        for (at, x) in one.iter().enumerate() {
            for y in one[at + 1..].iter().filter(|y| y.0 != x.0) {
                if let (Some(x), Some(y)) = (place(*x), place(*y)) {
                    into.pairs_compared += 1;
                    into.inversions += u64::from(x > y);
                }
            }
        }
    }
}
