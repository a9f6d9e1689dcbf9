//! The words of an incident: names, and the frames and events around it.

use super::incident::Subject;
use super::kinds::Violation;
use super::outcome::Suspect;
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::{Identity, StreamId, difference};
use crate::wire::Data;

/// Frames and control events quoted in an incident.
const FRAMES_QUOTED: usize = 20;
const CONTROL_QUOTED: usize = 20;
/// Other members named who lack a lost message, too.
const OTHERS_NAMED: usize = 8;
/// Bytes of a spoilt payload quoted.
const BYTES_QUOTED: usize = 64;
/// Recoveries quoted in an incident, the last first.
const RECOVERIES_QUOTED: usize = 5;

impl Shard {
    /// "message 7/group-3#1841 (publisher slot 7, user u-7)".
    pub(super) fn message_name(&self, stream: StreamId, seq: u32) -> String {
        let group = self.plan.name(stream.group).unwrap_or("?");
        let user = self
            .plan
            .slot(stream.publisher)
            .and_then(|slot| slot.user_id.as_deref());
        match user {
            Some(user) => format!(
                "message {}/{group}#{seq} (publisher slot {}, user {user})",
                stream.publisher, stream.publisher
            ),
            None => format!(
                "message {}/{group}#{seq} (publisher slot {})",
                stream.publisher, stream.publisher
            ),
        }
    }

    /// Keeps an incident with what the receiver's recorder holds.
    pub(super) fn incident(
        &mut self,
        kind: Violation,
        subject: Subject,
        now: Time,
        summary: String,
        mut evidence: Vec<String>,
    ) {
        if !self.incidents.wants(kind) {
            return;
        }
        let mut connection = None;
        if let Some(slot) = subject.receiver {
            self.receiver_story(Slot(slot), !subject.told, &mut evidence);
            let index = self.local(Slot(slot));
            let conn = index.and_then(|index| self.receivers[index].conn.as_ref());
            connection = conn.map(|conn| conn.id.to_string());
        }
        if let (Some(stream), Some(seq)) = (subject.stream, subject.seq) {
            self.pins.want(stream, seq);
        }
        let group = subject
            .stream
            .and_then(|stream| self.plan.name(stream.group))
            .map(str::to_owned);
        self.incidents
            .keep(kind, subject, now, summary, group, evidence);
        if let Some(kept) = self.incidents.kept.last_mut() {
            kept.incident.connections.extend(connection);
        }
    }

    /// Keeps an incident about a slot alone.
    pub(super) fn about_slot(&mut self, kind: Violation, slot: Slot, now: Time, summary: String) {
        let subject = Subject {
            receiver: Some(slot.0),
            ..Subject::default()
        };
        self.incident(kind, subject, now, summary, Vec::new());
    }

    /// A recovery is broken; counted once per recovery.
    pub(super) fn recovery_broken(
        &mut self,
        slot: Slot,
        epoch: u16,
        transport: u16,
        now: Time,
        why: impl FnOnce() -> String,
    ) {
        if self.broken.insert((slot.0, epoch, transport)) {
            let text = format!(
                "the recovery of slot {slot} (epoch {epoch}, transport {transport}): {}",
                why()
            );
            self.about_slot(Violation::RecoveryBroken, slot, now, text);
        }
    }

    /// The receiver's connection, its last control events and its last frames.
    /// Both in the order of time.
    pub(super) fn receiver_story(&self, slot: Slot, frames: bool, out: &mut Vec<String>) {
        let Some(index) = self.local(slot) else {
            return;
        };
        let receiver = &self.receivers[index];
        match &receiver.conn {
            Some(conn) => out.push(format!(
                "receiver slot {slot}: connection {} epoch {} transport {} ({:?})",
                conn.id, conn.epoch, conn.transport, conn.link
            )),
            None => out.push(format!("receiver slot {slot}: not connected")),
        }
        let recoveries = &receiver.recoveries;
        for recovery in &recoveries[recoveries.len().saturating_sub(RECOVERIES_QUOTED)..] {
            out.push(format!(
                "recovery on epoch {} transport {}: lost {}, confirmed {}, about {} messages held for it",
                recovery.epoch,
                recovery.transport,
                recovery.lost_at,
                recovery.confirmed_at,
                recovery.held
            ));
        }
        let control: Vec<_> = receiver.control.newest().take(CONTROL_QUOTED).collect();
        for (at, control) in control.into_iter().rev() {
            out.push(format!("event {at} {control}"));
        }
        let quoted = if frames { FRAMES_QUOTED } else { 0 };
        let frames: Vec<_> = self.recorder.newest(index).take(quoted).collect();
        for frame in frames.into_iter().rev() {
            out.push(format!("frame {frame}"));
        }
    }

