//! A simulated application server: it holds no connection to the hub and publishes over the
//! service API, by a schedule that never waits for it.
//!
//! It has a slot and streams like any publisher. Each of its [`REQUESTS_PER_SERVER`] lanes
//! has one request under way; to the verifier a lane is a connection of the publisher (its
//! epoch), so that order is judged where it was waited for, and nowhere else. The 202 is the
//! ack; nothing is sent twice. Source: verification 12, protocol 7.3.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::fut::ActorFutureExt as _;
use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message as ActixMessage, WrapFuture as _,
};
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::actor::{Abandon, Goodbye};
use super::publish::NO_GROUP;
use super::shared::{Shared, user_id};
use crate::base::{AckId, Cause, Draws, GroupId, Slot, Time};
use crate::metrics::LatencyKind;
use crate::metrics::stats::PublishCounts;
use crate::payload::{Identity, StreamId, Template};
use crate::scenario::{self, Destination, REQUESTS_PER_SERVER};
use crate::transport::{ServiceError, ServiceRequest, Target};
use crate::verify;
use crate::wire::Data;

/// Messages under way or waiting in one server; more are counted as failed (overflow), as
/// with clients.
const REQUESTS_MAX: usize = 256;
/// How long an answer may take; the docs name none, this is the SDKs' read timeout in round
/// numbers.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often a connection is drawn before the server gives up finding one.
const DRAWS_MAX: u32 = 16;

/// One simulated application server.
pub struct Server {
    shared: Rc<Shared>,
    slot: Slot,
    pool: usize,
    /// Transmissions so far; each is of another message.
    tx: u32,
    /// The last number given in each stream.
    seqs: FxHashMap<GroupId, u32>,
    draws: Draws,
    lanes: [Lane; REQUESTS_PER_SERVER],
    /// Intended times of what waits for a lane.
    waiting: VecDeque<Time>,
    /// Nothing more is sent.
    over: bool,
}

/// One request after the other.
#[derive(Clone, Copy, Default)]
struct Lane {
    busy: Option<UnderWay>,
    /// Requests that nobody knows the fate of end the order of a lane.
    transport: u16,
}

#[derive(Clone, Copy)]
struct UnderWay {
    stream: StreamId,
    seq: u32,
    intended: Time,
    tx: u32,
}

/// To whom a message goes.
struct Address {
    group: GroupId,
    to: To,
}

enum To {
    Everybody,
    Group(GroupId),
    User(Slot),
    Connection(Slot),
}

impl Server {
    /// A server that sends what it is told to.
    pub fn new(shared: Rc<Shared>, slot: Slot) -> Self {
        Server {
            pool: shared.scenario.pool_of(slot),
            draws: shared.scenario.seed.draws("message", u64::from(slot.0)),
            slot,
            tx: 0,
            seqs: FxHashMap::default(),
            lanes: [Lane::default(); REQUESTS_PER_SERVER],
            waiting: VecDeque::new(),
            over: false,
            shared,
        }
    }

