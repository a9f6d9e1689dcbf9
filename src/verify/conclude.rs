//! The verdict over all shards: sums, what only all shards together can tell (A1), and the
//! checks that decide whether the verdict can be trusted.

use rustc_hash::{FxHashMap, FxHashSet};

use super::exchange::ExchangeCounts;
use super::fold::intersect;
use super::incident::{INCIDENTS_PER_KIND, Kept, Subject, rule};
use super::judge::Bucket;
use super::kinds::{Kind, Permitted, Tally, Unknown, Violation};
use super::ledger::{Exercised, Ledger, Property};
use super::outbox::PublishTotals;
use super::outcome::{
    Delivery, GroupBooks, Incident, Measured, ShardOutcome, Suspect, Verification, VerifierFacts,
};
use super::plan::{Mode, Plan};
use super::recorder::{PublishRecord, PublisherTrace};
use super::unsure;
use crate::base::Time;
use crate::payload::StreamId;

/// More pairs at a membership edge than this share of the owed ones are inconclusive...
const EDGE_SHARE: f64 = 0.05;
/// ... unless they are this few.
const EDGE_FEW: u64 = 20;

/// Acked messages of one stream that nobody got.
type Lies = FxHashMap<StreamId, Vec<(u32, u32)>>;

/// Merges what the shards ended with into the verdict.
pub fn conclude(plan: &Plan, outcomes: Vec<ShardOutcome>) -> Verification {
    let mut violations: Tally<Violation> = Tally::default();
    let mut permitted: Tally<Permitted> = Tally::default();
    let mut unknown: Tally<Unknown> = Tally::default();
    let mut ledger = Ledger::default();
    let mut exercised = Exercised::default();
    let mut totals = PublishTotals::default();
    let mut measured = Measured::default();
    let mut broken: FxHashSet<(u32, u16, u16)> = FxHashSet::default();
    let mut stalled: FxHashSet<(u32, u16)> = FxHashSet::default();
    let saw_error = outcomes.iter().any(|outcome| outcome.saw_error);
    for outcome in &outcomes {
        violations.merge(&outcome.violations);
        permitted.merge(&outcome.permitted);
        unknown.merge(&outcome.unknown);
        measured.merge(&outcome.measured);
        outcome.ledgers.iter().for_each(|l| ledger.merge(l));
        exercised.merge(&outcome.exercised);
        totals.invoked += outcome.totals.invoked;
        broken.extend(&outcome.broken);
        if saw_error {
            unknown.add(Unknown::DuplicatedAfterLostAnswer, outcome.dedupe_broken);
        } else {
            violations.add(Violation::DedupeBroken, outcome.dedupe_broken);
        }
    }
    violations.add(
        Violation::AckForbiddenDelivered,
        ledger.get(Bucket::Forbidden),
    );
    let lies = find_lies(&outcomes);
    let told: u64 = lies
        .values()
        .flatten()
        .map(|(a, b)| u64::from(b - a) + 1)
        .sum();
    violations.add(Violation::AckLie, told);
    for outcome in &outcomes {
        for suspect in &outcome.suspects {
            let Some(kind) = suspect.kind else { continue };
            let lied = lied_about(&lies, suspect);
            match suspect.recovery {
                _ if lied == suspect.len() => {}
                Some(transport) => {
                    let recovery = (suspect.slot, suspect.epoch, transport);
                    match outcome.overfull.contains(&recovery) {
                        true => violations.add(Violation::LostOverflow, suspect.len() - lied),
                        false => _ = broken.insert(recovery),
                    }
                }
                None if suspect.stalled => _ = stalled.insert((suspect.slot, suspect.epoch)),
                None => violations.add(kind, suspect.len() - lied),
            }
        }
    }
    violations.add(Violation::RecoveryBroken, broken.len() as u64);
    violations.add(Violation::Stalled, stalled.len() as u64);
    unsure::told(
        outcomes.iter().map(|outcome| &outcome.unsure),
        &mut measured,
    );
    let delivery = ledger.delivery(plan.promise);
    let self_check = check(&outcomes);
    let mut inconclusive = Vec::new();
    if self_check != "ok" {
        inconclusive.push(format!("the verifier's self-check failed: {self_check}"));
    }
    inconclusive.extend(doubts(plan, &outcomes, &delivery, totals.invoked));
    let not_exercised = Property::ALL
        .into_iter()
        .filter(|(property, _)| exercised.get(*property) == 0)
        .map(|(_, name)| name)
        .collect();
    Verification {
        delivery,
        pools: by_pool(plan, &outcomes),
        pool_permitted: permitted_by_pool(plan, &outcomes),
        groups: by_group(plan, &outcomes),
        violations,
        permitted,
        unknown,
        measured,
        verifier: VerifierFacts {
            mode: plan.mode.name(),
            not_verified: not_verified(plan.mode),
            sampled: false,
            pairs: outcomes.iter().map(|o| o.pairs).sum(),
            bytes: outcomes.iter().map(|o| o.bytes).sum(),
            not_exercised,
            exercised: (Property::ALL.into_iter())
                .map(|(property, name)| (name, exercised.get(property)))
                .collect(),
            threads: outcomes.len() as u32,
            threads_lost: outcomes.iter().filter(|outcome| outcome.lost).count() as u32,
            // The shards do not drive it; whoever does adds what it bore.
            exchange: ExchangeCounts::default(),
            self_check,
        },
        incidents: incidents(plan, outcomes, &lies, &stalled, saw_error),
        inconclusive,
    }
}

