//! Answers and outcomes of requests, told to the verifier and the counters.

use crate::base::{Slot, Time};
use crate::metrics::{LatencyKind, Turn};
use crate::protocol::{Answer, Operation, Outcome, Session, Settled};
use crate::verify;

use super::events::Me;
use super::publish::{Message, NO_GROUP};

impl Me {
    pub(super) fn answered(
        &self,
        operation: &Operation<Message>,
        ack_id: crate::base::AckId,
        answer: Answer,
        now: Time,
    ) {
        let refused = matches!(answer, Answer::Forbidden | Answer::BadRequest);
        let done = matches!(answer, Answer::Success | Answer::Duplicate);
        let mut shard = self.shared.shard.borrow_mut();
        shard.request_answered(self.slot, ack_id, now);
        match operation {
            Operation::Join(group) | Operation::Leave(group) if done || refused => {
                let Some(id) = self.shared.group_id(group) else {
                    return;
                };
                match operation {
                    Operation::Join(_) => shard.join_answered(self.slot, id, ack_id, done, now),
                    _ => shard.leave_answered(self.slot, id, ack_id, done, now),
                }
            }
            // An error leaves it open whether the membership changed.
            Operation::Join(_) | Operation::Leave(_) => {}
            Operation::Send { content, .. } => {
                publish_answered(&mut shard, self.slot, content, ack_id, answer, now);
            }
            Operation::Event { content, .. } if content.group != NO_GROUP => {
                publish_answered(&mut shard, self.slot, content, ack_id, answer, now);
            }
            // Events without a reply have no receivers to judge by.
            Operation::Event { .. } => {}
        }
    }

    pub(super) fn settled(
        &mut self,
        session: &mut Session<Message>,
        settled: Settled<Message>,
        now: Time,
    ) {
        match &settled.operation {
            Operation::Join(group) => self.join_settled(session, group, &settled, now),
            Operation::Leave(group) => self.leave_settled(group),
            Operation::Send { content, .. } | Operation::Event { content, .. } => {
                self.publish_settled(*content, &settled, now);
            }
        }
    }

    fn join_settled(
        &mut self,
        session: &mut Session<Message>,
        group: &std::sync::Arc<str>,
        settled: &Settled<Message>,
        now: Time,
    ) {
        let done = settled.outcome == Outcome::Ok || settled.answer == Some(Answer::Duplicate);
        if settled.rejoin {
            self.clients(|clients| clients.rejoins += u64::from(done));
            return;
        }
        let refused = matches!(settled.answer, Some(Answer::Forbidden | Answer::BadRequest));
        self.clients(|clients| {
            clients.joins += u64::from(done);
            clients.join_failures += u64::from(!done && refused);
        });
        if !done && refused {
            self.turn(Turn::JoinRefused, now);
        }
        if (done || refused)
            && let Some(left) = self.unjoined.filter(|n| *n > 0)
        {
            // A refusal is final: nobody waits for a membership that will never be.
            self.unjoined = Some(left - 1);
            self.check_ready();
        }
        if done {
            // A member, as the scenario wants it.
        } else if self.presence.is_leaving() {
            // On its way out: it need not become a member any more.
        } else if !refused && !session.is_stopped() {
            // The client must become a member, or the run measures something else.
            if let Some(id) = self.shared.group_id(group) {
                self.join(session, id, now);
            }
        } else {
            self.shared.notes.borrow_mut().push(format!(
                "slot {} may not join {group}: {:?}",
                self.slot, settled.answer
            ));
        }
    }

    /// In a closed loop the next message follows the outcome of this one.
    fn next_in_loop(&self, now: Time) -> Option<Time> {
        let scenario = &self.shared.scenario;
        let publish = scenario.pools[self.pool].publish.as_ref()?;
        let stop = publish.stop.unwrap_or(scenario.duration);
        let next = now + publish.after_ack?;
        let end = self.shared.load_start.get()? + stop.min(scenario.duration);
        (next < end && !self.shared.load_over.get()).then_some(next)
    }

    fn publish_settled(&mut self, message: Message, settled: &Settled<Message>, now: Time) {
        let outcome = match settled.outcome {
            Outcome::Ok => verify::Outcome::Ok,
            Outcome::Failed => verify::Outcome::Failed,
            Outcome::Unknown => verify::Outcome::Unknown,
            Outcome::FireAndForget => verify::Outcome::FireAndForget,
        };
        if message.seq > 0 && message.group != NO_GROUP {
            self.shared.shard.borrow_mut().settled(
                message.stream(self.slot),
                message.seq,
                outcome,
                now,
            );
        }
        self.next_publish = self.next_in_loop(now);
        let mut stats = self.shared.stats.borrow_mut();
        let pool = &mut stats.pools[self.pool];
        pool.outstanding -= 1;
        pool.publish.duplicate_acks += u64::from(settled.answer == Some(Answer::Duplicate));
        match outcome {
            verify::Outcome::Ok => {
                pool.publish.acked += 1;
                pool.latency
                    .record(LatencyKind::Ack, now.micros_since(message.intended));
            }
            verify::Outcome::Failed => pool.publish.failed += 1,
            verify::Outcome::Unknown => pool.publish.unknown += 1,
            verify::Outcome::FireAndForget => pool.publish.unacked += 1,
        }
    }
}

fn publish_answered(
    shard: &mut verify::Shard,
    slot: Slot,
    content: &Message,
    ack_id: crate::base::AckId,
    answer: Answer,
    now: Time,
) {
    let answer = match answer {
        Answer::Success => verify::Answer::Success,
        Answer::Duplicate => verify::Answer::Duplicate,
        Answer::Forbidden => verify::Answer::Forbidden,
        Answer::BadRequest => verify::Answer::Refused,
        Answer::Error => verify::Answer::Error,
    };
    shard.answered(content.stream(slot), content.seq, ack_id, answer, now);
}
