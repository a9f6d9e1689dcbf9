//! What a delivered message costs, and what a pair weighs. Run by hand, optimised:
//! `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --test verifier speed -- --ignored --nocapture`

use std::sync::Arc;

use hubstorm::base::{AckId, Clock, GroupId, SequenceId, Slot, Time};
use hubstorm::payload::{Cause, Identity, Padding, StreamId, Template};
use hubstorm::verify::{Answer, Outcome, Promise, Shard, conclude};
use hubstorm::wire::{DataMessage, DataType, MessageFrom};

use crate::world::{RUN, plan};

#[test]
#[ignore = "a measurement, not a check of behaviour"]
fn a_delivery_and_a_pair_cost() {
    for (data_type, receivers, publishers, rounds) in [
        (DataType::Text, 10u32, 100u32, 500u32),
        (DataType::Json, 10, 100, 500),
        (DataType::Text, 2000, 100, 10),
    ] {
        let mut plan = plan(Promise::Reference, (receivers + publishers) as usize, 1);
        for slot in &mut plan.slots {
            slot.data_type = Some(data_type);
        }
        let mut shard = Shard::new(Arc::new(plan.clone()), 0..receivers + publishers);
        let mut now = 1_000_000;
        for slot in 0..receivers {
            let at = Time::from_micros(now);
            shard.connected(Slot(slot), 0, "c", at);
            shard.join_invoked(Slot(slot), GroupId(0), AckId(0), at);
            shard.join_answered(Slot(slot), GroupId(0), AckId(0), true, at);
        }
        now += 20_000_000;
        shard.take_facts(Time::from_micros(now));
        let clock = Clock::start();
        let template = Template {
            data_type,
            size: 128,
            padding: Padding::Random,
        };
        let mut id = 0;
        let (mut spent, mut frames) = (0, 0);
        for seq in 1..=rounds {
            for publisher in receivers..receivers + publishers {
                now += 1;
                let identity = Identity {
                    run: RUN,
                    publisher: Slot(publisher),
                    group: GroupId(0),
                    seq,
                    tx: seq,
                    epoch: 0,
                    transport: 0,
                    no_echo: false,
                    cause: Cause::First,
                    attempt: 1,
                    intended: now,
                    lag_us: 0,
                };
                let stream = StreamId {
                    publisher: Slot(publisher),
                    group: GroupId(0),
                };
                let at = Time::from_micros(now);
                shard.transmitted(&identity, Some(AckId(u64::from(seq))), at);
                shard.answered(stream, seq, AckId(u64::from(seq)), Answer::Success, at);
                shard.settled(stream, seq, Outcome::Ok, at);
                let mut scratch = Vec::new();
                let data = template.write(&identity, &mut scratch);
                id += 1;
                let message = DataMessage {
                    stream: None,
                    sequence_id: Some(SequenceId(id)),
                    from: MessageFrom::Group {
                        group: "group-0".into(),
                        from_user_id: None,
                    },
                    data,
                };
                let before = clock.now();
                for receiver in 0..receivers {
                    assert!(shard.frame(Slot(receiver), &message, at).fresh);
                }
                spent += clock.now().micros_since(before);
                frames += u64::from(receivers);
            }
        }
        now += 1_000_000;
        shard.take_facts(Time::from_micros(now));
        let at = Time::from_micros(now);
        let before = clock.now();
        let progress = shard.progress(at);
        let counted = clock.now().micros_since(before);
        let before = clock.now();
        let outcome = shard.finish(at);
        let finished = clock.now().micros_since(before);
        let v = conclude(&plan, vec![outcome]);
        assert_eq!(v.delivery.delivered, frames);
        assert_eq!(v.verifier.self_check, "ok");
        println!(
            "{data_type} {receivers} receivers x {publishers} publishers: {} ns per delivery, {} bytes for {} pairs ({:.1} each), progress {counted} us, finish {finished} us",
            spent * 1000 / frames,
            progress.bytes,
            progress.pairs,
            progress.bytes as f64 / progress.pairs as f64,
        );
    }
}