/// The kinds of violation that cannot be seen without naming messages, or without reading
/// payloads at all.
fn not_verified(mode: Mode) -> Vec<&'static str> {
    let blind: &[Violation] = match mode {
        Mode::Full => &[],
        // Losses of these kinds count as lost: which messages they are is not known.
        Mode::Digest => &[
            Violation::LostOverflow,
            Violation::Reordered,
            Violation::AckLie,
            Violation::Stalled,
        ],
        Mode::Counts => &[
            Violation::Lost,
            Violation::LostAtJoin,
            Violation::LostAtLeave,
            Violation::LostOverflow,
            Violation::Duplicated,
            Violation::DedupeBroken,
            Violation::Reordered,
            Violation::SequenceReused,
            Violation::Misdelivered,
            Violation::DeliveredAfterLeave,
            Violation::Echo,
            Violation::Fabricated,
            Violation::Corrupted,
            Violation::AckLie,
            Violation::AckForbiddenDelivered,
            Violation::Stalled,
        ],
    };
    blind.iter().map(|kind| kind.name()).collect()
}

fn by_pool(plan: &Plan, outcomes: &[ShardOutcome]) -> Vec<Delivery> {
    let mut pools = vec![Delivery::default(); plan.pools()];
    for outcome in outcomes {
        for (pool, ledger) in pools.iter_mut().zip(&outcome.pools) {
            pool.merge(&ledger.delivery(plan.promise));
        }
    }
    pools
}

fn permitted_by_pool(plan: &Plan, outcomes: &[ShardOutcome]) -> Vec<Tally<Permitted>> {
    let mut pools = vec![Tally::default(); plan.pools()];
    for outcome in outcomes {
        for (pool, ledger) in pools.iter_mut().zip(&outcome.pools) {
            ledger.permitted(pool);
        }
    }
    pools
}

fn by_group(plan: &Plan, outcomes: &[ShardOutcome]) -> Vec<GroupBooks> {
    let mut groups = vec![GroupBooks::default(); plan.addresses()];
    for outcome in outcomes {
        for ((group, ledger), sent) in groups.iter_mut().zip(&outcome.ledgers).zip(&outcome.sent) {
            group.delivery.merge(&ledger.delivery(plan.promise));
            group.publish.merge(sent);
        }
    }
    groups
}

