//! Incidents: the first violations of each kind, with the evidence to file a bug.

use super::kinds::{Kind, Violation};
use super::outcome::Incident;
use crate::base::Time;
use crate::payload::StreamId;

/// Incidents kept per kind and shard; the counts are never truncated.
pub(super) const INCIDENTS_PER_KIND: usize = 20;

/// The property behind each kind, and its basis.
pub(super) fn rule(kind: Violation) -> &'static str {
    match kind {
        Violation::Lost => {
            "D1: an acked publish reaches every member (how-to \"reliable clients\", Publisher and Subscriber)"
        }
        Violation::LostAtJoin => {
            "D2: a member receives what is sent after its join was acked (reference: membership is in force before the ack)"
        }
        Violation::LostAtLeave => {
            "D3: what was acked before the leave was sent is delivered (reference: fan-out is queued before the ack)"
        }
        Violation::LostOverflow => {
            "R1, F6: a session with more than 1000 messages or 16 MB unacked must end, not go on without some of them (client-spec 3.2.2)"
        }
        Violation::Duplicated => {
            "D4: one execution, one delivery (how-to \"reliable clients\"; client-spec 3.1)"
        }
        Violation::DedupeBroken => {
            "D4: an ackId is executed at most once per connection (client-spec 3.1)"
        }
        Violation::Reordered => {
            "O1: messages of one publisher and group keep their order (azure-webpubsub issue 355; how-to, Subscriber)"
        }
        Violation::SequenceGap => "S2: sequence ids rise in steps of one (reference)",
        Violation::SequenceRepeated => "S1: sequence ids strictly increase (client-spec 3.2)",
        Violation::SequenceReused => "S3: a sequence id names one message (client-spec 3.2)",
        Violation::Misdelivered => "D5: only members receive a group's messages (client-spec 3)",
        Violation::DeliveredAfterLeave => {
            "D5b: nothing sent after a leave was acked is delivered (reference)"
        }
        Violation::Echo => "D6: noEcho spares the publishing connection (client-spec 3)",
        Violation::Fabricated => "D7: only what was published is delivered (client-spec 3)",
        Violation::Corrupted => "I1: payloads arrive as they were sent (client-spec 3)",
        Violation::EnvelopeWrong => {
            "I2: group, dataType and fromUserId are the message's own (subprotocol pages)"
        }
        Violation::AckLie => {
            "A1: success means that all subscribers can expect it (how-to \"reliable clients\", Publisher)"
        }
        Violation::AckFalseDuplicate => {
            "A2: Duplicate answers a repetition only (client-spec 3.1.3)"
        }
        Violation::AckForbiddenDelivered => {
            "A3: what is refused with Forbidden is not executed (client-spec 3.1)"
        }
        Violation::AckMissing => "A4: a request with an ackId is answered (client-spec 3.1.5)",
        Violation::AckUnsolicited => "A4: an answer belongs to a request (client-spec 3.1)",
        Violation::RecoveryBroken => {
            "R1: a recovered session keeps its id, its groups and every message not yet acked (client-spec 1.4, 3.2)"
        }
        Violation::Stalled => {
            "L1: once everything has healed, what is owed arrives within the drain"
        }
    }
}

/// What an incident is about, before its evidence is gathered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subject {
    pub(super) receiver: Option<u32>,
    pub(super) stream: Option<StreamId>,
    pub(super) seq: Option<u32>,
    /// When the frame came that it is about, and its sequence id (0: none).
    pub(super) frame: Option<(Time, u64)>,
    /// The receiver's last frames are told already.
    pub(super) told: bool,
}

/// An incident with what a later stage needs to know of it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) kind: Violation,
    pub(super) subject: Subject,
    pub(super) incident: Incident,
}

/// The first incidents of each kind.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    pub(super) kept: Vec<Kept>,
    counts: [usize; Violation::ALL.len()],
}

impl Incidents {
    /// Whether another one of this kind would be kept.
    pub(super) fn wants(&self, kind: Violation) -> bool {
        self.counts[kind.index()] < INCIDENTS_PER_KIND
    }

    /// Keeps an incident if there is room for its kind.
    pub(super) fn keep(
        &mut self,
        kind: Violation,
        subject: Subject,
        now: Time,
        summary: String,
        group: Option<String>,
        evidence: Vec<String>,
    ) {
        if !self.wants(kind) {
            return;
        }
        self.counts[kind.index()] += 1;
        self.kept.push(Kept {
            kind,
            subject,
            incident: Incident {
                kind: kind.name(),
                t_s: now.as_secs_f64(),
                summary,
                rule: rule(kind),
                receiver: subject.receiver,
                publisher: subject.stream.map(|stream| stream.publisher.0),
                group,
                seq: subject.seq,
                sent_s: None,
                answered_s: None,
                frame_s: subject.frame.map(|(at, _)| at.as_secs_f64()),
                sequence_id: subject.frame.map(|(_, id)| id).filter(|id| *id != 0),
                connections: Vec::new(),
                evidence,
            },
        });
    }
}
