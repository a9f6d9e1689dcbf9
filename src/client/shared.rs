//! What the clients of one arbiter share: clock, dialer, read buffer, verifier, counters.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use secrecy::SecretString;
use tokio::task::unconstrained;

use super::actor::Shell;
use super::alarm::{Alarms, Ringer};
use super::directory::Directory;
use super::sabotage::Sabotage;
use super::turns::{self, Roster};
use crate::base::{Clock, GroupId, Seed, Slot, Time};
use crate::metrics::{Moments, Snapshot};
use crate::protocol::SessionConfig;
use crate::scenario::{Audiences, Scenario};
use crate::transport::{
    ClientIdentity, Dialer, Poller, ReadBuffer, ServiceClient, SourceAddresses, Target, TlsError,
    TlsOptions,
};
use crate::verify::Shard;
use crate::wire::Subprotocol;

/// A transport may be seen to end so long after the restart that ended it.
const RESTART_SLACK: Duration = Duration::from_secs(2);
/// Notes kept for the coordinator between two reports; more are counted and dropped.
const NOTES_MAX: usize = 256;

/// What an arbiter's clients need to know. `Send`: made by the coordinator's thread.
#[derive(Clone, Debug)]
pub struct SharedConfig {
    /// The process clock.
    pub clock: Clock,
    /// What to do.
    pub scenario: Arc<Scenario>,
    /// Marks the run's messages.
    pub run: u32,
    /// Where to connect.
    pub target: Arc<Target>,
    /// How to judge a TLS certificate.
    pub tls: TlsOptions,
    /// Where to connect from; the kernel's choice when there is none.
    pub sources: Option<Arc<SourceAddresses>>,
    /// Which connections there are, for servers that send to them.
    pub directory: Arc<Directory>,
    /// What the harness does to itself; nothing outside a selftest.
    pub sabotage: Option<Sabotage>,
}

/// What the clients of one arbiter share.
pub struct Shared {
    pub(crate) clock: Clock,
    pub(crate) scenario: Arc<Scenario>,
    pub(super) run: u32,
    pub(super) target: Arc<Target>,
    pub(super) sources: Option<Arc<SourceAddresses>>,
    pub(super) dialer: Dialer,
    pub(super) read: RefCell<ReadBuffer>,
    /// Sends for servers; only where there are any.
    pub(super) service: Option<ServiceClient>,
    /// To whom server messages go.
    pub(super) audiences: Audiences,
    pub(super) directory: Arc<Directory>,
    /// The verifier of this arbiter's receivers and publishers.
    pub(crate) shard: RefCell<Shard>,
    /// Totals since the start.
    pub(crate) stats: RefCell<Snapshot>,
    pub(super) sessions: Vec<Arc<SessionConfig>>,
    pub(super) groups: Vec<Arc<str>>,
    group_ids: FxHashMap<Arc<str>, GroupId>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) alarms: RefCell<Alarms<Weak<Shell>>>,
    pub(super) roster: Rc<Roster>,
    /// Watches open connections, where the system has a descriptor for it.
    poller: OnceCell<Option<Rc<Poller>>>,
    /// It failed.
    deaf: Cell<bool>,
    /// Somebody gives turns.
    moving: Cell<bool>,
    /// First dials under way, for the pace of connecting.
    pub(crate) connecting: Cell<u32>,
    /// Clients whose actors ended, until the fleet lets go of them.
    pub(crate) gone: RefCell<Vec<Slot>>,
    /// Clients that are connected, and members of all their groups, for the first time.
    pub(crate) ready: Cell<u32>,
    /// Clients that ever had a connection.
    pub(crate) ever_connected: Cell<u32>,
    /// Clients that ever had a connection and will have none again: visitors that have gone,
    /// and those whose policy is not to reconnect, or not for ever.
    pub(crate) departed: Cell<u32>,
    /// Client actors that ended in a panic.
    pub(crate) panicked: Cell<u32>,
    pub(crate) sabotage: Option<Sabotage>,
    /// The one frame to be lost is lost.
    pub(super) struck: Cell<bool>,
    /// When the plan restarts the hub, ascending.
    pub(crate) restarts: RefCell<Vec<Time>>,
    /// The start of the load, once it has started.
    pub(crate) load_start: Cell<Option<Time>>,
    /// Nothing more is to be published, whatever the plan says.
    pub(crate) load_over: Cell<bool>,
    /// What happened to clients, lately.
    pub(crate) moments: RefCell<Moments>,
    /// Why connects failed, lately.
    pub(crate) notes: RefCell<Notes>,
}

/// Buffers for encoding one frame at a time.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) payload: Vec<u8>,
    pub(super) frame: Vec<u8>,
}

/// A bounded list of things worth telling a person.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    kept: VecDeque<String>,
    pub(crate) dropped: u64,
}

