//! The harness's own side: what it does wrong itself must make its verdict inconclusive, or
//! change nothing at all. Source: verification 11, the row "own side".

use serde_json::{Value, json};

use super::judge::{Judgement, trusted};
use super::rows::Row;
use crate::client::Sabotage;
use crate::report::results::Results;

/// What must come of a sabotage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comes {
    /// Exit 4, because the verifier's own check says this.
    SelfCheck(&'static str),
    /// Exit 4 and no violation, because deliveries are unverified.
    Unverified,
    /// Exit 4 and no violation: a thread is gone, with so many `dead` receivers of all
    /// messages, and all that these were owed is unverified, to the pair.
    Lost {
        /// Receivers of the thread that is gone.
        dead: u64,
        /// Those of the other.
        living: u64,
    },
    /// A pass, and every counter of the books as in a run without it.
    Nothing,
}

/// A sabotage and what comes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// What is done.
    pub sabotage: Sabotage,
    /// What must come of it.
    pub comes: Comes,
}

/// One row for each sabotage.
pub(super) fn own() -> Vec<Row> {
    use Sabotage as S;
    let row = |name, sabotage, comes| {
        Row {
        name,
        fault: None,
        specs: match sabotage {
            // Something must be missing, or there is no hole.
            S::CapHoles => vec!["drop,every=10,count=3".into()],
            _ => Vec::new(),
        },
        yaml: format!(
            "hubstorm: 1
name: selftest-{name}
duration: 3s
drain: 1500ms
verify: {{mode: full, promise: reference}}
pools:
  publisher: {{clients: 1, publish: {{rate: 20/s, start: {}, to: room, payload: {{type: json, size: 160B}}}}}}
  receivers: {{clients: 3, groups: {{names: [room], join: all}}}}
  outsider: {{clients: 1}}
",
            match comes {
                // What is sent before the first facts after the joins is owed or not, by
                // chance: numbers can be foretold without it alone.
                Comes::Nothing | Comes::Lost { .. } => "1s",
                _ => "0s",
            }
        ),
        expected: Vec::new(),
        seen: Vec::new(),
        why: "the harness's own doing",
        churn: false,
        turns_into: Vec::new(),
            spreads: false,
        own: Some(Own { sabotage, comes }),
    }
    };
    vec![
        row(
            "own-lost-frame",
            S::LoseFrame,
            Comes::SelfCheck("data frames read from sockets"),
        ),
        row(
            "own-clock",
            S::LieAboutClock,
            Comes::SelfCheck("before they were sent"),
        ),
        // The publisher and one receiver are slots of the first thread, two receivers and
        // the outsider of the last.
        row(
            "own-dead-thread",
            S::KillLastFleet,
            Comes::Lost { dead: 2, living: 1 },
        ),
        row(
            "own-dead-publisher",
            S::KillFirstFleet,
            Comes::Lost { dead: 1, living: 2 },
        ),
        row("own-hole-cap", S::CapHoles, Comes::Unverified),
        row("own-control-lost", S::LoseControl, Comes::Nothing),
        row("own-control-repeated", S::RepeatControl, Comes::Nothing),
        row("own-control-swapped", S::SwapControl, Comes::Nothing),
        row(
            "own-facts-lost",
            S::LoseFacts,
            Comes::SelfCheck("heard facts up to 0 of slots"),
        ),
    ]
}