    fn under_way(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.busy.is_some()).count()
    }

    /// Sends what waits, as far as lanes are free.
    fn send_waiting(&mut self, ctx: &mut Context<Self>) {
        while let Some(lane) = self.lanes.iter().position(|lane| lane.busy.is_none()) {
            let Some(intended) = self.waiting.pop_front() else {
                return;
            };
            self.send(lane, intended, ctx);
        }
    }

    fn send(&mut self, lane: usize, intended: Time, ctx: &mut Context<Self>) {
        let shared = self.shared.clone();
        let plan = shared.scenario.pools[self.pool].publish.as_ref();
        let address = plan.and_then(|plan| self.address(plan));
        let (Some(plan), Some(address), Some(service)) = (plan, address, &shared.service) else {
            // Nobody is there to send to: never sent, so failed.
            self.count(|counts| counts.failed += 1);
            return;
        };
        let now = shared.clock.now();
        let identity = self.identity(lane, address.group, intended, now);
        shared.shard.borrow_mut().transmitted(&identity, None, now);
        self.lanes[lane].busy = Some(UnderWay {
            stream: identity.stream(),
            seq: identity.seq,
            intended,
            tx: self.tx,
        });
        let size = match plan.sizes {
            scenario::Sizes::Fixed => plan.payload.size,
            sizes => sizes.pick(
                plan.payload.size,
                self.draws.fraction(),
                self.draws.fraction(),
            ),
        };
        let template = Template {
            size,
            ..plan.payload
        };
        let (content_type, body) = {
            let mut scratch = shared.scratch.borrow_mut();
            let data = template.write(&identity, &mut scratch.payload);
            (content_type(&data), Bytes::copy_from_slice(data.as_bytes()))
        };
        // After the verifier's stamp: a connection entered before it is found here.
        let path = self.path(&address.to);
        let (url, bearer) = shared.target.service_url(&path, shared.clock.unix_now());
        let sources = shared.sources.as_ref();
        let request = service.post(ServiceRequest {
            url,
            bearer,
            content_type,
            body,
            source: sources.map(|sources| sources.of(self.slot.0)),
            timeout: TIMEOUT,
        });
        ctx.spawn(
            request
                .into_actor(self)
                .map(move |answer, server, ctx| server.answered(lane, &answer, ctx)),
        );
    }

    /// To whom the next message goes; `None` when nobody is there.
    fn address(&mut self, plan: &scenario::Publish) -> Option<Address> {
        let shared = self.shared.clone();
        let pick = |draws: &mut Draws, of: usize| {
            let slots = shared.scenario.pools[of].slots();
            let nth = (draws.fraction() * f64::from(slots.end - slots.start)) as u32;
            Slot((slots.start + nth).min(slots.end - 1))
        };
        Some(match &plan.to {
            Destination::Everybody => Address {
                group: shared.audiences.everybody()?,
                to: To::Everybody,
            },
            Destination::Group(group) => Address {
                group: *group,
                to: To::Group(*group),
            },
            Destination::Random(groups) => {
                let nth = (self.draws.fraction() * groups.len() as f64) as usize;
                let group = *groups.get(nth.min(groups.len() - 1))?;
                Address {
                    group,
                    to: To::Group(group),
                }
            }
            Destination::User(of) => {
                let slot = shared.scenario.user_of(pick(&mut self.draws, *of));
                Address {
                    group: shared.audiences.user(slot)?,
                    to: To::User(slot),
                }
            }
            Destination::Connection(of) => {
                let draws = &mut self.draws;
                let slot = (0..DRAWS_MAX)
                    .map(|_| pick(draws, *of))
                    .find(|slot| shared.directory.find(*slot).is_some())?;
                Address {
                    group: shared.audiences.connection(slot)?,
                    to: To::Connection(slot),
                }
            }
            Destination::Joined | Destination::Event { .. } => return None,
        })
    }

    fn path(&self, to: &To) -> String {
        match to {
            To::Everybody => "/:send".to_owned(),
            To::Group(group) => {
                let name = &self.shared.groups[group.index()];
                format!("/groups/{}/:send", Target::escaped(name))
            }
            To::User(slot) => {
                let id = user_id(*slot);
                format!("/users/{}/:send", Target::escaped(&id))
            }
            To::Connection(slot) => {
                let id = self.shared.directory.find(*slot).unwrap_or_default();
                format!("/connections/{}/:send", Target::escaped(&id))
            }
        }
    }

    fn identity(&mut self, lane: usize, group: GroupId, intended: Time, now: Time) -> Identity {
        debug_assert_ne!(group, NO_GROUP);
        self.tx += 1;
        let seq = self.seqs.entry(group).or_insert(0);
        *seq += 1;
        Identity {
            run: self.shared.run,
            publisher: self.slot,
            group,
            seq: *seq,
            tx: self.tx,
            // Far fewer lanes than 2^16.
            epoch: lane as u16,
            transport: self.lanes[lane].transport,
            no_echo: false,
            cause: Cause::First,
            attempt: 1,
            intended: intended.as_micros() & ((1 << 40) - 1),
            lag_us: now.micros_since(intended),
        }
    }

    fn answered(
        &mut self,
        lane: usize,
        answer: &Result<(), ServiceError>,
        ctx: &mut Context<Self>,
    ) {
        // What was abandoned has its outcome already.
        if let Some(sent) = self.lanes[lane].busy.take() {
            let now = self.shared.clock.now();
            let outcome = match answer {
                Ok(()) => verify::Outcome::Ok,
                Err(ServiceError::Refused { .. }) => verify::Outcome::Failed,
                Err(ServiceError::Unknown(_)) => verify::Outcome::Unknown,
            };
            self.settle(sent, outcome, now);
            if let Err(error) = answer {
                let note = format!("server at slot {}: {error}", self.slot);
                self.shared.notes.borrow_mut().push(note);
            }
            if outcome == verify::Outcome::Unknown {
                // The next request may overtake this one. After the last number order is
                // judged too strictly only if 65,535 requests of one lane went unanswered.
                self.lanes[lane].transport = self.lanes[lane].transport.saturating_add(1);
            }
        }
        self.send_waiting(ctx);
    }

    fn settle(&mut self, sent: UnderWay, outcome: verify::Outcome, now: Time) {
        let mut shard = self.shared.shard.borrow_mut();
        // Requests have no ackId; the transmission's number tells them apart.
        let id = AckId(u64::from(sent.tx));
        match outcome {
            verify::Outcome::Ok => {
                shard.answered(sent.stream, sent.seq, id, verify::Answer::Success, now);
            }
            verify::Outcome::Failed => {
                shard.answered(sent.stream, sent.seq, id, verify::Answer::Refused, now);
            }
            _ => {}
        }
        shard.settled(sent.stream, sent.seq, outcome, now);
        drop(shard);
        self.count(|counts| match outcome {
            verify::Outcome::Ok => counts.acked += 1,
            verify::Outcome::Failed => counts.failed += 1,
            _ => counts.unknown += 1,
        });
        if outcome == verify::Outcome::Ok {
            let mut stats = self.shared.stats.borrow_mut();
            let latency = &mut stats.pools[self.pool].latency;
            latency.record(LatencyKind::Ack, now.micros_since(sent.intended));
        }
    }

    /// Counts the outcome of a message that was taken up.
    fn count(&self, outcome: impl FnOnce(&mut PublishCounts)) {
        let mut stats = self.shared.stats.borrow_mut();
        let pool = &mut stats.pools[self.pool];
        pool.outstanding -= 1;
        outcome(&mut pool.publish);
    }
}

