//! A small model of a hub, its clients and the network between, on a virtual clock.
//! Written from the protocol's rules, without any of the project's client or hub code.
//!
//! Honest unless told: one node or several (then membership is evaluated where the receiver
//! is, and the ack goes out before the fan-out), drops, recoveries with replay, sessions
//! that die, retries of every cause, lost answers, errors before and after execution.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use hubstorm::base::{AckId, GroupId, Slot};
use hubstorm::payload::{Cause, Identity, StreamId};
use hubstorm::verify::{
    Answer, ConnectionEnd, Mode, Outcome, Plan, Promise, SlotPlan, Verification,
};
use hubstorm::wire::DataType;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::tap::Tap;

const MS: u64 = 1000;
const SEC: u64 = 1_000_000;
const WINDOW: u64 = 30 * SEC;

/// A lie of the hub; each is told with a small chance at each opportunity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Withhold,
    WithholdNumbered,
    SkipId,
    Double,
    Swap,
    Delay,
    Misdeliver,
    Lie,
    ForgetAckIds,
    Forbidden,
    OmitReplay,
    Echo,
    LateLeave,
    RepeatId,
    Freeze,
    LoseAck,
}

pub(crate) const FAULTS: [Fault; 16] = [
    Fault::Withhold,
    Fault::WithholdNumbered,
    Fault::SkipId,
    Fault::Double,
    Fault::Swap,
    Fault::Delay,
    Fault::Misdeliver,
    Fault::Lie,
    Fault::ForgetAckIds,
    Fault::Forbidden,
    Fault::OmitReplay,
    Fault::Echo,
    Fault::LateLeave,
    Fault::RepeatId,
    Fault::Freeze,
    Fault::LoseAck,
];

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) shards: u32,
    pub(crate) slots: u32,
    pub(crate) groups: u32,
    pub(crate) load: u64,
    /// Some slots connect when others have long been there.
    pub(crate) late: bool,
    /// Mean time between drops of a client, µs.
    pub(crate) drops: u64,
    pub(crate) errors: bool,
    pub(crate) official: bool,
    pub(crate) promise: Promise,
    pub(crate) mode: Mode,
    pub(crate) fault: Option<Fault>,
    /// Clients stop reading now and then.
    pub(crate) stalls: bool,
}

impl Config {
    /// A random configuration.
    pub(crate) fn random(seed: u64, promise: Promise, fault: Option<Fault>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let nodes = match promise {
            // The reference profile describes one node.
            Promise::Reference => 1,
            Promise::Published => rng.random_range(1..=3),
        };
        Config {
            seed,
            nodes,
            shards: rng.random_range(1..=3),
            slots: rng.random_range(3..=7),
            groups: rng.random_range(1..=2),
            // What was settled a minute ago is folded: some runs end long after.
            load: match rng.random_bool(0.2) {
                true => rng.random_range(6..=26) * 10 * SEC,
                false => rng.random_range(3..=8) * 10 * SEC,
            },
            drops: [SEC, 5 * SEC, 20 * SEC, 1000 * SEC][rng.random_range(0..4)],
            late: rng.random_bool(0.5),
            errors: rng.random_bool(0.5),
            official: rng.random_bool(0.3),
            promise,
            mode: Mode::Full,
            fault,
            stalls: matches!(fault, None | Some(Fault::LoseAck)) && rng.random_bool(0.3),
        }
    }
}

#[derive(Clone, Debug)]
enum Up {
    Publish(Identity, Option<AckId>),
    Join(GroupId, u64),
    Leave(GroupId, u64),
    SequenceAck(u64),
}

#[derive(Clone, Debug)]
enum Down {
    Connected,
    Opened,
    Data(u64, Identity),
    Answer(StreamId, u32, AckId, Answer),
    Joined(GroupId, u64, bool),
    Left(GroupId, u64),
}

