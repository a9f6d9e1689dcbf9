//! Pairs (receiver, stream): where a delivered message falls, and the holes it leaves.
//!
//! O(1) per delivery. What a hole means is decided in `judge`, what a repetition means in
//! `duplicate`.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::membership::{Membership, Shown, WindowEnd};
use super::order::{Order, Witnesses};
use crate::base::Time;
use crate::payload::{Cause, Identity};

/// Names a pair: membership and stream within its group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct PairKey(u64);

impl PairKey {
    pub(super) fn new(member: u32, stream: u32) -> Self {
        PairKey(u64::from(member) << 32 | u64::from(stream))
    }

    pub(super) fn member(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn stream(self) -> u32 {
        self.0 as u32
    }
}

/// Seqs `first ..= last` of a pair that were overtaken and have not come.
#[derive(Clone, Debug)]
pub(super) struct Hole {
    pub(super) first: u32,
    pub(super) last: u32,
    /// The receiver's window when it appeared.
    pub(super) window: u32,
    /// What of the stream had come in that window before.
    pub(super) shown: Shown,
    /// From which connections of the publisher later messages came while the receiver
    /// surely was a member in that window.
    pub(super) proofs: Epochs,
    /// The later messages seen, for the order.
    pub(super) witnesses: Witnesses,
    /// When the first later message came, and under which sequence id (0: none).
    pub(super) overtaken: Option<(Time, u64)>,
    /// Below the horizon: what its judgement needs, now that all else is forgotten.
    pub(super) kept: Option<Kept>,
}

/// What the judgement of a hole below the horizon needs. With it neither the windows nor the
/// checkpoints of then have to be kept, however long the hole stays open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// The publisher's connection at the first transmission.
    pub(super) epoch: u16,
    /// It was sent again.
    pub(super) retried: bool,
    /// The window that decides.
    pub(super) window: u32,
    /// The receiver's connection of that window.
    pub(super) connection: u16,
    /// Why the window is over, once it is and is forgotten.
    pub(super) end: Option<WindowEnd>,
    /// A loss is one at the join (D2).
    pub(super) at_join: bool,
    /// The recovery that it is laid to, if to one.
    pub(super) recovery: Option<Laid>,
}

/// A recovery that missing messages are laid to (R1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Laid {
    /// The transport that the recovery brought.
    pub(super) transport: u16,
    /// Only if nothing that was sent after it ever comes of the group.
    pub(super) if_silent: bool,
}

/// A set of a publisher's connections, around the one that it was made for: eight before
/// and twenty-four after. Others are left out, which proves less, never more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Epochs {
    base: u16,
    bits: u32,
}

impl Epochs {
    pub(super) fn around(epoch: u16) -> Self {
        Epochs {
            base: epoch.saturating_sub(8),
            bits: 0,
        }
    }

    fn insert(&mut self, epoch: u16) {
        if let Some(at) = epoch.checked_sub(self.base).filter(|at| *at < 32) {
            self.bits |= 1 << at;
        }
    }

    pub(super) fn contains(self, epoch: u16) -> bool {
        epoch
            .checked_sub(self.base)
            .is_some_and(|at| at < 32 && self.bits >> at & 1 != 0)
    }
}

/// Where and when a delivery arrived, beside its identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Time,
    /// The receiver's connection and transport.
    pub(super) epoch: u16,
    pub(super) transport: u16,
    /// Its window, and whether it surely was a member.
    pub(super) window: u32,
    pub(super) must: bool,
    /// Its identity can be relied on: no byte of it is spoilt.
    pub(super) sound: bool,
    /// The sequence id, 0 when there is none.
    pub(super) id: u64,
}

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placed {
    /// The next, or ahead of what is missing.
    First,
    /// It closed (part of) a hole.
    Fill(Order),
    /// The pair has it already, or had.
    Again,
    /// The pair is not tracked (any more).
    Blind,
}

/// A transmission other than the first of a message, as it was delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) tx: u32,
    pub(super) attempt: u8,
    pub(super) cause: Cause,
}

