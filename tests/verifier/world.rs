//! A builder for hand-written histories: clients that do what they are told, on a clock
//! that moves when it is told. No client or hub code of the project.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hubstorm::base::{AckId, GroupId, SequenceId, Slot, Time};
use hubstorm::payload::{Cause, Identity, Padding, StreamId, Template};
use hubstorm::verify::kinds::Kind;
use hubstorm::verify::{
    ACK_WITHIN, Answer, ConnectionEnd, Exchange, Facts, FrameVerdict, LossCause, Mirror, Mode,
    Outcome, Permitted, Plan, Promise, Shard, SlotPlan, Tally, Unknown, Verification, Violation,
    conclude,
};
use hubstorm::wire::{Data, DataMessage, DataType, MessageFrom};

pub(crate) const RUN: u32 = 0x5eed;

/// A plan of `slots` reliable clients in `groups` groups, all of which publish text.
pub(crate) fn plan(promise: Promise, slots: usize, groups: usize) -> Plan {
    Plan {
        run: RUN,
        promise,
        mode: Mode::Full,
        memory_budget: 1 << 30,
        drain: Duration::from_secs(10),
        late_after: Duration::from_secs(2),
        ack_within: ACK_WITHIN,
        exclusive: true,
        groups: (0..groups).map(|g| format!("group-{g}").into()).collect(),
        audiences: Vec::new(),
        slots: (0..slots)
            .map(|slot| SlotPlan {
                user_id: Some(format!("user-{slot}").into()),
                reliable: true,
                data_type: Some(DataType::Text),
                ..SlotPlan::default()
            })
            .collect(),
    }
}

/// One transmission of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) identity: Identity,
    /// 0 where no answer was asked for.
    pub(crate) ack_id: AckId,
}

/// The payload of a transmission: 64 bytes of text.
pub(crate) fn text_of(sent: &Sent) -> String {
    let template = Template {
        data_type: DataType::Text,
        size: 64,
        padding: Padding::Random,
    };
    let mut scratch = Vec::new();
    match template.write(&sent.identity, &mut scratch) {
        Data::Text(text) => text.into_owned(),
        other => panic!("{other:?} is not text"),
    }
}

#[derive(Clone, Copy, Default)]
struct Client {
    epoch: u16,
    transport: u16,
    connected: bool,
    id: u64,
    tx: u32,
    ack: u64,
}

pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) now: u64,
    clients: Vec<Client>,
    seqs: HashMap<StreamId, u32>,
    /// Who would know what a shard's receivers are owed, and the shards' ends of the road.
    mirror: Option<(Mirror, Vec<Exchange<Arc<Facts>>>)>,
    lost: Option<usize>,
}

pub(crate) const G: GroupId = GroupId(0);

impl World {
    /// A world with the slots split over two shards.
    pub(crate) fn new(plan: Plan) -> Self {
        let slots = plan.slots.len() as u32;
        let plan = Arc::new(plan);
        let cut = slots / 2;
        World {
            shards: vec![
                Shard::new(plan.clone(), 0..cut),
                Shard::new(plan.clone(), cut..slots),
            ],
            clients: vec![Client::default(); slots as usize],
            plan,
            now: 1_000_000,
            seqs: HashMap::new(),
            mirror: None,
            lost: None,
        }
    }

    /// As [`World::joined_with`], and a mirror knows of it from the beginning.
    pub(crate) fn mirrored(promise: Promise) -> Self {
        let mut world = World::new(plan(promise, 5, 2));
        world
            .shards
            .iter_mut()
            .for_each(|shard| shard.tell_members());
        let mirror = Mirror::new(&world.plan, &[0..2, 2..5]);
        let ends = (0..2).map(|me| Exchange::new(me, [2])).collect();
        world.mirror = Some((mirror, ends));
        world.join_all();
        world
    }

    /// The thread of a shard is gone.
    pub(crate) fn lose_thread(&mut self, thread: usize) {
        self.lost = Some(thread);
        let (mirror, _) = self.mirror.as_mut().expect("a mirrored world");
        mirror.lost(thread);
        self.shards[1 - thread].source_lost([0..2, 2..5][thread].clone());
    }

    /// Publisher 0, receivers 1..=3 joined to group 0, outsider 4; everybody knows.
    pub(crate) fn joined(promise: Promise) -> Self {
        Self::joined_with(plan(promise, 5, 2))
    }

    pub(crate) fn joined_with(plan: Plan) -> Self {
        let mut world = World::new(plan);
        world.join_all();
        world
    }

    fn join_all(&mut self) {
        for slot in 0..5 {
            self.connect(slot);
        }
        for slot in 1..=3 {
            self.join(slot, G);
        }
        self.wait(Duration::from_secs(11));
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_micros(self.now)
    }

    /// The next moment.
    pub(crate) fn tick(&mut self) -> Time {
        self.now += 10;
        self.time()
    }