/// Messages that were acked, that at least two receivers should have and nobody has (A1).
fn find_lies(outcomes: &[ShardOutcome]) -> Lies {
    let mut suspected: FxHashMap<StreamId, Vec<(u32, u32)>> = FxHashMap::default();
    for suspect in outcomes.iter().flat_map(|outcome| &outcome.suspects) {
        if suspect.kind.is_some() {
            let ranges = suspected.entry(suspect.stream).or_default();
            ranges.push((suspect.first, suspect.last));
        }
    }
    let mut lies = Lies::default();
    for (stream, ranges) in suspected {
        let mut nobody = at_least_two(&ranges);
        for outcome in outcomes {
            // A shard without receivers of the group reached nobody.
            if outcome.groups.contains(&stream.group.0) {
                let unreached = outcome
                    .unreached
                    .get(&stream)
                    .map_or(&[][..], Vec::as_slice);
                nobody = intersect(&nobody, unreached);
            }
        }
        if !nobody.is_empty() {
            lies.insert(stream, nobody);
        }
    }
    lies
}

/// Where at least two of the ranges overlap, sorted and apart.
fn at_least_two(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut edges: Vec<(u32, i32)> = ranges
        .iter()
        .flat_map(|(first, last)| [(*first, 1), (*last + 1, -1)])
        .collect();
    edges.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::new();
    let (mut depth, mut since) = (0, 0);
    for (at, step) in edges {
        if depth >= 2 && at > since {
            match out.last_mut() {
                Some(last) if last.1 + 1 == since => last.1 = at - 1,
                _ => out.push((since, at - 1)),
            }
        }
        depth += step;
        since = at;
    }
    out
}

/// How many messages of a suspect are lies of an ack instead.
fn lied_about(lies: &Lies, suspect: &Suspect) -> u64 {
    lies.get(&suspect.stream).map_or(0, |lies| {
        intersect(lies, &[(suspect.first, suspect.last)])
            .iter()
            .map(|(a, b)| u64::from(b - a) + 1)
            .sum()
    })
}

/// `ok`, or everything that does not balance.
fn check(outcomes: &[ShardOutcome]) -> String {
    let mut wrong: Vec<String> = Vec::new();
    for outcome in outcomes {
        for text in &outcome.self_check {
            wrong.push(format!("slots {:?}: {text}", outcome.slots));
        }
        // What a thread that is gone told last, not every other has heard.
        for speaker in outcomes.iter().filter(|speaker| !speaker.lost) {
            let heard = outcome
                .heard
                .iter()
                .find(|(slots, _)| *slots == speaker.slots)
                .map_or(0, |(_, serial)| *serial);
            if heard != speaker.serial {
                wrong.push(format!(
                    "slots {:?} heard facts up to {heard} of slots {:?}, which told {}",
                    outcome.slots, speaker.slots, speaker.serial
                ));
            }
        }
    }
    if wrong.is_empty() {
        "ok".into()
    } else {
        wrong.join("; ")
    }
}