/// The state of all pairs that is not in the memberships' tables.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    holes: FxHashMap<PairKey, SmallVec<[Hole; 1]>>,
    pub(super) open: u64,
    pub(super) holes_max: u64,
    /// Pairs given up for the budget, with the first seq that is not tracked.
    blind: FxHashMap<PairKey, u32>,
    /// Delivered, but counted as another violation instead: not a delivery.
    pub(super) faulted: BTreeSet<(PairKey, u32)>,
    /// Deliveries of repeated transmissions, by message.
    pub(super) repeated: FxHashMap<(PairKey, u32), SmallVec<[Seen; 2]>>,
}

impl Pairs {
    /// No pairs yet; at most `holes_max` open holes.
    pub(super) fn new(holes_max: u64) -> Self {
        Pairs {
            holes_max,
            ..Pairs::default()
        }
    }

    /// Puts a delivery in its place.
    pub(super) fn place(
        &mut self,
        member: &mut Membership,
        key: PairKey,
        identity: &Identity,
        arrival: &Arrival,
    ) -> Placed {
        let (next, holes) = member.frontier(key.stream());
        if key.stream() as usize >= member.tracked() || self.untracked(key, identity.seq) {
            return Placed::Blind;
        }
        let seq = identity.seq;
        let placed = if seq == next {
            member.set_frontier(key.stream(), next + 1, holes);
            if holes {
                self.witness(key, seq, identity, arrival);
            }
            Placed::First
        } else if seq > next {
            if self.open >= self.holes_max {
                self.blind.insert(key, next);
                return Placed::Blind;
            }
            if holes {
                self.witness(key, seq, identity, arrival);
            }
            let shown = member.shown(key.stream());
            self.dig(key, next, seq - 1, shown, identity, arrival);
            member.set_frontier(key.stream(), seq + 1, true);
            Placed::First
        } else if holes && let Some(order) = self.fill(key, identity, arrival) {
            self.witness(key, seq, identity, arrival);
            if !self.holes.contains_key(&key) {
                member.set_frontier(key.stream(), next, false);
            }
            Placed::Fill(order)
        } else {
            if holes && arrival.sound {
                self.overtake(key, identity, arrival);
            }
            return Placed::Again;
        };
        if !arrival.sound {
            // Whose it was and how it was sent is not to be believed.
        } else if identity.attempt > 1 {
            self.note_repeated(key, identity);
        } else {
            // Only a first transmission shows that what was sent after it should have come
            // too: a repeated one may have been executed long after its successors.
            member.show(key.stream(), identity.epoch);
        }
        placed
    }

    /// Remembers that a transmission other than the first was delivered.
    pub(super) fn note_repeated(&mut self, key: PairKey, identity: &Identity) {
        self.repeated
            .entry((key, identity.seq))
            .or_default()
            .push(Seen {
                tx: identity.tx,
                attempt: identity.attempt,
                cause: identity.cause,
            });
    }

    /// Whether the pair has `seq`: below the frontier and in no hole. Blind pairs may.
    pub(super) fn has(&self, member: &Membership, key: PairKey, seq: u32) -> bool {
        let (next, holes) = member.frontier(key.stream());
        if self.untracked(key, seq) || (member.blind && key.stream() as usize >= member.tracked()) {
            return true;
        }
        seq < next
            && !(holes
                && self
                    .holes(key)
                    .iter()
                    .any(|h| h.first <= seq && seq <= h.last))
    }

    /// Whether `seq` is what the pair waits for: its next, or in a hole.
    pub(super) fn awaits(&self, member: &Membership, key: PairKey, seq: u32) -> bool {
        let (next, _) = member.frontier(key.stream());
        seq == next || (seq < next && !self.has(member, key, seq))
    }

    pub(super) fn holes(&self, key: PairKey) -> &[Hole] {
        self.holes.get(&key).map_or(&[], |holes| holes.as_slice())
    }

    /// The first seq of the pair that is not tracked, if it was given up.
    pub(super) fn blind_from(&self, member: &Membership, key: PairKey) -> Option<u32> {
        if member.blind && key.stream() as usize >= member.tracked() {
            return Some(1);
        }
        self.blind.get(&key).copied()
    }