    /// Lets time pass, with facts and ticks as in a run.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time.as_micros() as u64;
        while self.now < end {
            self.now = end.min(self.now + 250_000);
            self.facts();
            let now = self.time();
            for shard in &mut self.shards {
                shard.tick(now);
            }
        }
    }

    pub(crate) fn facts(&mut self) {
        let now = self.tick();
        let mut all = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if self.lost == Some(index) {
                continue;
            }
            let Some(facts) = shard.take_facts(now).map(Arc::new) else {
                continue;
            };
            if let Some((mirror, ends)) = &mut self.mirror {
                ends[index].push(facts.clone());
                let letters = ends[index].round();
                letters.into_iter().for_each(|letter| mirror.hear(letter));
                for answer in mirror.round() {
                    ends[usize::from(answer.to)].take(answer);
                }
                mirror.tick(now);
            }
            all.push(facts);
        }
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if self.lost != Some(index) {
                all.iter().for_each(|facts| shard.apply_facts(facts));
            }
        }
    }

    pub(crate) fn shard(&mut self, slot: u32) -> &mut Shard {
        let cut = self.plan.slots.len() as u32 / 2;
        &mut self.shards[usize::from(slot >= cut)]
    }

    pub(crate) fn connect(&mut self, slot: u32) {
        let now = self.tick();
        let client = &mut self.clients[slot as usize];
        if client.connected {
            client.epoch += 1;
        }
        client.connected = true;
        client.transport = 0;
        client.id = 0;
        let epoch = client.epoch;
        self.shard(slot)
            .connected(Slot(slot), epoch, &format!("conn-{slot}-{epoch}"), now);
    }

    pub(crate) fn join(&mut self, slot: u32, group: GroupId) {
        let ack_id = self.ask(slot, group, true);
        self.told(slot, group, true, ack_id);
    }

    /// A join or a leave is sent, and not answered.
    pub(crate) fn ask(&mut self, slot: u32, group: GroupId, join: bool) -> AckId {
        self.clients[slot as usize].ack += 1;
        let ack_id = AckId(self.clients[slot as usize].ack);
        self.ask_as(slot, group, join, ack_id);
        ack_id
    }

    /// The same (again) under an ackId.
    pub(crate) fn ask_as(&mut self, slot: u32, group: GroupId, join: bool, ack_id: AckId) {
        let (now, shard) = (self.tick(), self.shard(slot));
        shard.request_sent(Slot(slot), ack_id, now);
        match join {
            true => shard.join_invoked(Slot(slot), group, ack_id, now),
            false => shard.leave_invoked(Slot(slot), group, ack_id, now),
        }
    }

    /// A join or a leave was executed, now or before.
    pub(crate) fn told(&mut self, slot: u32, group: GroupId, join: bool, ack_id: AckId) {
        self.ack(slot, ack_id);
        let (now, shard) = (self.tick(), self.shard(slot));
        match join {
            true => shard.join_answered(Slot(slot), group, ack_id, true, now),
            false => shard.leave_answered(Slot(slot), group, ack_id, true, now),
        }
    }

    pub(crate) fn leave(&mut self, slot: u32, group: GroupId) {
        let ack_id = self.ask(slot, group, false);
        self.told(slot, group, false, ack_id);
    }

    pub(crate) fn lose(&mut self, slot: u32) {
        let now = self.tick();
        self.shard(slot)
            .transport_lost(Slot(slot), LossCause::Injected, None, now);
    }

    pub(crate) fn recover(&mut self, slot: u32) {
        let now = self.tick();
        self.clients[slot as usize].transport += 1;
        let transport = self.clients[slot as usize].transport;
        self.shard(slot).recovery_opened(Slot(slot), transport, now);
        let now = self.tick();
        self.shard(slot).recovery_confirmed(Slot(slot), now);
    }

    pub(crate) fn end(&mut self, slot: u32, end: ConnectionEnd) {
        let now = self.tick();
        self.shard(slot).connection_ended(Slot(slot), end, now);
    }

    /// Drop, reconnect as a new connection, rejoin.
    pub(crate) fn reconnect(&mut self, slot: u32, end: ConnectionEnd) {
        self.lose(slot);
        self.end(slot, end);
        self.connect(slot);
        self.join(slot, G);
    }

    /// The first transmission of the next message of a stream.
    pub(crate) fn send(&mut self, publisher: u32, group: GroupId) -> Sent {
        let (stream, seq) = self.next_message(publisher, group);
        self.clients[publisher as usize].ack += 1;
        let ack_id = AckId(self.clients[publisher as usize].ack);
        self.transmit(stream, seq, Some(ack_id), Cause::First, 1)
    }

    /// The same without asking for an answer: fire and forget.
    pub(crate) fn shout(&mut self, publisher: u32, group: GroupId) -> Sent {
        let (stream, seq) = self.next_message(publisher, group);
        let sent = self.transmit(stream, seq, None, Cause::First, 1);
        self.settle(&sent, Outcome::FireAndForget);
        sent
    }

    fn next_message(&mut self, publisher: u32, group: GroupId) -> (StreamId, u32) {
        let stream = StreamId {
            publisher: Slot(publisher),
            group,
        };
        let seq = self.seqs.entry(stream).or_insert(0);
        *seq += 1;
        (stream, *seq)
    }

    /// A further transmission of a message.
    pub(crate) fn resend(&mut self, sent: &Sent, cause: Cause) -> Sent {
        let publisher = sent.identity.publisher.0;
        let ack_id = if matches!(cause, Cause::FreshAckId | Cause::NewConnection) {
            self.clients[publisher as usize].ack += 1;
            AckId(self.clients[publisher as usize].ack)
        } else {
            sent.ack_id
        };
        let attempt = sent.identity.attempt + 1;
        self.transmit(
            sent.identity.stream(),
            sent.identity.seq,
            Some(ack_id),
            cause,
            attempt,
        )
    }

    fn transmit(
        &mut self,
        stream: StreamId,
        seq: u32,
        ack_id: Option<AckId>,
        cause: Cause,
        attempt: u8,
    ) -> Sent {
        let now = self.tick();
        let publisher = stream.publisher;
        let no_echo = self.plan.slots[publisher.index()].no_echo;
        let client = &mut self.clients[publisher.index()];
        client.tx += 1;
        let identity = Identity {
            run: RUN,
            publisher,
            group: stream.group,
            seq,
            tx: client.tx,
            epoch: client.epoch,
            transport: client.transport,
            no_echo,
            cause,
            attempt,
            intended: now.as_micros(),
            lag_us: 0,
        };
        let shard = self.shard(publisher.0);
        if let Some(id) = ack_id {
            shard.request_sent(publisher, id, now);
        }
        shard.transmitted(&identity, ack_id, now);
        Sent {
            identity,
            ack_id: ack_id.unwrap_or(AckId(0)),
        }
    }

    /// An answer is read, whatever it says, and whoever waits for it.
    pub(crate) fn ack(&mut self, slot: u32, ack_id: AckId) {
        let (now, shard) = (self.tick(), self.shard(slot));
        shard.request_answered(Slot(slot), ack_id, now);
        shard.heard(Slot(slot), now);
    }

    /// Something beside data is read: a pong.
    pub(crate) fn pong(&mut self, slot: u32) {
        let (now, shard) = (self.tick(), self.shard(slot));
        shard.heard(Slot(slot), now);
    }

    pub(crate) fn answer(&mut self, sent: &Sent, answer: Answer) {
        self.ack(sent.identity.publisher.0, sent.ack_id);
        let now = self.tick();
        let identity = sent.identity;
        self.shard(identity.publisher.0).answered(
            identity.stream(),
            identity.seq,
            sent.ack_id,
            answer,
            now,
        );
    }

    pub(crate) fn settle(&mut self, sent: &Sent, outcome: Outcome) {
        let now = self.tick();
        let identity = sent.identity;
        self.shard(identity.publisher.0)
            .settled(identity.stream(), identity.seq, outcome, now);
    }

    /// Answered with success, and settled.
    pub(crate) fn ok(&mut self, sent: &Sent) {
        self.answer(sent, Answer::Success);
        self.settle(sent, Outcome::Ok);
    }

    /// Sent and acked, delivered to nobody yet.
    pub(crate) fn publish(&mut self, publisher: u32) -> Sent {
        let sent = self.send(publisher, G);
        self.ok(&sent);
        sent
    }

    /// Sent, acked, and delivered to all three receivers.
    pub(crate) fn publish_to_all(&mut self, publisher: u32) -> Sent {
        let sent = self.publish(publisher);
        for receiver in 1..=3 {
            self.deliver(&sent, receiver);
        }
        sent
    }

    /// Arrives under the next sequence id.
    pub(crate) fn deliver(&mut self, sent: &Sent, receiver: u32) -> FrameVerdict {
        self.clients[receiver as usize].id += 1;
        let id = self.clients[receiver as usize].id;
        self.deliver_as(sent, receiver, id)
    }

    /// Skips a sequence id.
    pub(crate) fn skip_id(&mut self, receiver: u32) {
        self.clients[receiver as usize].id += 1;
    }

    pub(crate) fn last_id(&self, receiver: u32) -> u64 {
        self.clients[receiver as usize].id
    }

    /// Arrives under the next sequence id, in an envelope of this group.
    pub(crate) fn deliver_in(&mut self, sent: &Sent, receiver: u32, group: &str) {
        let id = self.next_id(receiver);
        let data = Data::Text(text_of(sent).into());
        self.frame(receiver, id, data, group, sent.identity.publisher.0);
    }

    pub(crate) fn deliver_as(&mut self, sent: &Sent, receiver: u32, id: u64) -> FrameVerdict {
        let data = Data::Text(text_of(sent).into());
        self.frame(receiver, id, data, "group-0", sent.identity.publisher.0)
    }

    /// A frame of any content.
    pub(crate) fn frame(
        &mut self,
        receiver: u32,
        id: u64,
        data: Data<'_>,
        group: &str,
        from: u32,
    ) -> FrameVerdict {
        let now = self.tick();
        let reliable = self.plan.slots[receiver as usize].reliable;
        let message = DataMessage {
            stream: None,
            sequence_id: reliable.then_some(SequenceId(id)),
            from: MessageFrom::Group {
                group: group.into(),
                from_user_id: Some(format!("user-{from}").into()),
            },
            data,
        };
        self.shard(receiver).frame(Slot(receiver), &message, now)
    }

    /// A frame of any content from anybody.
    pub(crate) fn frame_from(
        &mut self,
        receiver: u32,
        id: u64,
        data: Data<'_>,
        from: MessageFrom<'_>,
    ) {
        let now = self.tick();
        let message = DataMessage {
            sequence_id: Some(SequenceId(id)),
            from,
            data,
            stream: None,
        };
        self.shard(receiver).frame(Slot(receiver), &message, now);
    }

    /// What this publisher sends next goes through another of its connections.
    pub(crate) fn on_lane(&mut self, publisher: u32, lane: u16) {
        self.clients[publisher as usize].epoch = lane;
    }

    /// A message of the service itself.
    pub(crate) fn server_frame(&mut self, receiver: u32, id: u64) -> FrameVerdict {
        let now = self.tick();
        let message = DataMessage {
            stream: None,
            sequence_id: Some(SequenceId(id)),
            from: MessageFrom::Server,
            data: Data::Text("news".into()),
        };
        self.shard(receiver).frame(Slot(receiver), &message, now)
    }

    /// Arrives without a sequence id.
    pub(crate) fn unnumbered(&mut self, sent: &Sent, receiver: u32) {
        let now = self.tick();
        let message = DataMessage {
            stream: None,
            sequence_id: None,
            from: MessageFrom::Group {
                group: "group-0".into(),
                from_user_id: None,
            },
            data: Data::Text(text_of(sent).into()),
        };
        self.shard(receiver).frame(Slot(receiver), &message, now);
    }

    pub(crate) fn next_id(&mut self, receiver: u32) -> u64 {
        self.clients[receiver as usize].id += 1;
        self.clients[receiver as usize].id
    }

    /// Drains and concludes.
    pub(crate) fn finish(mut self) -> Verification {
        self.wait(Duration::from_secs(1));
        let now = self.tick();
        let books = |(index, shard): (usize, &mut Shard)| match &mut self.mirror {
            Some((mirror, _)) if self.lost == Some(index) => mirror.books(index, now).unwrap(),
            _ => shard.finish(now),
        };
        let outcomes = self.shards.iter_mut().enumerate().map(books).collect();
        conclude(&self.plan, outcomes)
    }
}