/// Holds the result of a row of this side against it, and where nothing may change against
/// that of the same run `without` the sabotage.
pub(super) fn judge(own: Own, results: &Results, without: Option<&Results>) -> Judgement {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    let (exit, check) = (results.exit_code, &results.verifier.self_check);
    let (accused, unverified) = (results.violations.total(), results.delivery.unverified);
    let expected = match own.comes {
        Comes::SelfCheck(text) => {
            must(
                check.contains(text),
                format!("the self-check says {check:?}, not {text:?}"),
            );
            must(exit == 4, format!("exit {exit}, must be 4"));
            "self-check, exit 4"
        }
        Comes::Unverified => {
            must(unverified > 0, "nothing is unverified".into());
            must(accused == 0, format!("{accused} violations, must be none"));
            must(exit == 4, format!("exit {exit}, must be 4"));
            must(check == "ok", format!("self-check: {check}"));
            "unverified 1 or more, exit 4"
        }
        Comes::Lost { dead, living } => {
            lost(dead, living, results, &mut must);
            must(accused == 0, format!("{accused} violations, must be none"));
            must(exit == 4, format!("exit {exit}, must be 4"));
            must(check == "ok", format!("self-check: {check}"));
            "what the thread was owed unverified, exit 4"
        }
        Comes::Nothing => {
            must(exit == 0, format!("exit {exit}: {:?}", results.reasons));
            must(accused == 0, format!("{accused} violations, must be none"));
            trusted(results, &mut wrong);
            let bore = results.verifier.exchange;
            if bore.repeated + bore.again + bore.dropped == 0 {
                wrong.push("the exchange of facts had nothing to bear".into());
            }
            match without {
                Some(without) => wrong.extend(differences(&books(without), &books(results), "")),
                None => wrong.push("there is no run without it to compare".into()),
            }
            "no change at all"
        }
    };
    Judgement {
        expected: expected.to_owned(),
        got: format!("exit {exit}, self-check {check}, unverified {unverified}"),
        wrong,
    }
}

/// Nothing was lost in these worlds: each receiver of the living thread has what each of the
/// dead one was owed.
fn lost(dead: u64, living: u64, results: &Results, must: &mut impl FnMut(bool, String)) {
    let (ledger, verifier) = (&results.delivery, &results.verifier);
    let threads = (verifier.threads, verifier.threads_lost);
    must(
        threads == (2, 1),
        format!("(threads, lost) are {threads:?}"),
    );
    let named = results.reasons.iter().any(|why| why.contains("is gone"));
    must(named, format!("no reason names it: {:?}", results.reasons));
    must(ledger.balances(), "the ledger does not balance".into());
    must(ledger.unverified > 0, "nothing is unverified".into());
    must(
        ledger.unverified * living == ledger.delivered * dead,
        format!(
            "{} unverified at {dead} receivers, {} delivered to {living}",
            ledger.unverified, ledger.delivered
        ),
    );
    let truth = results.hub_truth.as_ref();
    let executed = truth.and_then(|truth| truth["publishes_executed"].as_u64());
    let beyond = results.unknown.get("beyond_last_facts").unwrap_or(0);
    let seen = ledger.delivered + ledger.not_owed + beyond;
    must(
        executed.map(|n| n * living) == Some(seen),
        format!("the hub executed {executed:?}, {living} receivers saw {seen} in all"),
    );
}

/// Every counter of the books: publishes, deliveries and the three tables, of the run and of
/// each pool and group.
fn books(results: &Results) -> Value {
    let of = |name: &str, publish: Value, delivery: Value| json!({"name": name, "publish": publish, "delivery": delivery});
    let pools = results.pools.iter();
    let pools = pools.map(|pool| of(&pool.name, json!(pool.publish), json!(pool.delivery)));
    let groups = results.groups.iter();
    let groups = groups.map(|group| of(&group.name, json!(group.publish), json!(group.delivery)));
    json!({
        "clients": results.clients.counts,
        "publish": results.publish,
        "delivery": results.delivery,
        "violations": results.violations,
        "permitted": results.permitted,
        "unknown": results.unknown,
        "pools": pools.collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    })
}

/// Where two books differ, with both numbers.
fn differences(one: &Value, other: &Value, at: &str) -> Vec<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if one.len() == other.len() => (one.iter())
            .flat_map(|(key, value)| {
                let theirs = other.get(key).unwrap_or(&Value::Null);
                differences(value, theirs, &format!("{at}/{key}"))
            })
            .collect(),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => (one.iter())
            .zip(other)
            .enumerate()
            .flat_map(|(nth, (one, other))| differences(one, other, &format!("{at}/{nth}")))
            .collect(),
        (one, other) if one == other => Vec::new(),
        (one, other) => vec![format!("{at} is {other}, without the sabotage {one}")],
    }
}
