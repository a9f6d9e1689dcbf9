//! What a row of the selftest is: a small world, one lie, and what must come of it.

use super::lies::{TENTH, lies};
use super::own::Own;
use crate::hub::FaultKind;
use crate::verify::kinds::{Kind as _, Permitted, Unknown, Violation};

/// Which table of the report a kind stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// `violations`.
    Violations,
    /// `permitted`.
    Permitted,
    /// `unknown`.
    Unknown,
}

/// How often a kind must be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// So often for each time that the hub says it did it.
    Each(u64),
    /// At least once, at most so often for each time.
    UpTo(u64),
    /// As often as the hub says that it made more deliveries than it owed.
    Surplus,
    /// As often as the three receivers got fewer copies than were published, less those at
    /// the edge of the join.
    Deficit,
    /// As often as the hub says that it delivered after a leave, less those that were on
    /// their way when it was acked.
    AfterLeave,
    /// At least once: the hub cannot say how many messages one lie touched.
    Some,
    /// As it comes: a by-product of the row's world, no verdict on the lie.
    Any,
}

/// One count that may differ from zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// Where it is counted.
    pub table: Table,
    /// The kind's name.
    pub kind: &'static str,
    /// How often.
    pub count: Count,
}

/// A row: the world of verification 11 (one publisher, three receivers that must get
/// everything, one outsider), changed as the lie needs it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the table: the fault's, or the honest world's.
    pub name: &'static str,
    /// The lie; `None`: an honest hub.
    pub fault: Option<FaultKind>,
    /// Faults of the hub, as users write them: the lie first, then what brings it about.
    pub specs: Vec<String>,
    /// The scenario.
    pub yaml: String,
    /// What must be counted; every kind not named here must stay 0.
    pub expected: Vec<Expected>,
    /// Numbers of the report, as JSON pointers, with the least that they must be: proof
    /// that the row did what it is for.
    pub seen: Vec<(&'static str, u64)>,
    /// Why there is no violation; empty where there is one.
    pub why: &'static str,
    /// Connections break, publishers send again and members come and go meanwhile: what is
    /// expected must be counted at least once, no other violation, and the rest is free.
    pub churn: bool,
    /// Violations that churn may make of the lie instead, each with its reason.
    pub turns_into: Vec<(Violation, &'static str)>,
    /// Under churn one lie touches as many messages as it likes; otherwise it makes one
    /// violation, or as many as without churn, whatever it turns into.
    pub spreads: bool,
    /// What the harness does to itself, instead of a lie.
    pub own: Option<Own>,
}

impl Row {
    /// What the table calls it; unlike `name`, no two rows share it.
    pub fn title(&self) -> String {
        match self.churn {
            true => format!("{}+churn", self.name),
            false => self.name.to_owned(),
        }
    }
}

/// Receivers of a lie's world.
pub(super) const RECEIVERS: u64 = 3;

/// What breaks in a row under churn, beside what the row itself asks for: receivers lose
/// their connections, the publisher too, so that it sends again.
const CHURN: &str = "{kind: reset, pool: receivers, start: 500ms, every: 600ms, count: 1}, \
     {kind: drop, pool: receivers, start: 800ms, every: 700ms, count: 1}, \
     {kind: close, pool: visitors, start: 1s, every: 900ms, count: 1}, \
     {kind: drop, pool: publisher, start: 700ms, every: 1300ms, count: 1}";
/// Pairs of messages that two receivers saw in different orders.
pub(super) const INVERSIONS: &str = "/measured/inversions";
/// How many come and go meanwhile.
pub(super) const GUESTS: u64 = 2;
/// Who comes and goes meanwhile.
const VISITORS: &str = "  visitors: {clients: 2, groups: {names: [room], join: all}, churn: {every: 800ms, away: 300ms}}\n";
/// Instead of the tenth delivery: amid the churn, and three times, because one may fall to a
/// visitor on its way out, whom nothing is owed.
const AMID_CHURN: &str = "every=70,count=3";

/// The world of a row, to be changed.
pub(super) struct World {
    duration: &'static str,
    drain: &'static str,
    publishers: u32,
    publish: &'static str,
    publisher: &'static str,
    receivers: &'static str,
    chaos: &'static str,
    /// When the lie is told, and when it is amid churn instead.
    amid_churn: [&'static str; 2],
    answers_within: &'static str,
    row: Row,
}

impl World {
    /// One publisher, three receivers, one outsider, and a lie.
    pub(super) fn of(fault: FaultKind, spec: &'static str) -> Self {
        let mut parameters = String::from(fault.name());
        if !spec.is_empty() {
            parameters = format!("{parameters},{spec}");
        }
        World {
            duration: "2s",
            drain: "1500ms",
            publishers: 1,
            publish: "",
            publisher: "",
            receivers: "",
            chaos: "",
            amid_churn: [TENTH, AMID_CHURN],
            answers_within: "30s",
            row: Row {
                name: fault.name(),
                fault: Some(fault),
                specs: vec![parameters],
                yaml: String::new(),
                expected: Vec::new(),
                seen: Vec::new(),
                why: "",
                churn: false,
                turns_into: Vec::new(),
                spreads: false,
                own: None,
            },
        }
    }

    /// The same lie while connections break, publishers send again and members come and go.
    pub(super) fn churned(mut self) -> Self {
        self.row.churn = true;
        // Looked at in one second of thirty.
        self.row.seen.retain(|(at, _)| *at != INVERSIONS);
        if matches!(self.duration, "2s" | "3s") {
            self.duration = "4s";
        }
        if self.drain == "1500ms" {
            self.drain = "5s";
        }
        for spec in &mut self.row.specs {
            let [calm, amid] = self.amid_churn;
            if let Some(kind) = spec.strip_suffix(calm) {
                *spec = format!("{kind}{amid}");
            }
        }
        self
    }

    /// When the lie is told under churn, instead of at every seventieth opportunity.
    pub(super) fn amid_churn(mut self, trigger: &'static str) -> Self {
        self.amid_churn[1] = trigger;
        self
    }

    /// The same for a lie about joins, of which the first may be a visitor's that is over
    /// before anything is owed.
    pub(super) fn joins_amid_churn(mut self, calm: &'static str, trigger: &'static str) -> Self {
        self.amid_churn = [calm, trigger];
        self
    }

    /// A violation that churn may make of this lie, and why.
    pub(super) fn turns_into(mut self, kind: Violation, why: &'static str) -> Self {
        self.row.turns_into.push((kind, why));
        self
    }

    /// Under churn each lie may make any number of violations.
    pub(super) fn spreads(mut self) -> Self {
        self.row.spreads = true;
        self
    }

    pub(super) fn lasts(mut self, duration: &'static str) -> Self {
        self.duration = duration;
        self
    }

    /// How long what is owed may take to come, after everything has healed.
    pub(super) fn drain(mut self, drain: &'static str) -> Self {
        self.drain = drain;
        self
    }

    /// How long the hub has for an answer; nobody would wait half a minute for a row.
    pub(super) fn answers_within(mut self, within: &'static str) -> Self {
        self.answers_within = within;
        self
    }

    /// How many publishers instead of one.
    pub(super) fn publishers(mut self, n: u32) -> Self {
        self.publishers = n;
        self
    }

    /// More keys of `publish`.
    pub(super) fn publish(mut self, keys: &'static str) -> Self {
        self.publish = keys;
        self
    }

    /// More keys of the publisher's pool.
    pub(super) fn publisher(mut self, keys: &'static str) -> Self {
        self.publisher = keys;
        self
    }

    /// More keys of the receivers' pool.
    pub(super) fn receivers(mut self, keys: &'static str) -> Self {
        self.receivers = keys;
        self
    }

    /// What the harness does to connections.
    pub(super) fn chaos(mut self, entries: &'static str) -> Self {
        self.chaos = entries;
        self
    }

    /// A second fault, which brings the lie about.
    pub(super) fn with(mut self, spec: &str) -> Self {
        self.row.specs.push(spec.to_owned());
        self
    }

    pub(super) fn violates(self, kind: Violation, count: Count) -> Self {
        self.expects(Table::Violations, kind.name(), count)
    }

    pub(super) fn permits(self, kind: Permitted, count: Count) -> Self {
        self.expects(Table::Permitted, kind.name(), count)
    }

    pub(super) fn leaves_unknown(self, kind: Unknown, count: Count) -> Self {
        self.expects(Table::Unknown, kind.name(), count)
    }

    fn expects(mut self, table: Table, kind: &'static str, count: Count) -> Self {
        self.row.expected.push(Expected { table, kind, count });
        self
    }

    /// A number of the report that must be at least this.
    pub(super) fn sees(mut self, pointer: &'static str, least: u64) -> Self {
        self.row.seen.push((pointer, least));
        self
    }

    /// Why this is no violation.
    pub(super) fn because(mut self, why: &'static str) -> Self {
        self.row.why = why;
        self
    }

    pub(super) fn row(mut self) -> Row {
        let World {
            duration,
            drain,
            publishers,
            publish,
            publisher,
            receivers,
            chaos,
            answers_within,
            ..
        } = self;
        let comma = |keys: &str| match keys {
            "" => String::new(),
            keys => format!(", {keys}"),
        };
        let (publish, publisher, receivers) = (comma(publish), comma(publisher), comma(receivers));
        let churn = if self.row.churn { CHURN } else { "" };
        let chaos = match (chaos, churn) {
            ("", "") => String::new(),
            ("", entries) | (entries, "") => format!("chaos: [{entries}]\n"),
            (entries, churn) => format!("chaos: [{entries}, {churn}]\n"),
        };
        let visitors = if self.row.churn { VISITORS } else { "" };
        self.row.yaml = format!(
            "hubstorm: 1
name: selftest-{name}
duration: {duration}
drain: {drain}
verify: {{mode: full, promise: reference, ack_within: {answers_within}}}
pools:
  publisher:
    {{clients: {publishers}, publish: {{rate: 20/s, to: room, payload: {{type: json, size: 160B}}{publish}}}{publisher}}}
  receivers: {{clients: {RECEIVERS}, groups: {{names: [room], join: all}}{receivers}}}
  outsider: {{clients: 1}}
{visitors}{chaos}",
            name = self.row.name.replace('_', "-"),
        );
        self.row
    }
}

/// Every row: one for each kind of fault, then the honest worlds. `short` makes the honest
/// ones last a quarter of their time.
pub fn rows(short: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = lies().map(World::row).collect();
    rows.extend(honest(short));
    rows
}

/// Each lie again, under churn.
pub fn churned() -> Vec<Row> {
    lies().map(|world| world.churned().row()).collect()
}

const EVERYTHING: &str = "  - {kind: reset, start: 300ms, every: 400ms, share: 15%}
  - {kind: drop, start: 500ms, every: 400ms, share: 15%}
  - {kind: close, start: 700ms, every: 900ms, share: 10%}
  - {kind: flap, start: 900ms, every: 2s, share: 10%}
  - {kind: stall, start: 1s, every: 2s, share: 10%, for: 500ms}
  - {kind: half_open, start: 1200ms, every: 3s, count: 1, for: 1s}
  - {kind: blackout, start: 1500ms, every: 3s, share: 10%, for: 500ms}
  - {kind: storm, at: 2s, share: 60%}
";

/// Hubs that keep every promise, while everything around them breaks.
fn honest(short: bool) -> Vec<Row> {
    let duration = if short { "5s" } else { "20s" };
    let world = |name, promise, pools: &str, chaos: &str| Row {
        name,
        fault: None,
        specs: Vec::new(),
        yaml: format!(
            "hubstorm: 1
name: selftest-{name}
duration: {duration}
drain: 10s
verify: {{mode: full, promise: {promise}}}
pools:
{pools}chaos:
{chaos}"
        ),
        expected: Permitted::ALL
            .iter()
            .map(|kind| (Table::Permitted, kind.name()))
            .chain(
                Unknown::ALL
                    .iter()
                    .map(|kind| (Table::Unknown, kind.name())),
            )
            .map(|(table, kind)| Expected {
                table,
                kind,
                count: Count::Any,
            })
            .collect(),
        seen: vec![("/clients/disconnects", 40), ("/delivery/delivered", 500)],
        why: "an honest hub",
        churn: false,
        turns_into: Vec::new(),
        spreads: false,
        own: None,
    };
    let members = "  members: {clients: 24, groups: {count: 4, join: 1}, publish: {rate: 8/s, payload: {type: json, size: 160B}}}\n";
    let churning = "  members: {clients: 24, groups: {count: 4, join: 1}, churn: {every: 2s, away: 400ms}, publish: {rate: 8/s, payload: {type: text, size: 160B}}}\n";
    let unreliable = "  members: {clients: 24, protocol: json, groups: {count: 4, join: 1}, publish: {rate: 8/s, payload: {type: json, size: 160B}}}\n";
    let binary = "  members: {clients: 24, protocol: protobuf.reliable, groups: {count: 4, join: 2}, publish: {rate: 6/s, payload: {type: binary, size: 160B}}}\n";
    let restarts = format!("{EVERYTHING}  - {{kind: hub_restart, at: 2500ms}}\n");
    vec![
        world("honest-json", "reference", members, EVERYTHING),
        world("honest-churn", "reference", churning, EVERYTHING),
        world("honest-published", "published", churning, EVERYTHING),
        world("honest-unreliable", "reference", unreliable, EVERYTHING),
        world("honest-protobuf", "reference", binary, EVERYTHING),
        world("honest-restart", "reference", members, &restarts),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::FaultSpec;
    use crate::scenario::{self, Overrides};

    #[test]
    fn every_lie_that_the_hub_can_tell_has_a_row_and_those_without_a_violation_say_why() {
        let rows = rows(true);
        for kind in FaultKind::ALL {
            assert!(
                rows.iter().any(|row| row.fault == Some(*kind)),
                "no row tells {kind}"
            );
        }
        for row in rows {
            let accused = row
                .expected
                .iter()
                .any(|e| e.table == Table::Violations && e.count != Count::Any);
            assert_eq!(accused, row.why.is_empty(), "{}", row.name);
            assert!(
                accused
                    || !row.seen.is_empty()
                    || row.expected.iter().any(|e| e.count != Count::Any),
                "{} proves nothing",
                row.name
            );
        }
    }

    #[test]
    fn every_row_can_be_read() {
        for row in rows(false).into_iter().chain(churned()) {
            for spec in &row.specs {
                spec.parse::<FaultSpec>().unwrap();
            }
            let read = scenario::parse(&row.yaml, "row.yaml", &Overrides::default(), &|_| None);
            if let Err(mistakes) = read {
                panic!("{}: {mistakes}", row.name);
            }
        }
    }
}
