//! The core's tables, and what the shell asks of them. How sessions live is in the other
//! files of this folder, as further `impl Core` blocks.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rustc_hash::{FxHashMap, FxHashSet};
use secrecy::SecretString;

use super::acks::AckMemory;
use super::arena::{Arena, Key};
use super::events::{Call, Handled};
use super::groups::{Groups, Membership};
use super::later::{Cut, Later};
use super::message::{Dialect, Encoding, Tail};
use super::outbox::{End, Out, Outbox};
use super::permissions::Permissions;
use super::publish_faults::Held;
use super::streams::Stream;
use super::token::TokenMint;
use crate::base::{Seed, Time};
use crate::hub::config::{EventHandler, SystemEvents};
use crate::hub::faults::{FaultPlan, FaultSpec};
use crate::hub::truth::Truth;

/// What the core needs to know at its start.
pub(crate) struct Settings {
    pub(crate) seed: Seed,
    /// Of connectionIds and tokens: another one for each start of a hub, so that a client of
    /// the one before is never taken for one of this.
    pub(crate) id_seed: Seed,
    pub(crate) faults: Vec<FaultSpec>,
    pub(crate) recovery_window: Duration,
    pub(crate) handler: EventHandler,
    /// Events go upstream, not to `handler`, and these of the hub's own with them.
    pub(crate) upstream: Option<SystemEvents>,
    pub(crate) access_key: Option<SecretString>,
    /// The origin of the faults' `at=` times.
    pub(crate) start: Time,
}

/// A data message that waits for its sequenceAck.
#[derive(Clone)]
pub(crate) struct Unacked {
    pub(crate) sequence_id: u64,
    pub(crate) tail: Rc<Tail>,
}

/// One logical connection: what a connectionId names. Outlives its transports.
pub(crate) struct Session {
    pub(crate) id: u128,
    pub(crate) hub: Key,
    pub(crate) user: Option<Rc<str>>,
    pub(crate) permissions: Rc<Permissions>,
    pub(crate) dialect: Dialect,
    pub(crate) groups: Vec<Membership>,
    /// The transport, while there is one.
    pub(crate) link: Option<Key>,
    /// The last sequence id given; 0 before the first.
    pub(crate) last_id: u64,
    /// At most 1000 messages and 16 MiB; beyond, the session ends.
    pub(crate) unacked: VecDeque<Unacked>,
    pub(crate) unacked_bytes: usize,
    pub(crate) acks: AckMemory,
    /// Transports lost so far; tells an expiry timer whether it is still meant.
    pub(crate) drops: u32,
    /// `last_id` when the transport was lost: later messages were never sent.
    pub(crate) last_id_at_drop: u64,
    /// Set while faults need to remember something of this session.
    pub(crate) fault_state: Option<Box<FaultState>>,
    /// Set once its events go upstream.
    pub(crate) handled: Option<Box<Handled>>,
    /// The streams it publishes; at most [`super::streams::STREAMS_MAX`].
    pub(crate) streams: Vec<Stream>,
    /// When the streams are looked at next.
    pub(crate) streams_idle_at: Time,
    /// The lifetime of its reconnection tokens, in seconds.
    pub(crate) token_lifetime_s: u32,
    /// From when on the next keep-alive ping brings a fresh token.
    pub(crate) token_refresh_at: Time,
}

/// What faults remember of a session.
#[derive(Default)]
pub(crate) struct FaultState {
    /// A delivery held back until the next one, to change places with it.
    pub(crate) held: Option<Held>,
    /// The last messages that were acknowledged, for a recovery that repeats them.
    pub(crate) acked: VecDeque<Unacked>,
    /// Deliveries of one group held back in case the session leaves it.
    pub(crate) cut: Option<Cut>,
    /// Groups of which the session is a member twice.
    pub(crate) doubled: Vec<Key>,
    /// Groups that it left and is still a member of.
    pub(crate) left: Vec<Key>,
    /// Groups that it was a member of, kept where `misdeliver` looks for an outsider.
    pub(crate) departed: Vec<Key>,
    /// It gets no group message any more.
    pub(crate) frozen: bool,
}

