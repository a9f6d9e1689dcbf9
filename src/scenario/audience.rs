//! To whom server messages go that are addressed to no group: everybody, a user, a
//! connection. Each address is a stream of its own for the verifier, numbered above the
//! groups; only those that somebody sends to have a number.

use std::ops::Range;

use super::model::{Destination, Scenario};
use crate::base::{GroupId, Slot};

/// The addresses of a scenario beside its groups. A pure function of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audiences {
    first: u32,
    everybody: Option<u32>,
    /// Of the users of a pool: its slots, the first one's number, connections per user.
    users: Vec<(Range<u32>, u32, u32)>,
    /// Of the connections of a pool: its slots, the first one's number.
    connections: Vec<(Range<u32>, u32)>,
    end: u32,
}

impl Audiences {
    /// The addresses that `scenario` sends to.
    pub fn of(scenario: &Scenario) -> Self {
        // Groups are far fewer than 2^24.
        let first = scenario.groups.len() as u32;
        let mut audiences = Audiences {
            first,
            end: first,
            ..Audiences::default()
        };
        for (index, pool) in scenario.pools.iter().enumerate() {
            match pool.publish.as_ref().map(|publish| &publish.to) {
                Some(Destination::Everybody) => audiences.add_everybody(),
                Some(Destination::User(of)) => audiences.add_users(scenario, *of),
                Some(Destination::Connection(of)) => audiences.add_connections(scenario, *of),
                Some(Destination::Event { reply: true, .. }) => {
                    audiences.add_connections(scenario, index);
                }
                _ => {}
            }
        }
        audiences
    }

    fn add_everybody(&mut self) {
        if self.everybody.is_none() {
            self.everybody = Some(self.end);
            self.end += 1;
        }
    }

    fn add_users(&mut self, scenario: &Scenario, pool: usize) {
        let pool = &scenario.pools[pool];
        if self.users.iter().all(|(slots, ..)| *slots != pool.slots()) {
            let each = pool.connections_per_user.max(1);
            self.users.push((pool.slots(), self.end, each));
            self.end += pool.clients.div_ceil(each);
        }
    }

    fn add_connections(&mut self, scenario: &Scenario, pool: usize) {
        let pool = &scenario.pools[pool];
        let known = |(slots, _): &(Range<u32>, u32)| *slots == pool.slots();
        if !self.connections.iter().any(known) {
            self.connections.push((pool.slots(), self.end));
            self.end += pool.clients;
        }
    }

    /// Everybody who is connected, if somebody sends to them.
    pub fn everybody(&self) -> Option<GroupId> {
        self.everybody.map(GroupId)
    }

    /// The user of `slot`, if somebody sends to the users of its pool.
    pub fn user(&self, slot: Slot) -> Option<GroupId> {
        let of = |(slots, ..): &&(Range<u32>, u32, u32)| slots.contains(&slot.0);
        let (slots, first, each) = self.users.iter().find(of)?;
        Some(GroupId(first + (slot.0 - slots.start) / each))
    }

    /// The connection of `slot`, if somebody sends to the connections of its pool.
    pub fn connection(&self, slot: Slot) -> Option<GroupId> {
        let of = |(slots, _): &&(Range<u32>, u32)| slots.contains(&slot.0);
        let (slots, first) = self.connections.iter().find(of)?;
        Some(GroupId(first + (slot.0 - slots.start)))
    }

    /// All that the connections of `slot` belong to.
    pub fn heard_by(&self, slot: Slot) -> Vec<GroupId> {
        [self.everybody(), self.user(slot), self.connection(slot)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Their names in evidence, in the order of their numbers.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![String::new(); (self.end - self.first) as usize];
        let mut name = |number: u32, text: String| names[(number - self.first) as usize] = text;
        if let Some(everybody) = self.everybody {
            name(everybody, "(everybody)".into());
        }
        for (slots, first, each) in &self.users {
            for (number, slot) in (*first..).zip(slots.clone().step_by(*each as usize)) {
                name(number, format!("(user of slot {slot})"));
            }
        }
        for (slots, first) in &self.connections {
            for (number, slot) in (*first..).zip(slots.clone()) {
                name(number, format!("(connection of slot {slot})"));
            }
        }
        names
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.end == self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    #[test]
    fn every_address_has_one_number_and_every_connection_hears_what_is_meant_for_it() {
        // Two addresses under one number would make one's messages the other's losses.
        let text = "seed: 1\npools:\n  quiet: {clients: 3, groups: {count: 2}}\n  people: {clients: 5, connections_per_user: 2, groups: {names: [hall]}}\n  back: {servers: 1, publish: {rate: 1/s, to: {user: people}}}\n  door: {servers: 1, publish: {rate: 1/s, to: {connection: people}}}\n  sky: {servers: 2, publish: {rate: 1/s, to: everybody}}\n  callers: {clients: 2, publish: {rate: 1/s, to: {event: e, reply: echo}}}\n";
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let audiences = Audiences::of(&scenario);
        // Groups 0 to 2; users 3, 4, 5; connections 6 to 10; everybody 11; callers 12, 13.
        assert_eq!(audiences.everybody(), Some(GroupId(11)));
        let of = |slot| audiences.heard_by(Slot(slot));
        assert_eq!(of(0), [GroupId(11)]);
        assert_eq!(of(3), [GroupId(11), GroupId(3), GroupId(6)]);
        assert_eq!(of(4), [GroupId(11), GroupId(3), GroupId(7)]);
        assert_eq!(of(7), [GroupId(11), GroupId(5), GroupId(10)]);
        let caller = scenario.clients() - 1;
        assert_eq!(audiences.connection(Slot(caller)), Some(GroupId(13)));
        let names = audiences.names();
        assert_eq!(names.len(), 11);
        assert_eq!(names[1], "(user of slot 5)");
        assert_eq!(names[10], format!("(connection of slot {caller})"));
    }
}
