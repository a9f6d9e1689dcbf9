//! `groups`: which groups a pool's clients join, and the table of all groups.

use std::collections::{HashMap, HashSet};

use crate::base::GroupId;
use rand_chacha::ChaCha8Rng;

use super::pools::CLIENTS_MAX;
use super::spread;
use crate::scenario::model::{GroupChoice, Spread};
use crate::scenario::read::scalar::{self, Read};
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Node;

pub(in crate::scenario) const KEYS: [&str; 5] = ["count", "size", "prefix", "names", "join"];
const PREFIX_DEFAULT: &str = "group-";
/// Groups in one scenario: the table holds every name.
pub(super) const GROUPS_MAX: u64 = 1 << 20;
/// Groups that all pools choose from, the same group counted once per pool.
const CHOSEN_MAX: u64 = 1 << 22;
/// (client, group) pairs of one pool.
const MEMBERSHIPS_MAX: u64 = 1 << 26;
/// Source: protocol, REST limits.
const NAME_MAX: usize = 1024;

/// Every group of the scenario, numbered as first named.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) names: Vec<String>,
    ids: HashMap<String, GroupId>,
    /// The sum of the pools' choices.
    chosen: u64,
}

impl Groups {
    pub(super) fn find(&self, name: &str) -> Option<GroupId> {
        self.ids.get(name).copied()
    }

    /// The group's number, a new one when it has none. The caller checks [`GROUPS_MAX`].
    fn intern(&mut self, name: String) -> GroupId {
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        let id = GroupId(self.names.len() as u32);
        self.names.push(name.clone());
        self.ids.insert(name, id);
        id
    }

    /// Whether a choice of `more` groups still fits; says so at `place` if not.
    fn fits(&mut self, more: u64, place: Place, mistakes: &mut Mistakes) -> bool {
        self.chosen = self.chosen.saturating_add(more);
        let fits = self.names.len() as u64 + more <= GROUPS_MAX && self.chosen <= CHOSEN_MAX;
        if !fits {
            let what = format!("more than {GROUPS_MAX} groups in one scenario");
            mistakes.add(place, what);
        }
        fits
    }
}

/// Reads the `groups` of one pool; `None` beside a mistake.
pub(super) fn read(
    pool: &Section<'_>,
    clients: u32,
    rng: ChaCha8Rng,
    groups: &mut Groups,
    mistakes: &mut Mistakes,
) -> Option<GroupChoice> {
    if pool.get("groups").is_none() {
        return Some(GroupChoice::default());
    }
    let section = pool.section("groups", &KEYS, mistakes)?;
    if section.conflict("count", "names", "give a count or the names", mistakes) {
        return None;
    }
    section.conflict("names", "prefix", "names are whole already", mistakes);
    section.conflict("names", "size", "sizes are of counted groups", mistakes);
    let spread = match section.get("names") {
        Some(_) => Some(Spread::Even),
        None => spread::read(&section, clients, rng, mistakes)?,
    };
    let (chosen, all) = match section.get("names") {
        Some(node) => {
            let chosen = names(node, &section.path("names"), groups, mistakes)?;
            let all = Count {
                groups: chosen.len() as u32,
                shown: chosen.len().to_string(),
                by_name: true,
            };
            (chosen, all)
        }
        None => counted(&section, spread.as_ref(), clients, groups, mistakes)?,
    };
    let spread = spread.unwrap_or_default();
    let join = match (spread.ends(), section.entry("join")) {
        (Some(_), Some(entry)) => {
            mistakes
                .add(entry.key_place, "`join` cannot stand beside these sizes")
                .mend("with a range or zipf each client joins one group");
            return None;
        }
        (Some(_), None) => 1,
        (None, _) => join(&section, &all, mistakes)?,
    };
    if u64::from(clients) * u64::from(join) > MEMBERSHIPS_MAX {
        let what = format!("clients times groups joined is above {MEMBERSHIPS_MAX}");
        mistakes.add(section.place, what);
        return None;
    }
    Some(GroupChoice {
        groups: chosen,
        join,
        spread,
    })
}

/// How many groups there are to join.
struct Count {
    /// Bounded by [`GROUPS_MAX`].
    groups: u32,
    /// For messages.
    shown: String,
    by_name: bool,
}

