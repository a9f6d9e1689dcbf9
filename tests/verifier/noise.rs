//! Nonsense: whatever clients and hubs tell, the verifier neither panics nor hangs.

use std::sync::Arc;

use hubstorm::base::{AckId, GroupId, SequenceId, Slot, Time};
use hubstorm::payload::{Cause, Identity, Padding, Template};
use hubstorm::verify::{Answer, ConnectionEnd, LossCause, Outcome, Promise, Shard, conclude};
use hubstorm::wire::{DataMessage, DataType, MessageFrom};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::world::{RUN, plan};

struct Noise {
    rng: ChaCha8Rng,
    now: u64,
}

impl Noise {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    fn time(&mut self) -> Time {
        self.now += self.pick(&[0, 1, 1000, 400_000, 70_000_000]);
        Time::from_micros(self.now)
    }

    fn slot(&mut self) -> Slot {
        Slot(self.pick(&[0, 1, 2, 3, 4, 77]))
    }

    fn group(&mut self) -> GroupId {
        GroupId(self.pick(&[0, 0, 1, 99]))
    }

    fn seq(&mut self) -> u32 {
        let near = self.rng.random_range(1..8);
        self.pick(&[near, near, near, near, 0, 70_000, 1 << 31, u32::MAX])
    }

    fn identity(&mut self) -> Identity {
        let causes = [
            Cause::First,
            Cause::AfterRecovery,
            Cause::AfterError,
            Cause::NewConnection,
            Cause::FreshAckId,
        ];
        Identity {
            run: self.pick(&[RUN, RUN, RUN, RUN, 0]),
            publisher: self.slot(),
            group: self.group(),
            seq: self.seq(),
            tx: self.seq(),
            epoch: self.pick(&[0, 1, 2, u16::MAX]),
            transport: self.pick(&[0, 1, u16::MAX]),
            no_echo: self.rng.random_bool(0.2),
            cause: self.pick(&causes),
            attempt: self.pick(&[0, 1, 1, 2, 3, 15]),
            intended: self.pick(&[0, 1, 5_000_000, (1 << 40) - 1]),
            lag_us: self.pick(&[0, 100, u64::MAX >> 20]),
        }
    }

    fn frame(&mut self, shard: &mut Shard) {
        let (identity, slot, at) = (self.identity(), self.slot(), self.time());
        let data_type = self.pick(&[DataType::Text, DataType::Json, DataType::Binary]);
        let template = Template {
            data_type,
            size: 64,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        let near = self.rng.random_range(0..10);
        let message = DataMessage {
            stream: None,
            sequence_id: self
                .pick(&[Some(near), Some(near), None, Some(u64::MAX), Some(1 << 40)])
                .map(SequenceId),
            from: match self.pick(&[true, true, true, false]) {
                true => MessageFrom::Group {
                    group: "group-0".into(),
                    from_user_id: None,
                },
                false => MessageFrom::Server,
            },
            data: template.write(&identity, &mut scratch),
        };
        shard.frame(slot, &message, at);
    }

    fn membership(&mut self, shard: &mut Shard) {
        let (slot, group, at) = (self.slot(), self.group(), self.time());
        let ack = AckId(self.rng.random_range(0..4));
        let yes = self.rng.random_bool(0.8);
        match self.rng.random_range(0..4) {
            0 => shard.join_invoked(slot, group, ack, at),
            1 => shard.join_answered(slot, group, ack, yes, at),
            2 => shard.leave_invoked(slot, group, ack, at),
            _ => shard.leave_answered(slot, group, ack, yes, at),
        }
    }

    fn connection(&mut self, shard: &mut Shard) {
        let (slot, at) = (self.slot(), self.time());
        let ends = [
            ConnectionEnd::Refused,
            ConnectionEnd::WindowPassed,
            ConnectionEnd::Stopped,
            ConnectionEnd::HubRestart,
        ];
        match self.rng.random_range(0..8) {
            0 | 1 => shard.connected(slot, self.pick(&[0, 1, 2, u16::MAX]), "c", at),
            2 => shard.transport_lost(slot, LossCause::Hub, Some(1006), at),
            3 => shard.recovery_opened(slot, self.pick(&[0, 1, u16::MAX]), at),
            4 => shard.recovery_confirmed(slot, at),
            5 => shard.recovery_refused(slot, at),
            6 => shard.recovered_connection_id(slot, self.pick(&["c", "d"]), at),
            _ => shard.connection_ended(slot, self.pick(&ends), at),
        }
    }

    fn publish(&mut self, shard: &mut Shard) {
        let (identity, at) = (self.identity(), self.time());
        let ack_id = AckId(self.rng.random_range(0..5));
        let answers = [
            Answer::Success,
            Answer::Duplicate,
            Answer::Forbidden,
            Answer::Error,
        ];
        let outcomes = [
            Outcome::Ok,
            Outcome::Failed,
            Outcome::Unknown,
            Outcome::FireAndForget,
        ];
        let slot = identity.publisher;
        match self.rng.random_range(0..6) {
            3 => shard.request_sent(slot, ack_id, at),
            4 => shard.request_answered(slot, ack_id, at),
            5 => shard.disturbed(slot, self.time(), at),
            0 => shard.transmitted(&identity, Some(ack_id), at),
            1 => {
                let answer = self.pick(&answers);
                shard.answered(identity.stream(), identity.seq, ack_id, answer, at);
            }
            _ => shard.settled(identity.stream(), identity.seq, self.pick(&outcomes), at),
        }
    }
}

#[test]
fn any_order_of_any_events_is_survived() {
    for seed in 0..300 {
        let mut noise = Noise {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
        };
        let promise = noise.pick(&[Promise::Reference, Promise::Published]);
        let mut plan = plan(promise, 5, 2);
        plan.exclusive = seed % 2 == 0;
        let plan = Arc::new(plan);
        let mut shards = [
            Shard::new(plan.clone(), 0..2),
            Shard::new(plan.clone(), 2..5),
        ];
        for _ in 0..400 {
            let which = noise.rng.random_range(0..2);
            let shard = &mut shards[which];
            match noise.rng.random_range(0..10) {
                0..4 => noise.frame(shard),
                4..6 => noise.membership(shard),
                6 => noise.connection(shard),
                7..9 => noise.publish(shard),
                _ => {
                    let at = noise.time();
                    let facts = shard.take_facts(at);
                    for shard in &mut shards {
                        shard.tick(at);
                        shard.progress(at);
                        if let Some(facts) = &facts {
                            shard.apply_facts(facts);
                        }
                    }
                }
            }
        }
        let at = noise.time();
        let outcomes = shards.iter_mut().map(|shard| shard.finish(at)).collect();
        let v = conclude(&plan, outcomes);
        assert!(
            !v.inconclusive.is_empty(),
            "seed {seed}: nonsense was believed"
        );
    }
}