    fn untracked(&self, key: PairKey, seq: u32) -> bool {
        !self.blind.is_empty() && self.blind.get(&key).is_some_and(|from| seq >= *from)
    }

    pub(super) fn has_blind(&self) -> bool {
        !self.blind.is_empty()
    }

    /// Tells the kept holes of a pair how a window ended that is about to be forgotten.
    pub(super) fn window_ended(&mut self, key: PairKey, window: u32, end: WindowEnd) {
        for hole in self.holes.get_mut(&key).into_iter().flatten() {
            if let Some(kept) = hole.kept.as_mut().filter(|kept| kept.window == window) {
                kept.end = Some(end);
            }
        }
    }

    /// Replaces the holes of a pair; they must be in order.
    pub(super) fn set_holes(&mut self, key: PairKey, holes: SmallVec<[Hole; 1]>) {
        let before = self.holes(key).len() as u64;
        self.open = self.open - before + holes.len() as u64;
        if holes.is_empty() {
            self.holes.remove(&key);
        } else {
            self.holes.insert(key, holes);
        }
    }

    fn dig(
        &mut self,
        key: PairKey,
        first: u32,
        last: u32,
        shown: Shown,
        identity: &Identity,
        arrival: &Arrival,
    ) {
        let mut proofs = Epochs::around(identity.epoch);
        if arrival.must && arrival.sound {
            proofs.insert(identity.epoch);
        }
        let mut witnesses = Witnesses::default();
        if arrival.sound {
            witnesses.add(identity, arrival);
        }
        self.open += 1;
        self.holes.entry(key).or_default().push(Hole {
            first,
            last,
            window: arrival.window,
            shown,
            proofs,
            witnesses,
            overtaken: Some((arrival.at, arrival.id)),
            kept: None,
        });
    }

    /// Fills `identity.seq` if it is in a hole, splitting the hole.
    fn fill(&mut self, key: PairKey, identity: &Identity, arrival: &Arrival) -> Option<Order> {
        let holes = self.holes.get_mut(&key)?;
        let seq = identity.seq;
        let at = holes.partition_point(|hole| hole.last < seq);
        let hole = holes.get_mut(at).filter(|hole| hole.first <= seq)?;
        let order = match arrival.sound {
            true => hole.witnesses.judge(identity, arrival),
            false => Order::Fine,
        };
        let rest = hole.clone();
        match (hole.first < seq, seq < hole.last) {
            (true, true) => {
                hole.last = seq - 1;
                holes.insert(
                    at + 1,
                    Hole {
                        first: seq + 1,
                        ..rest
                    },
                );
                self.open += 1;
            }
            (true, false) => hole.last = seq - 1,
            (false, true) => hole.first = seq + 1,
            (false, false) => {
                holes.remove(at);
                self.open -= 1;
                if holes.is_empty() {
                    self.holes.remove(&key);
                }
            }
        }
        Some(order)
    }

    /// Tells every hole below `seq` that `seq` has arrived.
    fn witness(&mut self, key: PairKey, seq: u32, identity: &Identity, arrival: &Arrival) {
        let Some(holes) = self.holes.get_mut(&key) else {
            return;
        };
        for hole in holes.iter_mut().take_while(|hole| hole.last < seq) {
            if arrival.sound && arrival.must && hole.window == arrival.window {
                hole.proofs.insert(identity.epoch);
            }
            // None yet when it was kept as part of the tail until now.
            hole.overtaken.get_or_insert((arrival.at, arrival.id));
        }
        if arrival.sound {
            self.overtake(key, identity, arrival);
        }
    }

    /// The same for the order alone, in which a repetition counts too.
    fn overtake(&mut self, key: PairKey, identity: &Identity, arrival: &Arrival) {
        let holes = self.holes.get_mut(&key).into_iter().flatten();
        for hole in holes.take_while(|hole| hole.last < identity.seq) {
            hole.witnesses.add(identity, arrival);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let holes = self.open * size_of::<Hole>() as u64 + self.holes.len() as u64 * 16;
        let rest = self.blind.len() * 24 + self.faulted.len() * 24 + self.repeated.len() * 64;
        holes + rest as u64
    }
}