    /// The incident of a delivery that was refused with `Forbidden` (A3). Counted in the
    /// ledger.
    pub(super) fn forbidden_incident(&mut self, slot: Slot, stream: StreamId, seq: u32) {
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(stream),
            seq: Some(seq),
            ..Subject::default()
        };
        let text = format!(
            "{} was answered Forbidden and reached slot {slot}",
            self.message_name(stream, seq)
        );
        let kind = Violation::AckForbiddenDelivered;
        let story = self.pins.story(slot.0, stream, seq, seq).to_vec();
        let subject = Subject {
            frame: self.pins.frame(slot.0, stream, seq),
            told: !story.is_empty(),
            ..subject
        };
        self.incident(kind, subject, self.last_fold, text, story);
    }

    /// The incident of a loss.
    pub(super) fn loss_incident(&mut self, suspect: &Suspect, now: Time) {
        let (Some(kind), slot) = (suspect.kind, Slot(suspect.slot)) else {
            return;
        };
        let recovery = suspect.recovery.map(|at| (suspect.slot, suspect.epoch, at));
        let kind = match recovery {
            Some(recovery) if self.overfull.contains(&recovery) => Violation::LostOverflow,
            Some(_) => Violation::RecoveryBroken,
            None => kind,
        };
        if !self.incidents.wants(kind) {
            return;
        }
        let stream = suspect.stream;
        let count = match suspect.len() {
            1 => String::new(),
            n => format!(" and {} more up to seq {}", n - 1, suspect.last),
        };
        let text = format!(
            "{}{count} never reached slot {slot}; not seen within the drain of {:?}",
            self.message_name(stream, suspect.first),
            self.plan.drain
        );
        let mut evidence = Vec::new();
        if let Some(transport) = suspect.recovery {
            evidence.push(format!(
                "laid to the recovery on epoch {} transport {transport}: sent while the receiver was away, or its group is silent since",
                suspect.epoch
            ));
        }
        evidence.push(match suspect.overtaken {
            Some((at, id)) => {
                format!("a later message of the stream came at {at} under sequenceId {id}")
            }
            None => "no later message of the stream came".into(),
        });
        self.others(suspect, &mut evidence);
        self.excluded(suspect, kind, &mut evidence);
        self.membership_story(suspect, &mut evidence);
        let story = self.pins.story(slot.0, stream, suspect.first, suspect.last);
        evidence.extend_from_slice(story);
        let told = !story.is_empty();
        if told {
            evidence.push(format!("and at the end, {now}:"));
        }
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(stream),
            seq: Some(suspect.first),
            frame: suspect.overtaken,
            told,
        };
        self.incident(kind, subject, now, text, evidence);
    }

    /// Who else of this shard got the first message of a loss.
    fn others(&self, suspect: &Suspect, out: &mut Vec<String>) {
        let group = &self.groups[suspect.stream.group.index()];
        let Some(stream) = group.find_stream(suspect.stream.publisher) else {
            return;
        };
        let (mut total, mut got, mut lack) = (0, 0, Vec::new());
        for member in group.members.iter().filter(|m| **m != suspect.member) {
            total += 1;
            let key = super::pairs::PairKey::new(*member, stream);
            let membership = &self.members[*member as usize];
            if self.pairs.has(membership, key, suspect.first) {
                got += 1;
            } else if lack.len() < OTHERS_NAMED {
                lack.push(membership.slot.to_string());
            }
        }
        let mut line = format!("others: {got} of {total} other members on the same thread got it");
        if !lack.is_empty() {
            line += &format!("; not so slots {}", lack.join(", "));
            if total - got > lack.len() {
                line += &format!(" and {} more", total - got - lack.len());
            }
        }
        out.push(line);
    }

    /// What a loss is not, and why: the explanations that the protocol would permit.
    fn excluded(&self, suspect: &Suspect, kind: Violation, out: &mut Vec<String>) {
        let Some(index) = self.local(Slot(suspect.slot)) else {
            return;
        };
        let drop = self.receivers[index].recoveries.last();
        let mut not = vec![match drop {
            Some(drop) => format!(
                "a reconnect gap (the session went on: last drop {}, recovered {})",
                drop.lost_at, drop.confirmed_at
            ),
            None => "a reconnect gap (no drop of late)".into(),
        }];
        not.push("an unknown outcome (its publish was answered with success)".into());
        if kind != Violation::LostAtJoin {
            not.push("a join race (sent after the join was answered)".into());
        }
        if kind != Violation::LostAtLeave {
            not.push("a leave race (a member still, or overtaken by what came)".into());
        }
        not.push("a matter of clocks (one process, one clock)".into());
        out.push(format!("not: {}", not.join(" | ")));
    }

    pub(super) fn membership_story(&self, suspect: &Suspect, out: &mut Vec<String>) {
        for window in &self.members[suspect.member as usize].windows {
            let mut line = format!(
                "member on epoch {}: join sent {}",
                window.epoch, window.join_invoked
            );
            if let Some(at) = window.joined {
                line += &format!(", acked {at}");
            }
            if let Some(at) = window.leave_invoked {
                line += &format!(", leave sent {at}");
            }
            match window.ended {
                Some((at, how)) => line += &format!(", over {at} ({how:?})"),
                None => line += ", still a member",
            }
            out.push(line);
        }
    }
}

/// The start of a spoilt payload, and where it differs from what its identity says was sent.
pub(super) fn payload_story(data: &Data<'_>, identity: Option<&Identity>, out: &mut Vec<String>) {
    let bytes = data.as_bytes();
    let head = &bytes[..bytes.len().min(BYTES_QUOTED)];
    let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > head.len() { "..." } else { "" };
    out.push(format!(
        "payload: {} of {} bytes, {hex}{more}",
        data.data_type(),
        bytes.len()
    ));
    if let Some(found) = identity.and_then(|identity| difference(identity, data)) {
        out.push(format!(
            "byte {} is {:#04x}, {:#04x} was sent; {} of {} bytes differ",
            found.at,
            found.got,
            found.expected,
            found.bytes,
            bytes.len()
        ));
    }
}
