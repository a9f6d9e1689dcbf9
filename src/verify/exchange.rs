//! Numbered batches from every party of a run to every other, over a road that loses,
//! repeats and reorders: what is taken is what was pushed, in order, once.
//!
//! Pure: batches and letters in, letters out. Time is rounds: whoever drives an [`Exchange`]
//! calls [`Exchange::round`] at a steady pace. What a batch says is not known here.
//! Go-back-N: a letter acknowledges everything taken so far; what is not acknowledged after
//! `REPEAT_AFTER` rounds is sent again, all of it; what comes out of order is dropped and
//! comes again. Source: verification 8, "numbered, repeated until acknowledged, idempotent".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Batches that may wait for an acknowledgement, 16 s at four a second. While so many do,
/// [`Exchange::has_room`] says no and the pusher lets what is new grow together into its
/// next batch; only the last batch of a run goes beyond.
const WINDOW: usize = 64;
/// Rounds without a sign of progress after which everything unacknowledged goes again. An
/// answer takes two at the most when nothing is lost and nobody is late.
const REPEAT_AFTER: u32 = 4;

/// Who takes part: fleets by their index, and after them the coordinator.
pub type Party = u16;

/// What one party sends another in one round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter<T> {
    /// Who speaks.
    pub from: Party,
    /// Who is meant.
    pub to: Party,
    /// Everything up to this number was taken of what the other pushed.
    pub ack: u64,
    /// The number of the first batch; those after it follow on.
    pub first: u64,
    /// None: the letter only acknowledges.
    pub batches: Vec<T>,
}

/// What an exchange has done and had to bear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExchangeCounts {
    /// Batches pushed.
    pub batches: u64,
    /// Batches sent again, to each party that had not acknowledged them.
    pub repeated: u64,
    /// Batches that came and had been taken before.
    pub again: u64,
    /// Batches that came before their predecessors, or made no sense, and were dropped.
    pub dropped: u64,
    /// Rounds in which nothing could be pushed because 64 batches (`WINDOW`) were waiting: what
    /// was new then went with the next.
    pub held_back: u64,
}

impl ExchangeCounts {
    /// Adds those of another party.
    pub fn merge(&mut self, other: &ExchangeCounts) {
        self.batches += other.batches;
        self.repeated += other.repeated;
        self.again += other.again;
        self.dropped += other.dropped;
        self.held_back += other.held_back;
    }
}

/// One party's end of the exchange with all others.
#[derive(Debug)]
pub struct Exchange<T> {
    me: Party,
    /// The number of the last batch pushed.
    last: u64,
    /// The batches up to `last` that somebody has not acknowledged.
    queue: VecDeque<T>,
    peers: Vec<Peer>,
    counts: ExchangeCounts,
}

#[derive(Debug)]
struct Peer {
    party: Party,
    /// What it has acknowledged, and what was sent to it since it last had to be repeated.
    acked: u64,
    sent: u64,
    /// Rounds since it last acknowledged something new, or had nothing to acknowledge.
    waited: u32,
    /// What was taken of it.
    taken: u64,
    /// It sent batches that no letter has acknowledged.
    owes_ack: bool,
}

impl<T: Clone> Exchange<T> {
    /// The end of `me` in an exchange with `peers`.
    pub fn new(me: Party, peers: impl IntoIterator<Item = Party>) -> Self {
        let peer = |party| Peer {
            party,
            acked: 0,
            sent: 0,
            waited: 0,
            taken: 0,
            owes_ack: false,
        };
        let peers = peers.into_iter().filter(|party| *party != me);
        Exchange {
            me,
            last: 0,
            queue: VecDeque::new(),
            peers: peers.map(peer).collect(),
            counts: ExchangeCounts::default(),
        }
    }

    /// Whether another batch may be pushed now. A no is counted.
    pub fn has_room(&mut self) -> bool {
        let room = self.queue.len() < WINDOW;
        self.counts.held_back += u64::from(!room);
        room
    }

    /// The next batch, for every peer.
    pub fn push(&mut self, batch: T) {
        self.last += 1;
        self.counts.batches += 1;
        if !self.peers.is_empty() {
            self.queue.push_back(batch);
        }
    }