fn content_type(data: &Data<'_>) -> &'static str {
    match data {
        Data::Text(_) => "text/plain",
        Data::Json(_) => "application/json",
        Data::Binary(_) => "application/octet-stream",
        Data::Protobuf(_) => "application/x-protobuf",
    }
}

/// A publish is due.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Publish {
    /// When the schedule wants it sent.
    pub intended: Time,
}

impl Actor for Server {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(REQUESTS_MAX);
    }
}

impl Handler<Publish> for Server {
    type Result = ();

    fn handle(&mut self, Publish { intended }: Publish, ctx: &mut Self::Context) {
        let room = self.under_way() + self.waiting.len() < REQUESTS_MAX && !self.over;
        {
            let mut stats = self.shared.stats.borrow_mut();
            let pool = &mut stats.pools[self.pool];
            pool.publish.attempted += 1;
            if !room {
                pool.publish.failed += 1;
                pool.publish.overflow += 1;
                return;
            }
            pool.outstanding += 1;
        }
        self.waiting.push_back(intended);
        self.send_waiting(ctx);
    }
}

impl Handler<Abandon> for Server {
    type Result = ();

    fn handle(&mut self, _: Abandon, _: &mut Self::Context) {
        self.over = true;
        while self.waiting.pop_front().is_some() {
            self.count(|counts| counts.failed += 1);
        }
        let now = self.shared.clock.now();
        for lane in 0..REQUESTS_PER_SERVER {
            if let Some(sent) = self.lanes[lane].busy.take() {
                self.settle(sent, verify::Outcome::Unknown, now);
            }
        }
    }
}

impl Handler<Goodbye> for Server {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Drop for Server {
    /// A panic in an actor ends that actor and nobody is told: tell.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let panicked = &self.shared.panicked;
            panicked.set(panicked.get() + 1);
        }
    }
}