/// Why the verdict is not conclusive although the verifier worked.
fn doubts(
    plan: &Plan,
    outcomes: &[ShardOutcome],
    delivery: &Delivery,
    invoked: u64,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if delivery.unverified > 0 {
        let mut why: Vec<String> = outcomes
            .iter()
            .flat_map(|o| o.limits.iter().cloned())
            .collect();
        // Each thread has the same budget.
        why.sort();
        why.dedup();
        if plan.mode == Mode::Counts {
            why.push("payloads are not read in mode counts".into());
        }
        if why.is_empty() {
            why.push(match plan.mode {
                Mode::Digest => "in stretches in which losses may be permitted, too, less came than was owed, and \
                                 mode digest cannot tell which of it was (mode full can); or a receiver was still \
                                 away at the end, or had too many deliveries kept by message"
                    .into(),
                _ => "receivers were still away at the end, or a limit was reached".into(),
            });
        }
        doubts.push(format!(
            "{} of {} owed deliveries are unverified: {}",
            delivery.unverified,
            delivery.expected,
            why.join("; ")
        ));
    }
    if delivery.expected == 0 && plan.publishes() {
        doubts.push(match invoked {
            0 => "nothing was published to any group".into(),
            _ => "no delivery was owed: nobody surely was a member when messages were sent".into(),
        });
    }
    let share = delivery.edge as f64 / delivery.expected.max(1) as f64;
    if delivery.edge > EDGE_FEW && share > EDGE_SHARE {
        doubts.push(format!(
            "{} pairs lie at a membership edge, {:.1} % of those owed: too much churn to judge",
            delivery.edge,
            share * 100.0
        ));
    }
    let slow: u64 = outcomes.iter().map(|outcome| outcome.slow_overflows).sum();
    if slow > 0 {
        doubts.push(format!(
            "{slow} sessions ended for a full queue while this harness was more than 1 s late with its sequence acks"
        ));
    }
    let stopped: u64 = outcomes.iter().map(|outcome| outcome.stopped).sum();
    if stopped > 0 {
        doubts.push(format!(
            "{stopped} receivers were stopped before verification ended"
        ));
    }
    let unfollowed: u64 = outcomes.iter().map(|outcome| outcome.unfollowed).sum();
    if unfollowed > 0 {
        doubts.push(format!(
            "whether {unfollowed} requests were answered is not known: their clients had too many others under way"
        ));
    }
    doubts
}

/// The first incidents of each kind over all shards, with the publishers' side added.
fn incidents(
    plan: &Plan,
    outcomes: Vec<ShardOutcome>,
    lies: &Lies,
    stalled: &FxHashSet<(u32, u16)>,
    saw_error: bool,
) -> Vec<Incident> {
    let mut kept: Vec<Kept> = Vec::new();
    let mut traces: FxHashMap<u32, PublisherTrace> = FxHashMap::default();
    let mut pinned = FxHashMap::default();
    for outcome in outcomes {
        kept.extend(outcome.incidents);
        traces.extend(outcome.traces);
        pinned.extend(outcome.pinned);
    }
    // What was told of a loss that turns out to be a lie: the story of who misses it.
    let mut missed: FxHashMap<StreamId, Incident> = FxHashMap::default();
    for of_lie in kept.iter().filter(|k| is_lie(lies, k)) {
        if let Some(stream) = of_lie.subject.stream {
            missed
                .entry(stream)
                .or_insert_with(|| of_lie.incident.clone());
        }
    }
    kept.retain(|k| {
        let told = |slot| stalled.iter().any(|(stalled, _)| Some(*stalled) == slot);
        match k.kind {
            Violation::Stalled => told(k.subject.receiver),
            Violation::DedupeBroken => !saw_error,
            _ => !is_lie(lies, k),
        }
    });
    let mut streams: Vec<_> = lies.iter().collect();
    streams.sort_unstable_by_key(|(stream, _)| **stream);
    for (stream, ranges) in streams.into_iter().take(INCIDENTS_PER_KIND) {
        kept.extend(
            ranges
                .iter()
                .take(1)
                .map(|range| lie(plan, *stream, *range, missed.remove(stream))),
        );
    }
    kept.sort_by(|a, b| a.incident.t_s.total_cmp(&b.incident.t_s));
    let mut counts = vec![0; Violation::ALL.len()];
    kept.retain(|k| {
        counts[k.kind.index()] += 1;
        counts[k.kind.index()] <= INCIDENTS_PER_KIND
    });
    kept.into_iter()
        .map(|k| {
            let mut incident = k.incident;
            if let (Some(stream), Some(seq)) = (k.subject.stream, k.subject.seq)
                && let Some(trace) = traces.get(&stream.publisher.0)
            {
                let recorded: Vec<_> = trace.of(stream, seq).into_iter().copied().collect();
                let sent = match recorded.is_empty() {
                    // Recorded long ago, and kept when somebody asked for it.
                    true => pinned.get(&(stream, seq)).cloned().unwrap_or_default(),
                    false => recorded,
                };
                publisher_story(&mut incident, trace, &sent);
            }
            incident
        })
        .collect()
}