    /// What is to be sent in this round: at most one letter to each peer, none to those that
    /// have everything and owe nothing.
    pub fn round(&mut self) -> Vec<Letter<T>> {
        let mut letters = Vec::new();
        for peer in &mut self.peers {
            if peer.acked < peer.sent {
                peer.waited += 1;
                if peer.waited >= REPEAT_AFTER {
                    self.counts.repeated += peer.sent - peer.acked;
                    peer.sent = peer.acked;
                }
            }
            if peer.sent == self.last && !peer.owes_ack {
                continue;
            }
            if peer.sent == peer.acked {
                peer.waited = 0;
            }
            // What a peer has not acknowledged is queued, so this is within the queue.
            let unsent = (self.last - peer.sent) as usize;
            let skip = self.queue.len().saturating_sub(unsent);
            letters.push(Letter {
                from: self.me,
                to: peer.party,
                ack: peer.taken,
                first: peer.sent + 1,
                batches: self.queue.range(skip..).cloned().collect(),
            });
            peer.sent = self.last;
            peer.owes_ack = false;
        }
        letters
    }

    /// Takes a letter in. Returns the batches that are new and next, in order. A letter for
    /// somebody else, or from somebody unknown or forgotten, is dropped and counted.
    pub fn take(&mut self, letter: Letter<T>) -> Vec<T> {
        let known = self.peers.iter_mut().find(|p| p.party == letter.from);
        let (true, Some(peer)) = (letter.to == self.me && letter.ack <= self.last, known) else {
            self.counts.dropped += letter.batches.len().max(1) as u64;
            return Vec::new();
        };
        if letter.ack > peer.acked {
            peer.acked = letter.ack;
            peer.sent = peer.sent.max(letter.ack);
            peer.waited = 0;
        }
        // An answer even to what is known: its acknowledgement may have been lost.
        peer.owes_ack |= !letter.batches.is_empty();
        let mut next = Vec::new();
        for (nth, batch) in (0_u64..).zip(letter.batches) {
            let number = letter.first.saturating_add(nth);
            if number == peer.taken + 1 {
                peer.taken = number;
                next.push(batch);
            } else if number <= peer.taken {
                self.counts.again += 1;
            } else {
                self.counts.dropped += 1;
            }
        }
        self.trim();
        next
    }

    /// A party is gone: nothing is sent to it any more, and nothing waits for it.
    pub fn forget(&mut self, party: Party) {
        self.peers.retain(|peer| peer.party != party);
        self.trim();
    }