/// One transport.
pub(crate) struct Link {
    /// Its session; may be gone while the end is still being written.
    pub(crate) session: Key,
    pub(crate) outbox: Outbox,
    pub(crate) end: Option<End>,
    /// Nothing is written before this time (the faults `stall` and `recovery_slow`).
    pub(crate) stalled_until: Time,
    /// Half-open: nothing is written or heard any more.
    pub(crate) mute: bool,
    dirty: bool,
}

/// What shall happen at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// The recovery window of this session's Nth drop is over.
    Expire { session: Key, drop: u32 },
    /// A held delivery finds no partner to change places with.
    ReleaseHeld { session: Key },
    /// A stream of this session may have been silent too long.
    StreamsIdle { session: Key },
    /// Something that a fault has put off is due.
    Later { number: u64 },
    /// The fault `restart` is due.
    Restart,
}

/// The whole state of the hub.
pub(crate) struct Core {
    pub(crate) settings: CoreSettings,
    pub(crate) sessions: Arena<Session>,
    pub(crate) by_id: FxHashMap<u128, Key>,
    pub(crate) links: Arena<Link>,
    pub(crate) groups: Groups,
    pub(crate) faults: FaultPlan,
    pub(crate) truth: Truth,
    pub(crate) ids: ChaCha8Rng,
    pub(crate) tokens: TokenMint,
    /// Sessions found too full during a fan-out; ended after it.
    pub(crate) overflowed: Vec<Key>,
    pub(crate) scratch: Vec<u8>,
    /// The time of the call that is being served.
    pub(crate) now: Time,
    /// Calls upstream that wait for the shell.
    pub(crate) calls: Vec<Call>,
    /// What faults have put off, by number.
    pub(crate) later: FxHashMap<u64, Later>,
    pub(crate) later_set: u64,
    /// Sessions that a fault has ended; removed after the fan-out.
    pub(crate) doomed: Vec<Key>,
    /// A fault wants the hub to restart; the shell does it.
    pub(crate) restart_wanted: bool,
    /// Who was a member of what on earlier connections, for the fault `deny_rejoin`.
    pub(crate) past_members: FxHashSet<(Rc<str>, Box<str>)>,
    /// One entry per drop within the last recovery window, and per held delivery.
    timers: BinaryHeap<Reverse<(Time, u64, Timer)>>,
    timers_set: u64,
    dirty: Vec<Key>,
}

/// The part of [`Settings`] that is asked later.
pub(crate) struct CoreSettings {
    pub(crate) recovery_window: Duration,
    pub(crate) handler: EventHandler,
    pub(crate) upstream: Option<SystemEvents>,
}

impl Core {
    pub(crate) fn new(settings: Settings) -> Self {
        let seed = settings.seed;
        let mut core = Core {
            sessions: Arena::new(),
            by_id: FxHashMap::default(),
            links: Arena::new(),
            groups: Groups::new(),
            faults: FaultPlan::new(settings.faults, seed, settings.start),
            truth: Truth::new(seed.0),
            ids: settings.id_seed.stream("hub-connection-id", 0),
            tokens: TokenMint::new(settings.access_key.as_ref(), settings.id_seed),
            overflowed: Vec::new(),
            scratch: Vec::new(),
            now: settings.start,
            calls: Vec::new(),
            later: FxHashMap::default(),
            later_set: 0,
            doomed: Vec::new(),
            restart_wanted: false,
            past_members: FxHashSet::default(),
            timers: BinaryHeap::new(),
            timers_set: 0,
            dirty: Vec::new(),
            settings: CoreSettings {
                recovery_window: settings.recovery_window,
                handler: settings.handler,
                upstream: settings.upstream,
            },
        };
        core.arm_restarts(settings.start);
        core
    }

    /// Adds a transport for `session`.
    pub(crate) fn attach(&mut self, session: Key, encoding: Encoding) -> Key {
        self.links.insert(Link {
            session,
            outbox: Outbox::new(encoding),
            end: None,
            stalled_until: Time::ZERO,
            mute: false,
            dirty: false,
        })
    }