#[derive(Clone, Debug)]
enum Event {
    AtHub(usize, Up),
    AtClient(usize, Down),
    /// The hub notices that a transport is gone.
    Notice(usize),
    Connect(u32),
    Recover(u32),
    Refused(u32),
    Publish(u32),
    Drop(u32),
    Wander(u32),
    Stall(u32),
    Retry(u32, StreamId, u32, Cause),
    SequenceAck(u32),
    FanOut(usize, usize, u64, Identity),
    Late(usize, Identity),
    Facts(usize),
}

struct Transport {
    slot: u32,
    session: usize,
    hub_open: bool,
    client_open: bool,
    up: u64,
    down: u64,
}

struct Session {
    slot: u32,
    node: usize,
    transport: Option<usize>,
    detached: u64,
    dead: bool,
    /// Group -> since when.
    groups: BTreeMap<GroupId, u64>,
    left: BTreeSet<GroupId>,
    next_id: u64,
    queue: VecDeque<(u64, Identity)>,
    done: HashSet<AckId>,
    held: Option<Identity>,
    frozen: bool,
    last: Option<(u64, Identity)>,
}

#[derive(Clone, Debug)]
struct Pending {
    ack_id: AckId,
    intended: u64,
    attempt: u8,
    /// The connection that it was last sent on.
    epoch: u16,
    waiting: bool,
}

struct Client {
    epoch: Option<u16>,
    session: Option<usize>,
    transport: Option<usize>,
    ordinal: u16,
    lost_at: u64,
    recovering: bool,
    tx: u32,
    ack: u64,
    max: u64,
    max_acked: u64,
    wanted: BTreeSet<GroupId>,
    joining: BTreeMap<GroupId, u64>,
    leaving: BTreeMap<GroupId, u64>,
    pending: BTreeMap<(StreamId, u32), Pending>,
    seqs: HashMap<StreamId, u32>,
}