    /// Whether every peer has acknowledged everything.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty()
    }

    /// What it has done so far.
    pub fn counts(&self) -> ExchangeCounts {
        self.counts
    }

    fn trim(&mut self) {
        let acked = self.peers.iter().map(|peer| peer.acked).min();
        let waiting = acked.map_or(0, |acked| (self.last - acked) as usize);
        while self.queue.len() > waiting {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::Rng as _;

    use super::*;
    use crate::base::Seed;

    const NOTHING: [u64; 0] = [];

    /// Three parties and the road between them.
    struct World {
        ends: Vec<Exchange<u64>>,
        road: Vec<Letter<u64>>,
        /// By taker and speaker.
        taken: Vec<Vec<Vec<u64>>>,
    }

    impl World {
        fn new() -> Self {
            World {
                ends: (0..3).map(|me| Exchange::new(me, 0..3)).collect(),
                road: Vec::new(),
                taken: vec![vec![Vec::new(); 3]; 3],
            }
        }

        fn round(&mut self) {
            for end in &mut self.ends {
                self.road.extend(end.round());
            }
        }

        fn deliver(&mut self, letter: Letter<u64>) {
            let (from, to) = (usize::from(letter.from), usize::from(letter.to));
            let new = self.ends[to].take(letter);
            self.taken[to][from].extend(new);
        }

        fn is_settled(&self) -> bool {
            self.ends.iter().all(Exchange::is_settled)
        }
    }

    /// Loses, repeats, holds back and mixes what is under way.
    fn bad_road(world: &mut World, rng: &mut ChaCha8Rng, lose: u32) {
        let letters = std::mem::take(&mut world.road);
        for letter in letters {
            match rng.next_u32() % 100 {
                n if n < lose => {}
                n if n < lose + 10 => world.road.push(letter),
                n if n < lose + 20 => {
                    world.deliver(letter.clone());
                    world.deliver(letter);
                }
                _ => world.deliver(letter),
            }
        }
        for at in (1..world.road.len()).rev() {
            let other = rng.next_u32() as usize % (at + 1);
            world.road.swap(at, other);
        }
    }

    /// A message of facts lost, taken twice or out of order would change a verdict.
    #[test]
    fn what_is_taken_is_what_was_pushed_whatever_the_road_does() {
        for index in 0..200 {
            let mut rng = Seed(1).stream("exchange", index);
            let mut world = World::new();
            let lose = (index % 60) as u32;
            let mut pushed = [0_u64; 3];
            let mut rounds = 0;
            while pushed[0] < 100 || !world.is_settled() {
                for (me, end) in world.ends.iter_mut().enumerate() {
                    if pushed[me] < 100 && !rng.next_u32().is_multiple_of(3) && end.has_room() {
                        pushed[me] += 1;
                        end.push(pushed[me] * 10 + me as u64);
                    }
                    assert!(end.queue.len() <= WINDOW);
                }
                world.round();
                bad_road(&mut world, &mut rng, lose);
                rounds += 1;
                assert!(rounds < 20_000, "run {index} does not end");
            }
            for (to, from) in (0..3).flat_map(|to| (0..3).map(move |from| (to, from))) {
                let all = (1..=pushed[from]).map(|n| n * 10 + from as u64);
                let all: Vec<u64> = all.filter(|_| to != from).collect();
                assert_eq!(world.taken[to][from], all, "run {index}: {from} to {to}");
            }
        }
    }

    #[test]
    fn a_good_road_carries_every_batch_once_and_silence_costs_no_letter() {
        let mut world = World::new();
        for round in 0..50 {
            if round < 40 {
                world.ends[0].push(round);
            }
            world.round();
            for letter in std::mem::take(&mut world.road) {
                world.deliver(letter);
            }
        }
        assert_eq!(world.taken[1][0], (0..40).collect::<Vec<_>>());
        assert!(world.is_settled());
        for end in &mut world.ends {
            assert_eq!(end.round(), []);
            let counts = end.counts();
            assert_eq!((counts.repeated, counts.again, counts.dropped), (0, 0, 0));
        }
    }

    /// Who never answers must not make the others hold a run's facts in memory, nor keep
    /// those who do answer from getting theirs.
    #[test]
    fn a_silent_peer_fills_the_window_and_no_more_and_is_forgotten_at_once() {
        let mut end = Exchange::new(0, [1, 2]);
        for n in 0..200_u64 {
            if end.has_room() {
                end.push(n);
            }
            for letter in end.round() {
                let upto = letter.first + letter.batches.len() as u64 - 1;
                if letter.to == 1 {
                    end.take(Letter {
                        from: 1,
                        to: 0,
                        ack: upto,
                        first: 1,
                        batches: Vec::new(),
                    });
                }
            }
        }
        assert_eq!(end.queue.len(), WINDOW);
        let counts = end.counts();
        assert_eq!((counts.batches, counts.held_back), (64, 136));
        assert!(counts.repeated >= 64, "{counts:?}");
        assert!(!end.is_settled());
        end.forget(2);
        assert!(end.is_settled() && end.has_room());
        assert_eq!(end.round(), []);
    }

    #[test]
    fn nonsense_is_dropped_and_counted() {
        let letter = |from, to, ack, first| Letter {
            from,
            to,
            ack,
            first,
            batches: vec![7_u64],
        };
        let mut end = Exchange::new(0, [1]);
        end.push(1);
        assert_eq!(end.take(letter(1, 2, 0, 1)), NOTHING, "for another");
        assert_eq!(end.take(letter(5, 0, 0, 1)), NOTHING, "from nobody");
        assert_eq!(
            end.take(letter(1, 0, 9, 1)),
            NOTHING,
            "acks what was not sent"
        );
        assert_eq!(
            end.take(letter(1, 0, 0, u64::MAX)),
            NOTHING,
            "no such number"
        );
        assert_eq!(end.take(letter(1, 0, 0, 0)), NOTHING, "numbers begin at 1");
        assert_eq!(end.counts().dropped, 4);
        assert!(!end.is_settled());
        assert_eq!(end.take(letter(1, 0, 1, 1)), [7]);
        assert!(end.is_settled());
    }

    #[test]
    fn alone_nothing_is_kept() {
        let mut end = Exchange::new(0, [0]);
        for n in 0..1000 {
            assert!(end.has_room());
            end.push(n);
            assert_eq!(end.round(), []);
        }
        assert!(end.is_settled());
    }
}