/// What a history must come to: these counters, and 0 for all others.
#[derive(Default)]
pub(crate) struct Expect {
    violations: Tally<Violation>,
    permitted: Tally<Permitted>,
    unknown: Tally<Unknown>,
}

impl Expect {
    pub(crate) fn violation(mut self, kind: Violation, n: u64) -> Self {
        self.violations.add(kind, n);
        self
    }

    pub(crate) fn permitted(mut self, kind: Permitted, n: u64) -> Self {
        self.permitted.add(kind, n);
        self
    }

    pub(crate) fn unknown(mut self, kind: Unknown, n: u64) -> Self {
        self.unknown.add(kind, n);
        self
    }

    #[track_caller]
    pub(crate) fn of(self, verification: &Verification) {
        assert_eq!(
            verification.violations, self.violations,
            "{verification:#?}"
        );
        assert_eq!(verification.permitted, self.permitted, "{verification:#?}");
        assert_eq!(verification.unknown, self.unknown, "{verification:#?}");
        assert_eq!(verification.verifier.self_check, "ok");
        let found: u64 = self.violations.total();
        if found > 0 {
            assert!(
                !verification.incidents.is_empty(),
                "no incident: {verification:#?}"
            );
        }
        for incident in &verification.incidents {
            assert!(
                Violation::ALL
                    .iter()
                    .any(|k| k.name() == incident.kind && self.violations.get(*k) > 0),
                "an incident of a kind that was not counted: {incident:#?}"
            );
        }
    }
}

/// Both profiles, with their name for messages.
pub(crate) const PROMISES: [Promise; 2] = [Promise::Reference, Promise::Published];
