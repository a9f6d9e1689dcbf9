//! Group sizes that are not all the same: a range, or Zipf's law.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::groups::GROUPS_MAX;
use super::pools::CLIENTS_MAX;
use crate::scenario::model::Spread;
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;
use crate::scenario::read::tree::Kind;

/// `size: N`, `{min, max}` or `zipf`. `None` beside a mistake, `Some(None)` where sizes are
/// left to the count.
pub(super) fn read(
    groups: &Section<'_>,
    clients: u32,
    rng: ChaCha8Rng,
    mistakes: &mut Mistakes,
) -> Option<Option<Spread>> {
    let Some(node) = groups.get("size") else {
        return Some(None);
    };
    match &node.kind {
        Kind::Map(_) => range(groups, clients, rng, mistakes).map(Some),
        Kind::Scalar(scalar) if scalar.value == "zipf" => zipf(groups, clients, mistakes).map(Some),
        _ => {
            let why = "the count follows from the clients and the size";
            (!groups.conflict("size", "count", why, mistakes)).then_some(None)
        }
    }
}

fn range(
    groups: &Section<'_>,
    clients: u32,
    mut rng: ChaCha8Rng,
    mistakes: &mut Mistakes,
) -> Option<Spread> {
    let why = "the count follows from the clients and the sizes";
    if groups.conflict("size", "count", why, mistakes) {
        return None;
    }
    let section = groups.section("size", &["min", "max"], mistakes)?;
    let mut size = |key: &str, example: &str| {
        let node = section.required(key, example, mistakes)?;
        scalar::whole(node, "a group size", 1, CLIENTS_MAX, mistakes)
    };
    let (min, max) = (size("min", "`min: 2`"), size("max", "`max: 20`"));
    let (min, max) = (min?, max?);
    if max.value < min.value {
        mistakes.add(max.place, "`max` is below `min`");
        return None;
    }
    let (low, high) = (min.value as u32, max.value as u32);
    let (mut ends, mut end) = (Vec::new(), 0);
    while end < clients {
        let span = f64::from(high - low) + 1.0;
        // Sizes are at least 1, so this ends.
        let size = (low + (rng.random::<f64>() * span) as u32).min(high);
        end = end.saturating_add(size).min(clients);
        ends.push(end);
    }
    Some(Spread::Range {
        min: low,
        max: high,
        ends: ends.into(),
    })
}

fn zipf(groups: &Section<'_>, clients: u32, mistakes: &mut Mistakes) -> Option<Spread> {
    let node = groups.required("count", "`count: 100`", mistakes)?;
    let count = scalar::whole(node, "a number of groups", 1, GROUPS_MAX, mistakes)?;
    // With `--scale` there may be fewer clients than groups: then fewer groups.
    let count = count.value.min(u64::from(clients).max(1)) as u32;
    let harmonic: f64 = (1..=count).map(|n| 1.0 / f64::from(n)).sum();
    // One member each; the others by the law.
    let free = f64::from(clients - count.min(clients));
    let mut law = 0.0;
    let ends: Vec<u32> = (1..=count)
        .map(|n| {
            law += 1.0 / f64::from(n) / harmonic;
            n.min(clients) + (free * law).round() as u32
        })
        .map(|end| end.min(clients))
        .collect();
    Some(Spread::Zipf { ends: ends.into() })
}