pub(crate) struct Model {
    config: Config,
    rng: ChaCha8Rng,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    transports: Vec<Transport>,
    sessions: Vec<Session>,
    clients: Vec<Client>,
    links: HashMap<(usize, usize), u64>,
    pub(crate) tap: Tap,
    end: u64,
    /// How often the fault was committed.
    pub(crate) lies: u64,
    /// Bytes that the verifier held, every five seconds of the load.
    pub(crate) bytes: Vec<u64>,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed ^ 0x9e37_79b9);
        let slots = (0..config.slots)
            .map(|slot| SlotPlan {
                pool: (slot % 2) as u16,
                reliable: rng.random_bool(0.8),
                no_echo: rng.random_bool(0.3) || config.fault == Some(Fault::Echo),
                data_type: Some(DataType::Binary),
                ..SlotPlan::default()
            })
            .collect();
        let plan = Plan {
            run: 7,
            promise: config.promise,
            mode: config.mode,
            memory_budget: 1 << 30,
            drain: Duration::from_secs(10),
            late_after: Duration::from_secs(2),
            ack_within: Duration::from_secs(5),
            exclusive: true,
            groups: (0..config.groups).map(|g| format!("g{g}").into()).collect(),
            audiences: Vec::new(),
            slots,
        };
        let clients = (0..config.slots)
            .map(|slot| Client {
                epoch: None,
                session: None,
                transport: None,
                ordinal: 0,
                lost_at: 0,
                recovering: false,
                tx: 0,
                ack: 0,
                max: 0,
                max_acked: 0,
                // The last slot stays outside of every group.
                wanted: (0..config.groups)
                    .filter(|_| slot + 1 < config.slots)
                    .map(GroupId)
                    .collect(),
                joining: BTreeMap::new(),
                leaving: BTreeMap::new(),
                pending: BTreeMap::new(),
                seqs: HashMap::new(),
            })
            .collect();
        Model {
            tap: Tap::new(plan, config.shards),
            end: config.load,
            config,
            rng,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            transports: Vec::new(),
            sessions: Vec::new(),
            clients,
            links: HashMap::new(),
            lies: 0,
            bytes: Vec::new(),
        }
    }

    /// Runs load and drain; the verdict, and what the verifier still thought missing.
    pub(crate) fn run(&mut self) -> (Verification, u64) {
        for slot in 0..self.config.slots {
            let late = self.config.late && self.rng.random_bool(0.5);
            let at = self
                .rng
                .random_range(0..if late { self.end * 9 / 10 } else { SEC });
            self.at(at, Event::Connect(slot));
            let at = self.rng.random_range(SEC / 2..2 * SEC);
            self.at(at, Event::Publish(slot));
            let at = self.spread(self.config.drops);
            self.at(at, Event::Drop(slot));
            let at = self.spread(8 * SEC);
            self.at(at, Event::Wander(slot));
            self.at(200 * MS, Event::SequenceAck(slot));
            if self.config.stalls {
                let at = self.spread(20 * SEC);
                self.at(at, Event::Stall(slot));
            }
        }
        for source in 0..self.config.shards as usize {
            let at = self.rng.random_range(0..250 * MS);
            self.at(at, Event::Facts(source));
        }
        // Everything heals within: retries, the recovery window, rejoins, late leaves.
        let last = self.end + 60 * SEC;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > last {
                break;
            }
            self.now = at;
            self.take(event);
        }
        self.now = last;
        for slot in 0..self.config.slots {
            let client = &mut self.clients[slot as usize];
            for ((stream, seq), _) in std::mem::take(&mut client.pending) {
                self.tap.settled(stream, seq, Outcome::Unknown, self.now);
            }
        }
        for source in 0..self.config.shards as usize {
            self.tap.facts(source, self.now);
        }
        let missing = self.tap.missing(self.now);
        (self.tap.finish(self.now), missing)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// A random time around `mean`.
    fn spread(&mut self, mean: u64) -> u64 {
        self.rng.random_range(mean / 4..mean * 2)
    }

    fn chance(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }

    /// Whether to tell the configured lie now.
    fn lie(&mut self, fault: Fault, p: f64) -> bool {
        let lie =
            self.config.fault == Some(fault) && self.now < self.end && self.rng.random_bool(p);
        self.lies += u64::from(lie);
        lie
    }

    fn up(&mut self, slot: u32, frame: Up) {
        let Some(at) = self.clients[slot as usize].transport else {
            return;
        };
        let delay = self.rng.random_range(100..20 * MS);
        let transport = &mut self.transports[at];
        transport.up = (transport.up + 1).max(self.now + delay);
        let when = transport.up;
        self.at(when, Event::AtHub(at, frame));
    }

    fn down(&mut self, at: usize, frame: Down) {
        let delay = self.rng.random_range(100..20 * MS);
        let transport = &mut self.transports[at];
        if !transport.hub_open {
            return;
        }
        transport.down = (transport.down + 1).max(self.now + delay);
        let when = transport.down;
        self.at(when, Event::AtClient(at, frame));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::AtHub(at, frame) => self.at_hub(at, frame),
            Event::AtClient(at, frame) => self.at_client(at, frame),
            Event::Notice(at) => self.notice(at),
            Event::Connect(slot) => self.connect(slot),
            Event::Recover(slot) => self.recover(slot),
            Event::Refused(slot) => {
                let s = Slot(slot);
                self.tap.refused(s, self.now);
                self.give_up(slot, ConnectionEnd::Refused);
            }
            Event::Publish(slot) => self.publish(slot),
            Event::Drop(slot) => self.drop_client(slot),
            Event::Wander(slot) => self.wander(slot),
            Event::Stall(slot) => self.stall(slot),
            Event::Retry(slot, stream, seq, cause) => self.retry(slot, stream, seq, cause),
            Event::SequenceAck(slot) => self.sequence_ack(slot),
            Event::FanOut(from, node, sent, identity) => self.fan_out(from, node, sent, identity),
            Event::Late(session, identity) => self.late(session, identity),
            Event::Facts(source) => {
                let due = 5 * SEC * (self.bytes.len() as u64 + 1);
                if (due..self.end).contains(&self.now) {
                    self.bytes.push(self.tap.bytes());
                }
                self.tap.facts(source, self.now);
                self.tap.tick(self.now);
                let delay = self.rng.random_range(200 * MS..300 * MS);
                self.after(delay, Event::Facts(source));
            }
        }
    }

    // ---- clients

    fn publish(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(300 * MS);
        self.after(gap, Event::Publish(slot));
        if self.clients[slot as usize].transport.is_none()
            || self.clients[slot as usize].pending.len() > 100
        {
            return;
        }
        let group = GroupId(self.rng.random_range(0..self.config.groups));
        let stream = StreamId {
            publisher: Slot(slot),
            group,
        };
        let client = &mut self.clients[slot as usize];
        let seq = client.seqs.entry(stream).or_insert(0);
        *seq += 1;
        let seq = *seq;
        let now = self.tap.stamp(self.now);
        if self.chance(0.1) {
            self.transmit(slot, stream, seq, None, Cause::First, 1, now, now);
            self.tap
                .settled(stream, seq, Outcome::FireAndForget, self.now);
            return;
        }
        let client = &mut self.clients[slot as usize];
        client.ack += 1;
        let ack_id = AckId(client.ack);
        client.pending.insert(
            (stream, seq),
            Pending {
                ack_id,
                intended: now,
                attempt: 1,
                epoch: client.epoch.unwrap(),
                waiting: true,
            },
        );
        self.transmit(slot, stream, seq, Some(ack_id), Cause::First, 1, now, now);
        if self.chance(0.03) {
            self.after(SEC, Event::Retry(slot, stream, seq, Cause::AfterTimeout));
        }
        // Some wait for less than what the hub has, some for longer.
        if self.config.fault == Some(Fault::LoseAck) {
            let wait = self.rng.random_range(SEC..20 * SEC);
            self.after(wait, Event::Retry(slot, stream, seq, Cause::AfterTimeout));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn transmit(
        &mut self,
        slot: u32,
        stream: StreamId,
        seq: u32,
        ack_id: Option<AckId>,
        cause: Cause,
        attempt: u8,
        intended: u64,
        now: u64,
    ) {
        let client = &mut self.clients[slot as usize];
        client.tx += 1;
        let identity = Identity {
            run: 7,
            publisher: Slot(slot),
            group: stream.group,
            seq,
            tx: client.tx,
            epoch: client.epoch.unwrap(),
            transport: client.ordinal,
            no_echo: self.tap.plan.slots[slot as usize].no_echo,
            cause,
            attempt,
            intended,
            lag_us: now - intended,
        };
        self.tap.transmitted(&identity, ack_id, now);
        self.up(slot, Up::Publish(identity, ack_id));
    }

    fn retry(&mut self, slot: u32, stream: StreamId, seq: u32, cause: Cause) {
        let client = &mut self.clients[slot as usize];
        if client.transport.is_none() || client.recovering {
            return;
        }
        let Some(pending) = client.pending.get_mut(&(stream, seq)) else {
            return;
        };
        // A retry planned on one connection is void on the next, which has its own.
        if cause != Cause::NewConnection && Some(pending.epoch) != client.epoch {
            return;
        }
        if pending.attempt >= 6 {
            client.pending.remove(&(stream, seq));
            self.tap.settled(stream, seq, Outcome::Unknown, self.now);
            return;
        }
        let fresh = matches!(cause, Cause::FreshAckId | Cause::NewConnection);
        if fresh {
            client.ack += 1;
            pending.ack_id = AckId(client.ack);
        }
        pending.attempt += 1;
        pending.epoch = client.epoch.unwrap();
        pending.waiting = true;
        let (ack_id, attempt, intended) = (pending.ack_id, pending.attempt, pending.intended);
        let now = self.tap.stamp(self.now);
        self.transmit(
            slot,
            stream,
            seq,
            Some(ack_id),
            cause,
            attempt,
            intended,
            now,
        );
    }

    fn drop_client(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(self.config.drops);
        self.after(gap, Event::Drop(slot));
        let client = &mut self.clients[slot as usize];
        let Some(at) = client.transport.take() else {
            return;
        };
        client.lost_at = self.now;
        client.recovering = true;
        self.transports[at].client_open = false;
        self.tap.lost(Slot(slot), self.now);
        let notice = self.rng.random_range(0..500 * MS);
        self.after(notice, Event::Notice(at));
        for pending in self.clients[slot as usize].pending.values_mut() {
            pending.waiting = false;
        }
        if self.tap.plan.slots[slot as usize].reliable {
            let away = match self.rng.random_range(0..10) {
                0 => 31 * SEC + self.rng.random_range(0..3 * SEC),
                1 => self.rng.random_range(0..25 * SEC),
                _ => self.rng.random_range(0..2 * SEC),
            };
            self.after(away, Event::Recover(slot));
        } else {
            self.give_up(slot, ConnectionEnd::NotRecoverable);
        }
    }

    fn give_up(&mut self, slot: u32, end: ConnectionEnd) {
        self.tap.ended(Slot(slot), end, self.now);
        let client = &mut self.clients[slot as usize];
        client.recovering = false;
        client.joining.clear();
        client.leaving.clear();
        let wait = self.rng.random_range(0..2 * SEC);
        self.after(wait, Event::Connect(slot));
    }

    fn wander(&mut self, slot: u32) {
        if self.now >= self.end || slot + 1 == self.config.slots {
            return;
        }
        let gap = self.spread(8 * SEC);
        self.after(gap, Event::Wander(slot));
        let client = &self.clients[slot as usize];
        if client.transport.is_none()
            || client.recovering
            || !client.joining.is_empty()
            || !client.leaving.is_empty()
        {
            return;
        }
        let group = GroupId(self.rng.random_range(0..self.config.groups));
        if self.clients[slot as usize].wanted.contains(&group) && !self.chance(0.2) {
            let client = &mut self.clients[slot as usize];
            client.wanted.remove(&group);
            client.ack += 1;
            let ack = client.ack;
            client.leaving.insert(group, ack);
            self.tap.leave_invoked(Slot(slot), group, ack, self.now);
            self.up(slot, Up::Leave(group, ack));
        } else {
            self.join(slot, group);
        }
    }

    /// Reads nothing for a while; what the hub sends waits.
    fn stall(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(20 * SEC);
        self.after(gap, Event::Stall(slot));
        let until = self.now + self.rng.random_range(SEC..15 * SEC);
        if let Some(at) = self.clients[slot as usize].transport {
            self.tap.disturbed(Slot(slot), until, self.now);
            self.transports[at].down = self.transports[at].down.max(until);
        }
    }

    fn join(&mut self, slot: u32, group: GroupId) {
        let client = &mut self.clients[slot as usize];
        client.wanted.insert(group);
        client.ack += 1;
        let ack = client.ack;
        client.joining.insert(group, ack);
        self.tap.join_invoked(Slot(slot), group, ack, self.now);
        self.up(slot, Up::Join(group, ack));
    }

    fn sequence_ack(&mut self, slot: u32) {
        self.after(200 * MS, Event::SequenceAck(slot));
        let client = &mut self.clients[slot as usize];
        if client.transport.is_none() || client.recovering || client.max == client.max_acked {
            return;
        }
        client.max_acked = client.max;
        let max = client.max;
        self.tap.sequence_acked(Slot(slot), max, self.now);
        self.up(slot, Up::SequenceAck(max));
    }

    fn at_client(&mut self, at: usize, frame: Down) {
        if !self.transports[at].client_open {
            return;
        }
        let slot = self.transports[at].slot;
        let s = Slot(slot);
        match frame {
            Down::Connected => {
                let client = &mut self.clients[slot as usize];
                let epoch = client.epoch.map_or(0, |epoch| epoch + 1);
                client.epoch = Some(epoch);
                client.ordinal = 0;
                client.max = 0;
                client.max_acked = 0;
                client.transport = Some(at);
                self.tap.connected(s, epoch, self.now);
                for group in self.clients[slot as usize].wanted.clone() {
                    self.join(slot, group);
                }
                self.resume(slot, true);
            }
            Down::Opened => {
                let client = &mut self.clients[slot as usize];
                client.ordinal += 1;
                client.transport = Some(at);
                client.recovering = false;
                let ordinal = client.ordinal;
                self.tap.recovery_opened(s, ordinal, self.now);
                self.tap.recovery_confirmed(s, self.now);
                for (group, ack) in self.clients[slot as usize].joining.clone() {
                    self.tap.join_invoked(s, group, ack, self.now);
                    self.up(slot, Up::Join(group, ack));
                }
                for (group, ack) in self.clients[slot as usize].leaving.clone() {
                    self.tap.request_sent(s, AckId(ack), self.now);
                    self.up(slot, Up::Leave(group, ack));
                }
                self.resume(slot, false);
            }
            Down::Data(id, identity) => {
                let client = &mut self.clients[slot as usize];
                client.max = client.max.max(id);
                self.tap.frame(s, id, &identity, self.now);
            }
            Down::Answer(stream, seq, ack_id, answer) => {
                self.tap.request_answered(s, ack_id, self.now);
                self.tap.heard(s, self.now);
                self.answer(slot, stream, seq, ack_id, answer)
            }
            Down::Joined(group, ack, success) => {
                self.tap.request_answered(s, AckId(ack), self.now);
                self.tap.heard(s, self.now);
                if self.clients[slot as usize].joining.get(&group) == Some(&ack) {
                    self.clients[slot as usize].joining.remove(&group);
                    self.tap.join_answered(s, group, ack, success, self.now);
                }
            }
            Down::Left(group, ack) => {
                self.tap.request_answered(s, AckId(ack), self.now);
                self.tap.heard(s, self.now);
                if self.clients[slot as usize].leaving.get(&group) == Some(&ack) {
                    self.clients[slot as usize].leaving.remove(&group);
                    self.tap.leave_answered(s, group, ack, self.now);
                }
            }
        }
    }

    /// Sends again what was not answered before the drop.
    fn resume(&mut self, slot: u32, new: bool) {
        for ((stream, seq), _) in self.clients[slot as usize].pending.clone() {
            let cause = match (new, self.config.official) {
                (true, _) => Cause::NewConnection,
                (false, true) => Cause::FreshAckId,
                (false, false) => Cause::AfterRecovery,
            };
            if new && self.chance(0.3) {
                self.clients[slot as usize].pending.remove(&(stream, seq));
                self.tap.settled(stream, seq, Outcome::Unknown, self.now);
                continue;
            }
            let wait = self.rng.random_range(0..300 * MS);
            self.after(wait, Event::Retry(slot, stream, seq, cause));
        }
    }

    fn answer(&mut self, slot: u32, stream: StreamId, seq: u32, ack_id: AckId, answer: Answer) {
        let Some(pending) = self.clients[slot as usize].pending.get(&(stream, seq)) else {
            return;
        };
        if pending.ack_id != ack_id || !pending.waiting {
            return;
        }
        self.tap.answered(stream, seq, ack_id, answer, self.now);
        let outcome = match answer {
            Answer::Success | Answer::Duplicate => Outcome::Ok,
            Answer::Forbidden | Answer::Refused => Outcome::Failed,
            Answer::Error => {
                let cause = match self.config.official {
                    true => Cause::FreshAckId,
                    false => Cause::AfterError,
                };
                let wait = self.rng.random_range(10 * MS..800 * MS);
                if let Some(pending) = self.clients[slot as usize].pending.get_mut(&(stream, seq)) {
                    pending.waiting = false;
                }
                self.after(wait, Event::Retry(slot, stream, seq, cause));
                return;
            }
        };
        self.clients[slot as usize].pending.remove(&(stream, seq));
        self.tap.settled(stream, seq, outcome, self.now);
    }

    // ---- hub

    fn connect(&mut self, slot: u32) {
        let session = self.sessions.len();
        let node = self.rng.random_range(0..self.config.nodes);
        self.sessions.push(Session {
            slot,
            node,
            transport: None,
            detached: 0,
            dead: false,
            groups: BTreeMap::new(),
            left: BTreeSet::new(),
            next_id: 0,
            queue: VecDeque::new(),
            done: HashSet::new(),
            held: None,
            frozen: false,
            last: None,
        });
        self.clients[slot as usize].session = Some(session);
        let at = self.open(slot, session);
        self.down(at, Down::Connected);
    }

    fn open(&mut self, slot: u32, session: usize) -> usize {
        self.transports.push(Transport {
            slot,
            session,
            hub_open: true,
            client_open: true,
            up: self.now,
            down: self.now,
        });
        let at = self.transports.len() - 1;
        self.sessions[session].transport = Some(at);
        at
    }

    fn recover(&mut self, slot: u32) {
        let session = self.clients[slot as usize].session.unwrap();
        self.expire(session);
        if self.sessions[session].dead {
            return self.after(5 * MS, Event::Refused(slot));
        }
        if let Some(old) = self.sessions[session].transport.take() {
            self.transports[old].hub_open = false;
        }
        let at = self.open(slot, session);
        self.down(at, Down::Opened);
        let mut replay: Vec<_> = self.sessions[session].queue.iter().copied().collect();
        let unseen = |id: u64, model: &Model| id > model.clients[slot as usize].max;
        if replay.last().is_some_and(|(id, _)| unseen(*id, self))
            && self.lie(Fault::OmitReplay, 0.7)
        {
            replay.pop();
            self.sessions[session].queue.pop_back();
        }
        for (id, identity) in replay {
            self.down(at, Down::Data(id, identity));
        }
    }

    fn notice(&mut self, at: usize) {
        self.transports[at].hub_open = false;
        let session = self.transports[at].session;
        let reliable = self.tap.plan.slots[self.transports[at].slot as usize].reliable;
        let now = self.now;
        let session = &mut self.sessions[session];
        if session.transport == Some(at) {
            session.transport = None;
            session.detached = now;
            session.dead |= !reliable;
        }
    }

    fn expire(&mut self, session: usize) {
        let now = self.now;
        let session = &mut self.sessions[session];
        if session.transport.is_none() && now >= session.detached + WINDOW {
            session.dead = true;
        }
    }

    fn at_hub(&mut self, at: usize, frame: Up) {
        let session = self.transports[at].session;
        if self.sessions[session].dead {
            return;
        }
        let open = self.transports[at].hub_open;
        match frame {
            // A frame already read from a dead transport may still be executed.
            Up::Publish(identity, ack_id) if open || self.chance(0.3) => {
                self.execute(at, session, identity, ack_id);
            }
            Up::Join(group, ack) if open => {
                let success = !self.chance(0.05);
                if success {
                    let now = self.now;
                    let session = &mut self.sessions[session];
                    session.groups.entry(group).or_insert(now);
                    session.left.remove(&group);
                }
                if !self.lie(Fault::LoseAck, 0.05) {
                    self.down(at, Down::Joined(group, ack, success));
                }
            }
            Up::Leave(group, ack) if open => {
                self.sessions[session].groups.remove(&group);
                self.sessions[session].left.insert(group);
                self.down(at, Down::Left(group, ack));
            }
            Up::SequenceAck(id) if open => {
                let queue = &mut self.sessions[session].queue;
                while queue.front().is_some_and(|(first, _)| *first <= id) {
                    queue.pop_front();
                }
            }
            _ => {}
        }
    }

    fn execute(&mut self, at: usize, session: usize, identity: Identity, ack_id: Option<AckId>) {
        let stream = identity.stream();
        let answer = |ack_id, answer| Down::Answer(stream, identity.seq, ack_id, answer);
        if let Some(ack_id) = ack_id {
            if self.sessions[session].done.contains(&ack_id) && !self.lie(Fault::ForgetAckIds, 0.5)
            {
                return self.down(at, answer(ack_id, Answer::Duplicate));
            }
            if self.chance(0.01) {
                if self.lie(Fault::Forbidden, 0.5) {
                    self.spread_out(session, identity);
                }
                return self.down(at, answer(ack_id, Answer::Forbidden));
            }
            if self.config.errors && self.chance(0.04) {
                if self.chance(0.5) {
                    self.spread_out(session, identity);
                }
                return self.down(at, answer(ack_id, Answer::Error));
            }
            self.sessions[session].done.insert(ack_id);
            let lied = self.lie(Fault::Lie, 0.02);
            let silent = self.lie(Fault::LoseAck, 0.05);
            // Several nodes: the ack goes out first.
            if self.config.nodes > 1 && !silent {
                self.down(at, answer(ack_id, Answer::Success));
            }
            if !lied {
                self.spread_out(session, identity);
            }
            if self.config.nodes == 1 && !silent {
                self.down(at, answer(ack_id, Answer::Success));
            }
        } else {
            self.spread_out(session, identity);
        }
    }

    fn spread_out(&mut self, from: usize, identity: Identity) {
        let now = self.now;
        if self.config.nodes == 1 {
            return self.fan_out(from, 0, now, identity);
        }
        let here = self.sessions[from].node;
        for node in 0..self.config.nodes {
            let delay = match node == here {
                true => 100,
                false => self.rng.random_range(100..600 * MS),
            };
            let link = self.links.entry((here, node)).or_insert(0);
            *link = (*link + 1).max(now + delay);
            let when = *link;
            self.at(when, Event::FanOut(from, node, now, identity));
        }
    }

    fn fan_out(&mut self, from: usize, node: usize, sent: u64, identity: Identity) {
        for session in 0..self.sessions.len() {
            self.expire(session);
            let s = &self.sessions[session];
            if s.dead || s.node != node {
                continue;
            }
            let spared = identity.no_echo && session == from && !self.lie(Fault::Echo, 0.05);
            let s = &self.sessions[session];
            let since = s.groups.get(&identity.group).copied();
            // A node learns of another's members a little late.
            let foreign = self.config.nodes > 1 && self.sessions[from].node != node;
            let visible = since.is_some_and(|since| !foreign || since + 800 * MS <= sent);
            let left = s.left.contains(&identity.group);
            let outside = since.is_none() && !left && s.transport.is_some();
            if (visible && !spared)
                || (left && self.lie(Fault::LateLeave, 0.2))
                || (outside && self.lie(Fault::Misdeliver, 0.01))
            {
                self.deliver(session, identity);
            }
        }
    }

    fn deliver(&mut self, session: usize, identity: Identity) {
        if self.lie(Fault::Withhold, 0.003) {
            return;
        }
        // From now on nothing more comes on this connection, whatever it is owed.
        if self.sessions[session].frozen || self.lie(Fault::Freeze, 0.003) {
            self.sessions[session].frozen = true;
            return;
        }
        if self.sessions[session].held.is_none() && self.lie(Fault::Swap, 0.01) {
            self.sessions[session].held = Some(identity);
            return;
        }
        // Long enough for its publisher to come back over a new transport, and again.
        if self.lie(Fault::Delay, 0.02) {
            let wait = self.rng.random_range(50 * MS..1500 * MS);
            return self.after(wait, Event::Late(session, identity));
        }
        self.number(session, identity);
        if self.lie(Fault::Double, 0.005) {
            self.number(session, identity);
        }
        if let Some(held) = self.sessions[session].held.take() {
            self.number(session, held);
        }
    }

    /// What was held back goes out, if its receiver is still a member.
    fn late(&mut self, session: usize, identity: Identity) {
        self.expire(session);
        let to = &self.sessions[session];
        if !to.dead && !to.frozen && to.groups.contains_key(&identity.group) {
            self.number(session, identity);
        }
    }

    fn number(&mut self, session: usize, identity: Identity) {
        let slot = self.sessions[session].slot;
        let reliable = self.tap.plan.slots[slot as usize].reliable;
        let skip = reliable && self.lie(Fault::SkipId, 0.003);
        let withhold = reliable && self.lie(Fault::WithholdNumbered, 0.003);
        let repeat = reliable && self.lie(Fault::RepeatId, 0.003);
        let s = &mut self.sessions[session];
        s.next_id += 1 + u64::from(skip);
        if withhold {
            return;
        }
        let id = if reliable { s.next_id } else { 0 };
        if reliable {
            s.queue.push_back((id, identity));
        }
        s.last = Some((id, identity));
        let Some(at) = s.transport else {
            return;
        };
        self.down(at, Down::Data(id, identity));
        if repeat {
            self.down(at, Down::Data(id, identity));
        }
    }
}