    /// Queues a frame to a transport, unless it is ending or gone.
    // Inlined, an `Out` is made where it will wait: handed over in memory, each delivery
    // waited for the stores before it (6 % of the hub's time in a flood).
    #[inline(always)]
    pub(crate) fn send(&mut self, link_key: Key, out: Out) {
        if let Some(link) = self.links.get_mut(link_key)
            && link.end.is_none()
            && !link.mute
        {
            link.outbox.push(out);
            if !link.dirty {
                link.dirty = true;
                self.dirty.push(link_key);
            }
        }
    }

    /// Has a transport looked at again.
    pub(crate) fn mark_dirty(&mut self, link_key: Key) {
        if let Some(link) = self.links.get_mut(link_key)
            && !link.dirty
        {
            link.dirty = true;
            self.dirty.push(link_key);
        }
    }

    /// Ends a transport; the first end given counts. A reset throws away what waits.
    pub(crate) fn end_link(&mut self, link_key: Key, end: End) {
        if let Some(link) = self.links.get_mut(link_key)
            && link.end.is_none()
        {
            if end == End::Reset {
                link.outbox.clear();
            }
            link.end = Some(end);
            if !link.dirty {
                link.dirty = true;
                self.dirty.push(link_key);
            }
        }
    }

    /// Moves the keys of the transports that have something new to do into `keys`.
    pub(crate) fn take_dirty(&mut self, keys: &mut Vec<Key>) {
        for &key in &self.dirty {
            if let Some(link) = self.links.get_mut(key) {
                link.dirty = false;
            }
        }
        keys.append(&mut self.dirty);
    }

    /// Writes waiting frames of a transport to `out` until it holds `limit` bytes. With an
    /// empty outbox, gives the transport's end if it has one.
    pub(crate) fn drain(
        &mut self,
        link: Key,
        out: &mut Vec<u8>,
        limit: usize,
        now: Time,
    ) -> Option<End> {
        let link = self.links.get_mut(link)?;
        if link.stalled_until > now && link.end != Some(End::Reset) {
            return None;
        }
        let drained = link.outbox.drain(out, limit, now);
        self.truth.frames_sent += drained.frames;
        self.truth.acks_sent += drained.acks;
        let end = (link.outbox.len() == 0).then(|| link.end.clone()).flatten();
        if !drained.expired.is_empty() {
            let session = link.session;
            self.forget_expired(session, &drained.expired);
        }
        end
    }

    /// Messages that outlived their time to live in a slow socket's queue: they leave a gap
    /// in the sequence ids, as documented, and need no sequenceAck.
    fn forget_expired(&mut self, session: Key, ids: &[u64]) {
        self.truth.deliveries_expired += ids.len() as u64;
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        session
            .unacked
            .retain(|message| ids.binary_search(&message.sequence_id).is_err());
        session.unacked_bytes = session.unacked.iter().map(|m| m.tail.len()).sum();
    }

    /// Frames that wait for this transport; the shell stops reading from it above a bound.
    pub(crate) fn waiting(&self, link: Key) -> usize {
        self.links.get(link).map_or(0, |link| link.outbox.len())
    }

    pub(crate) fn set_timer(&mut self, at: Time, timer: Timer) {
        self.timers_set += 1;
        self.timers.push(Reverse((at, self.timers_set, timer)));
    }

    /// When [`Core::handle_timeout`] wants to be called; `None`: not at all.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        while let Some(Reverse((at, _, timer))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            self.now = now;
            match timer {
                Timer::Expire { session, drop } => self.expire(session, drop),
                Timer::ReleaseHeld { session } => self.release_held(session),
                Timer::StreamsIdle { session } => self.streams_idle(session, now),
                Timer::Later { number } => self.do_later(number),
                Timer::Restart => self.restart_at(now),
            }
        }
    }

    /// What the hub has counted so far.
    pub(crate) fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The counters, for the shell to book what only it sees.
    pub(crate) fn truth_mut(&mut self) -> &mut Truth {
        &mut self.truth
    }
}