/// The publisher's side of an incident: connections, transmissions, answers.
fn publisher_story(incident: &mut Incident, trace: &PublisherTrace, sent: &[PublishRecord]) {
    if sent.is_empty() {
        incident.evidence.push(format!(
            "publisher: no longer recorded; of each only the last {} publishes are, and what was asked for in time",
            trace.publishes.kept()
        ));
    }
    let sent_at = sent.iter().map(|record| record.at).min();
    let answered = sent.iter().filter_map(|record| record.answer);
    incident.sent_s = sent_at.map(Time::as_secs_f64);
    incident.answered_s = answered.map(|(_, at)| at).max().map(Time::as_secs_f64);
    for record in sent {
        let known = trace
            .connections
            .iter()
            .find(|(epoch, _)| *epoch == record.epoch);
        let id = known.map_or("no longer known", |(_, id)| id);
        incident
            .evidence
            .push(format!("publisher connection {id}: {record}"));
        if known.is_some() && !incident.connections.iter().any(|known| known == id) {
            incident.connections.push(id.into());
        }
    }
}

/// A loss whose message nobody got: told by the lie's own incident.
fn is_lie(lies: &Lies, kept: &Kept) -> bool {
    let lost = matches!(
        kept.kind,
        Violation::Lost
            | Violation::LostAtJoin
            | Violation::LostAtLeave
            | Violation::LostOverflow
            | Violation::RecoveryBroken
    );
    let (Some(stream), Some(seq)) = (kept.subject.stream, kept.subject.seq) else {
        return false;
    };
    lost && lies
        .get(&stream)
        .is_some_and(|ranges| ranges.iter().any(|(a, b)| *a <= seq && seq <= *b))
}

/// `missed`: the incident of one receiver's loss, which has the frames of that side.
fn lie(plan: &Plan, stream: StreamId, (first, last): (u32, u32), missed: Option<Incident>) -> Kept {
    let missed = missed.unwrap_or_default();
    let group = plan.name(stream.group).map(str::to_owned);
    let name = group.as_deref().unwrap_or("?");
    Kept {
        kind: Violation::AckLie,
        subject: Subject {
            receiver: None,
            stream: Some(stream),
            seq: Some(first),
            ..Subject::default()
        },
        incident: Incident {
            kind: Violation::AckLie.name(),
            t_s: missed.t_s,
            summary: match last - first {
                0 => format!(
                    "message {}/{name}#{first} was answered with success and reached nobody",
                    stream.publisher
                ),
                more => format!(
                    "messages {}/{name}#{first} to #{last} ({} of them) were answered with success and reached nobody",
                    stream.publisher,
                    more + 1
                ),
            },
            rule: rule(Violation::AckLie),
            receiver: missed.receiver,
            publisher: Some(stream.publisher.0),
            group,
            seq: Some(first),
            evidence: (missed.receiver.iter())
                .map(|slot| format!("one of those who should have it, slot {slot}:"))
                .chain(missed.evidence)
                .collect(),
            ..missed
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lie_needs_two_who_should_have_it() {
        assert_eq!(at_least_two(&[(1, 5)]), []);
        assert_eq!(at_least_two(&[(1, 5), (3, 9)]), [(3, 5)]);
        assert_eq!(at_least_two(&[(1, 5), (3, 9), (5, 6)]), [(3, 6)]);
        assert_eq!(at_least_two(&[(2, 2), (2, 2), (3, 3), (3, 3)]), [(2, 3)]);
    }
}