impl Notes {
    pub(crate) fn push(&mut self, note: String) {
        if self.kept.len() >= NOTES_MAX {
            self.dropped += 1;
        } else {
            self.kept.push_back(note);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.kept.drain(..).collect()
    }
}

impl Shared {
    /// Makes the arbiter's part of a run.
    ///
    /// # Errors
    /// The TLS options cannot be used.
    pub fn new(config: SharedConfig, shard: Shard) -> Result<Rc<Self>, TlsError> {
        let scenario = config.scenario;
        let groups: Vec<Arc<str>> = scenario
            .groups
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        let group_ids = (0..)
            .map(GroupId)
            .zip(&groups)
            .map(|(id, name)| (name.clone(), id))
            .collect();
        Ok(Rc::new(Shared {
            clock: config.clock,
            run: config.run,
            target: config.target,
            sources: config.sources,
            dialer: Dialer::new(&config.tls)?,
            service: match scenario.pools.iter().any(|pool| pool.server) {
                true => Some(ServiceClient::new(&config.tls)?),
                false => None,
            },
            audiences: Audiences::of(&scenario),
            directory: config.directory,
            read: RefCell::new(ReadBuffer::new()),
            stats: RefCell::new(Snapshot::new(scenario.pools.len())),
            sessions: scenario
                .pools
                .iter()
                .map(|pool| Arc::new(pool.client.session.clone()))
                .collect(),
            groups,
            group_ids,
            scratch: RefCell::default(),
            alarms: RefCell::default(),
            poller: OnceCell::new(),
            deaf: Cell::new(false),
            roster: Rc::new(Roster::new(shard.slots().start)),
            moving: Cell::new(false),
            shard: RefCell::new(shard),
            connecting: Cell::new(0),
            gone: RefCell::default(),
            ready: Cell::new(0),
            ever_connected: Cell::new(0),
            departed: Cell::new(0),
            panicked: Cell::new(0),
            sabotage: config.sabotage,
            struck: Cell::new(false),
            restarts: RefCell::default(),
            load_start: Cell::new(None),
            load_over: Cell::new(false),
            moments: RefCell::default(),
            notes: RefCell::default(),
            scenario,
        }))
    }

    /// The totals so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.stats.borrow().clone();
        snapshot.reads = self.read.borrow().counts();
        snapshot.taken = self.clock.now();
        snapshot
    }

    pub(super) fn poller(&self) -> Option<&Poller> {
        self.poller
            .get()
            .and_then(Option::as_deref)
            .filter(|_| !self.deaf.get())
    }

    /// The kernel does not say any more which connections are ready. What they would have
    /// brought is not the hub's fault: the run fails as one whose clients panic.
    pub(super) fn is_deaf(&self, error: &std::io::Error) {
        tracing::error!(%error, "open connections cannot be watched any more");
        self.deaf.set(true);
        self.panicked.set(self.panicked.get() + 1);
        let note = format!("a thread cannot watch its connections any more: {error}");
        self.notes.borrow_mut().push(note);
    }

    /// Starts the tasks that give clients their turns, once. To be called in the arbiter.
    pub(super) fn give_turns(self: &Rc<Self>) {
        if !self.moving.replace(true) {
            let poller = Poller::new().inspect_err(
                |error| tracing::warn!(%error, "connections are watched by the runtime alone"),
            );
            let poller = self.poller.get_or_init(|| poller.ok().map(Rc::new)).clone();
            actix_rt::spawn(Ringer::new(self));
            // It reads and writes for many: no budget of one task is meant for that.
            actix_rt::spawn(unconstrained(turns::pump(Rc::downgrade(self), poller)));
        }
    }

    /// Whether the plan restarted the hub about when a transport was lost at `lost`: then
    /// the hub has forgotten the session, and rightly refuses to recover it.
    pub(super) fn restarted_about(&self, lost: Time, now: Time) -> bool {
        let from = lost.saturating_sub(RESTART_SLACK);
        self.restarts
            .borrow()
            .iter()
            .any(|at| (from..=now).contains(at))
    }

    /// What the chance in the session of `slot` comes from.
    pub(super) fn seed_of(&self, slot: Slot) -> Seed {
        self.scenario.seed.child(&format!("session {slot}"))
    }

    pub(super) fn subprotocol_of(&self, slot: Slot) -> Subprotocol {
        self.sessions[self.scenario.pool_of(slot)].subprotocol
    }

    pub(super) fn group_id(&self, name: &Arc<str>) -> Option<GroupId> {
        self.group_ids.get(name).copied()
    }

    /// A fresh URL for a new connection of `slot`; an `expired` token when a fault asks.
    pub(super) fn connect_url(&self, slot: Slot, expired: bool) -> SecretString {
        let now = self.clock.unix_now();
        let client = &self.scenario.pools[self.scenario.pool_of(slot)].client;
        let identity = ClientIdentity {
            user_id: client
                .user_ids
                .then(|| user_id(self.scenario.user_of(slot))),
            roles: client.roles.clone(),
            groups: Vec::new(),
            lifetime: if expired {
                Duration::ZERO
            } else {
                client.token_lifetime
            },
        };
        // Hubs grant five minutes of clock skew; an hour ago is expired for all of them.
        self.target.connect_url(
            &identity,
            if expired {
                now.saturating_sub(3600)
            } else {
                now
            },
        )
    }

    /// The URL for recovering a session of `slot`.
    pub(super) fn recovery_url(
        &self,
        slot: Slot,
        connection_id: &str,
        token: &str,
    ) -> SecretString {
        Target::recovery_url(&self.connect_url(slot, false), connection_id, token)
    }
}

/// The user id of the user whose first connection is `slot`.
pub fn user_id(slot: Slot) -> String {
    format!("u-{slot}")
}