/// `{count: N, prefix: P}`, or `{size: N, prefix: P}` with as many groups as that takes.
fn counted(
    section: &Section<'_>,
    spread: Option<&Spread>,
    clients: u32,
    groups: &mut Groups,
    mistakes: &mut Mistakes,
) -> Option<(Vec<GroupId>, Count)> {
    let count = match (spread.and_then(Spread::ends), section.get("size")) {
        (Some(ends), Some(node)) => Read {
            value: ends.len() as u64,
            place: node.place,
            shown: ends.len().to_string(),
        },
        (None, Some(node)) => {
            let size = scalar::whole(node, "a group size", 1, CLIENTS_MAX, mistakes)?;
            let value = u64::from(clients).div_ceil(size.value);
            Read {
                value,
                place: size.place,
                shown: value.to_string(),
            }
        }
        (_, None) => {
            let example = "`count: 10`, `size: 10` or `names: [lobby]`";
            let node = section.required("count", example, mistakes)?;
            scalar::whole(node, "a number of groups", 1, GROUPS_MAX, mistakes)?
        }
    };
    let prefix = match section.get("prefix") {
        Some(node) => {
            let read = scalar::text(node, "the start of every name", mistakes)?;
            check_name(&read, mistakes)?;
            read.value
        }
        None => PREFIX_DEFAULT.to_owned(),
    };
    if !groups.fits(count.value, count.place, mistakes) {
        return None;
    }
    let name = |nth| groups.intern(format!("{prefix}{nth}"));
    let chosen = (0..count.value).map(name).collect();
    let all = Count {
        groups: count.value as u32,
        shown: count.shown,
        by_name: false,
    };
    Some((chosen, all))
}

/// `{names: [...]}`.
fn names(
    node: &Node,
    path: &str,
    groups: &mut Groups,
    mistakes: &mut Mistakes,
) -> Option<Vec<GroupId>> {
    let items = items(node, path, "a list of names, e.g. [lobby, news]", mistakes)?;
    if items.is_empty() {
        mistakes
            .add(node.place, "no group is named")
            .mend("name one, or leave `groups` out");
        return None;
    }
    groups
        .fits(items.len() as u64, node.place, mistakes)
        .then_some(())?;
    let before = mistakes.len();
    let mut chosen = Vec::new();
    let mut seen = HashSet::new();
    for item in items {
        let Some(read) = scalar::text(item, "a group's name", mistakes) else {
            continue;
        };
        if check_name(&read, mistakes).is_none() {
            continue;
        }
        let id = groups.intern(read.value);
        if !seen.insert(id) {
            let what = format!("group `{}` is named twice", read.shown);
            mistakes.add(read.place, what);
        }
        chosen.push(id);
    }
    (mistakes.len() == before).then_some(chosen)
}

/// A group's name as the service takes it: 1 to 1024 characters, not all white space. Not
/// `joined` or `random` either, which as destinations mean something else.
pub(super) fn check_name(read: &Read<String>, mistakes: &mut Mistakes) -> Option<()> {
    let name = &read.value;
    let right = !name.trim().is_empty()
        && name != "joined"
        && name != "random"
        && name.chars().count() <= NAME_MAX
        && !name.contains(char::is_control);
    if !right {
        let what = format!("`{}` cannot name a group", read.shown);
        mistakes.add(read.place, what).expected(
            "1 to 1024 characters, not all white space, no control characters, not `joined` or `random`",
        );
    }
    right.then_some(())
}

/// `join: N | all`; left out: 1 of counted groups, all of named ones.
fn join(section: &Section<'_>, all: &Count, mistakes: &mut Mistakes) -> Option<u32> {
    let Some(node) = section.get("join") else {
        return Some(if all.by_name { all.groups } else { 1 });
    };
    if scalar::scalar(node, "a number of groups, or all", mistakes)?.value == "all" {
        return Some(all.groups);
    }
    let what = "a number of groups to join, or `all`";
    let read = scalar::whole(node, what, 1, u64::from(u32::MAX), mistakes)?;
    if read.value > u64::from(all.groups) {
        let what = format!(
            "a client cannot join {} of {} groups",
            read.shown, all.shown
        );
        mistakes
            .add(read.place, what)
            .expected(format!("at most {}, or all", all.shown));
        return None;
    }
    Some(read.value as u32)
}
