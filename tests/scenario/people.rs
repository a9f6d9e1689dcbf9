//! Who is there, when, in which groups, as which user.

use std::collections::BTreeMap;
use std::time::Duration;

use hubstorm::base::Slot;
use hubstorm::load::visit;
use hubstorm::scenario::{self, Overrides, Scenario};

use super::{no_env, parse};

fn with(pool: &str) -> Scenario {
    let text = format!("seed: 7\nduration: 60s\npools:\n  a: {{{pool}}}\n");
    let scenario = parse(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
    // Written out and read back it is the same.
    let again = scenario::to_yaml(&scenario);
    let again = parse(&again).unwrap_or_else(|wrong| panic!("{again}\n{wrong}"));
    assert_eq!(scenario.members(), again.members());
    assert_eq!(scenario.pools[0].sessions, again.pools[0].sessions);
    assert_eq!(scenario.pools[0].churn, again.pools[0].churn);
    scenario
}

fn wrong(pool: &str) -> String {
    let text = format!("duration: 60s\npools: {{a: {{{pool}}}}}");
    parse(&text).unwrap_err().to_string()
}

/// What the clients themselves would say.
fn counted(scenario: &Scenario) -> Vec<u32> {
    let mut members = vec![0; scenario.groups.len()];
    for slot in 0..scenario.clients() {
        for group in scenario.groups_of(Slot(slot)) {
            members[group.index()] += 1;
        }
    }
    members
}

#[test]
fn groups_have_the_sizes_that_the_file_asks_for() {
    let pairs = with("clients: 100, groups: {size: 2, prefix: pair-}");
    assert_eq!(pairs.members(), vec![2; 50]);
    let teams = with("clients: 95, groups: {size: 10}");
    assert_eq!(teams.groups.len(), 10);
    assert!(teams.members().iter().all(|n| (9..=10).contains(n)));
    let mixed = with("clients: 1000, groups: {size: {min: 2, max: 20}}");
    let (_, but_the_last) = mixed
        .members()
        .split_last()
        .map(|(l, r)| (*l, r.to_vec()))
        .unwrap();
    assert!(but_the_last.iter().all(|n| (2..=20).contains(n)));
    assert!(but_the_last.contains(&2) && but_the_last.contains(&20));
    let zipf = with("clients: 1000, groups: {count: 50, size: zipf}");
    let members = zipf.members();
    assert!(members.iter().all(|n| *n >= 1));
    assert!(
        members[0] > 2 * members[1] - 20 && members[0] > 200,
        "{members:?}"
    );
    for scenario in [&pairs, &teams, &mixed, &zipf] {
        assert_eq!(
            scenario.members(),
            counted(scenario),
            "deliveries would be owed wrongly"
        );
        assert_eq!(scenario.members().iter().sum::<u32>(), scenario.clients());
    }
}

#[test]
fn the_sizes_of_groups_follow_the_clients_that_there_are() {
    let text = "seed: 1\npools: {a: {clients: 100, groups: {count: 50, size: zipf}}}";
    for scale in ["0.1", "10"] {
        let overrides = Overrides {
            scale: Some(scale.into()),
            ..Overrides::default()
        };
        let scenario = scenario::parse(text, "t.yaml", &overrides, &no_env).unwrap();
        assert_eq!(scenario.members(), counted(&scenario));
        assert_eq!(scenario.members().iter().sum::<u32>(), scenario.clients());
    }
}

#[test]
fn a_user_has_as_many_connections_as_asked_for() {
    let scenario = with("clients: 10, connections_per_user: 3");
    let mut users = BTreeMap::new();
    for slot in 0..10 {
        *users.entry(scenario.user_of(Slot(slot))).or_insert(0) += 1;
    }
    assert_eq!(users.into_values().collect::<Vec<_>>(), [3, 3, 3, 1]);
}

#[test]
fn visitors_come_at_their_rate_and_stay_for_their_time() {
    let scenario = with("sessions: {arrive: 20/s, stay: exponential(10s)}, groups: {count: 5}");
    assert_eq!((scenario.clients(), scenario.residents()), (1200, 0));
    let pool = &scenario.pools[0];
    let visits: Vec<_> = (0..1200)
        .map(|slot| visit(scenario.seed, Slot(slot), pool).unwrap())
        .collect();
    assert!(
        visits
            .iter()
            .all(|visit| visit.comes < Duration::from_secs(60))
    );
    assert_eq!(visits[20].comes, Duration::from_secs(1));
    let stays = visits.iter().map(|v| (v.goes - v.comes).as_secs_f64());
    let mean = stays.sum::<f64>() / 1200.0;
    assert!((9.0..11.0).contains(&mean), "{mean}");
    let fixed = with("clients: 60, sessions: {arrive: 1/s, stay: 5s}");
    let last = visit(fixed.seed, Slot(59), &fixed.pools[0]).unwrap();
    assert_eq!(last.goes, Duration::from_secs(64));
    let spread = with("sessions: {arrive: 1/s, stay: 'uniform(5s, 6s)'}");
    let one = visit(spread.seed, Slot(3), &spread.pools[0]).unwrap();
    assert!(one.goes - one.comes >= Duration::from_secs(5));
}

#[test]
fn impossible_populations_are_refused() {
    for (pool, told) in [
        (
            "clients: 100, sessions: {arrive: 1/s, stay: 5s}",
            "only 60 of 100 clients come",
        ),
        ("sessions: {arrive: 0/s, stay: 5s}", "nobody ever comes"),
        (
            "sessions: {arrive: 1/s, stay: often(5s)}",
            "does not say how long",
        ),
        ("sessions: {arrive: 1/s, stay: 0s}", "does not say how long"),
        ("sessions: {arrive: 1/s}", "`stay` is missing"),
        (
            "connect: 1/s, sessions: {arrive: 1/s, stay: 5s}",
            "cannot stand beside",
        ),
        ("clients: 5, churn: {every: 5s, away: 1s}", "joins no group"),
        (
            "clients: 5, groups: {count: 2}, churn: {every: 0s, away: 1s}",
            "longer than nothing",
        ),
        (
            "clients: 5, groups: {count: 2, size: 5}",
            "cannot stand beside",
        ),
        ("clients: 5, groups: {size: zipf}", "`count` is missing"),
        (
            "clients: 5, groups: {size: {min: 5, max: 2}}",
            "below `min`",
        ),
        (
            "clients: 5, groups: {names: [x], size: 5}",
            "cannot stand beside",
        ),
        (
            "clients: 5, groups: {count: 2, size: zipf, join: 2}",
            "cannot stand beside",
        ),
        (
            "clients: 5, connections_per_user: 0",
            "is not a number of connections",
        ),
    ] {
        let found = wrong(pool);
        assert!(found.contains(told), "{pool}: {found}");
    }
}
