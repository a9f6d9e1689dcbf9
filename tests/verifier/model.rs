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

mod clients;
mod hub;

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
}
