//! Pools that nothing uses: they publish nothing and nobody publishes to them. A run may want
//! just that (how many connections does a unit hold?), so it is said, and not refused.

use crate::base::GroupId;
use crate::scenario::model::{Destination, Pool};

/// A note for each pool that only holds connections.
pub(super) fn notes(pools: &[Pool], groups: usize) -> Vec<String> {
    let mut published = vec![false; groups];
    let mut mark = |groups: &[GroupId]| {
        groups
            .iter()
            .for_each(|group| published[group.index()] = true)
    };
    let (mut everybody, mut addressed) = (false, vec![false; pools.len()]);
    for (index, pool) in pools.iter().enumerate() {
        match pool.publish.as_ref().map(|publish| &publish.to) {
            Some(Destination::Joined) => mark(&pool.groups.groups),
            Some(Destination::Group(group)) => mark(&[*group]),
            Some(Destination::Random(groups)) => mark(groups),
            Some(Destination::Everybody) => everybody = true,
            Some(Destination::User(of) | Destination::Connection(of)) => addressed[*of] = true,
            Some(Destination::Event { .. }) => addressed[index] = true,
            None => {}
        }
    }
    let hears = |pool: &Pool| {
        pool.groups
            .groups
            .iter()
            .any(|group| published[group.index()])
    };
    pools
        .iter()
        .zip(&addressed)
        .filter(|(pool, addressed)| {
            let used = everybody || **addressed || pool.publish.is_some() || hears(pool);
            !used && !pool.server
        })
        .map(|(pool, _)| {
            let name = &pool.name;
            format!("pool {name} only holds connections: it publishes nothing, and nobody publishes to it")
        })
        .collect()
}
