//! One client that receives, without a socket: frames of a hub through codec, session,
//! verifier and histogram, as `client::actor` puts them together. For the allocation test
//! and the benches.

use std::sync::Arc;
use std::time::Duration;

use hubstorm::base::{AckId, GroupId, Seed, SequenceId, Slot, Time};
use hubstorm::metrics::{Latencies, LatencyKind};
use hubstorm::payload::{Cause, Identity, Padding, StreamId, Template};
use hubstorm::protocol::{Control, Received, Session, SessionConfig, Transmit};
use hubstorm::verify::{Answer, Mode, Outcome, Plan, Promise, Shard, SlotPlan};
use hubstorm::wire::codec::{self, Payload};
use hubstorm::wire::{
    Connected, DataMessage, DataType, Downstream, MessageFrom, Subprotocol, Upstream,
};

const RUN: u32 = 7;
const RECEIVER: Slot = Slot(0);
const PUBLISHER: Slot = Slot(1);
const GROUP: GroupId = GroupId(0);
/// Between two messages.
const PAUSE: Duration = Duration::from_millis(1);

/// A receiver, joined to a group, and the frames that it will be sent.
pub(crate) struct Rig {
    pub subprotocol: Subprotocol,
    pub frames: Vec<Vec<u8>>,
    pub session: Session<()>,
    pub shard: Shard,
    pub latencies: Latencies,
    /// When the first frame comes.
    pub start: Time,
    written: Vec<u8>,
}

fn plan(data_type: DataType) -> Plan {
    let slot = |publishes: bool| SlotPlan {
        reliable: true,
        data_type: publishes.then_some(data_type),
        ..SlotPlan::default()
    };
    Plan {
        run: RUN,
        promise: Promise::Reference,
        mode: Mode::Full,
        memory_budget: 1 << 30,
        drain: Duration::from_secs(10),
        late_after: Duration::from_secs(1),
        ack_within: hubstorm::verify::ACK_WITHIN,
        exclusive: true,
        groups: vec!["group-0".into()],
        audiences: Vec::new(),
        slots: vec![slot(false), slot(true)],
    }
}

impl Rig {
    /// A receiver that will be sent `count` messages of 128 bytes.
    pub(crate) fn new(subprotocol: Subprotocol, data_type: DataType, count: u32) -> Self {
        let mut shard = Shard::new(Arc::new(plan(data_type)), 0..2);
        let join = Time::from_secs(1);
        shard.connected(RECEIVER, 0, "c", join);
        shard.join_invoked(RECEIVER, GROUP, AckId(0), join);
        shard.join_answered(RECEIVER, GROUP, AckId(0), true, join);
        shard.take_facts(Time::from_secs(20));
        let mut rig = Rig {
            subprotocol,
            frames: Vec::new(),
            session: Session::new(Arc::new(SessionConfig::spec(subprotocol)), Seed(1)),
            shard,
            latencies: Latencies::default(),
            start: Time::from_secs(21),
            written: Vec::new(),
        };
        rig.connect();
        for seq in 1..=count {
            rig.publish(seq, data_type);
        }
        rig
    }

    /// When the `n`-th frame comes, from 0.
    pub(crate) fn at(&self, n: usize) -> Time {
        self.start + PAUSE * n as u32
    }

    fn connect(&mut self) {
        self.session.start();
        self.session.handle_opened(self.start);
        let connected = Downstream::Connected(Connected {
            connection_id: "c".into(),
            user_id: None,
            reconnection_token: Some("t".into()),
        });
        self.session.handle_frame(self.start, connected);
        while self.session.poll_output().is_some() {}
        assert!(self.session.is_connected());
    }

    /// Tells the verifier of a publish, and keeps the frame in which the hub delivers it.
    fn publish(&mut self, seq: u32, data_type: DataType) {
        let at = self.at(seq as usize - 1);
        let identity = Identity {
            run: RUN,
            publisher: PUBLISHER,
            group: GROUP,
            seq,
            tx: seq,
            epoch: 0,
            transport: 0,
            no_echo: false,
            cause: Cause::First,
            attempt: 1,
            intended: at.as_micros(),
            lag_us: 0,
        };
        let stream = StreamId {
            publisher: PUBLISHER,
            group: GROUP,
        };
        let ack_id = AckId(u64::from(seq));
        self.shard.transmitted(&identity, Some(ack_id), at);
        self.shard
            .answered(stream, seq, ack_id, Answer::Success, at);
        self.shard.settled(stream, seq, Outcome::Ok, at);
        let template = Template {
            data_type,
            size: 128,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        let message = DataMessage {
            stream: None,
            sequence_id: Some(SequenceId(u64::from(seq))),
            from: MessageFrom::Group {
                group: "group-0".into(),
                from_user_id: None,
            },
            data: template.write(&identity, &mut scratch),
        };
        let mut frame = Vec::new();
        codec::encode_downstream(self.subprotocol, &Downstream::Data(message), &mut frame);
        self.frames.push(frame);
    }

    /// The `n`-th frame as it comes from the socket.
    pub(crate) fn decode(subprotocol: Subprotocol, frame: &[u8]) -> Downstream<'_> {
        let payload = if subprotocol.is_binary() {
            Payload::Binary(frame)
        } else {
            Payload::Text(std::str::from_utf8(frame).expect("written by the codec"))
        };
        codec::decode_downstream(subprotocol, payload).expect("written by the codec")
    }

    /// Takes the `n`-th frame through everything. Returns whether it was a fresh delivery.
    pub(crate) fn deliver(&mut self, n: usize) -> bool {
        let now = self.at(n);
        let frame = Rig::decode(self.subprotocol, &self.frames[n]);
        let Received::Data { message, fresh } = self.session.handle_frame(now, frame) else {
            return false;
        };
        let verdict = self.shard.frame(RECEIVER, &message, now);
        if let Some(identity) = verdict.identity {
            let intended = identity.unwrap_intended(now.as_micros());
            self.latencies.record(
                LatencyKind::Delivery,
                now.as_micros().saturating_sub(intended),
            );
        }
        // Receipts too, as they come due.
        if let Some(Transmit::Control(Control::SequenceAck(sequence_id))) =
            self.session.poll_transmit(now)
        {
            self.shard.sequence_acked(RECEIVER, sequence_id, now);
            self.written.clear();
            let receipt = Upstream::SequenceAck { sequence_id };
            codec::encode_upstream(self.subprotocol, &receipt, &mut self.written);
        }
        fresh && verdict.fresh
    }
}
