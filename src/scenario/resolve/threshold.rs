//! `thresholds`: conditions on the result. Read `metrics` for what they can name and
//! `expression` for how.

use std::time::Duration;

use super::expression::threshold;
use super::metrics::{LIVE, Measure, is_live, metrics};
use crate::scenario::model::{Pool, Threshold};
use crate::scenario::read::scalar;
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::{Kind, Node};

/// Entries of one file.
const THRESHOLDS_MAX: usize = 256;

/// What thresholds are checked against.
pub(super) struct Context<'c> {
    pub(super) pools: &'c [Pool],
    /// `None` when it could not be read.
    pub(super) duration: Option<Duration>,
    /// The duration is a flag's: a window may be longer than the load is now.
    pub(super) duration_forced: bool,
}

pub(super) fn read(
    file: &Section<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Threshold> {
    let Some(node) = file.get("thresholds") else {
        return Vec::new();
    };
    let example = "a list, e.g. `- delivery.p99 < 250ms`";
    let Some(items) = items(node, "thresholds", example, mistakes) else {
        return Vec::new();
    };
    if items.len() > THRESHOLDS_MAX {
        mistakes.add(node.place, format!("more than {THRESHOLDS_MAX} thresholds"));
        return Vec::new();
    }
    let metrics = metrics();
    items
        .iter()
        .enumerate()
        .filter_map(|(nth, item)| entry(item, nth, &metrics, context, mistakes))
        .collect()
}

/// An expression, or `{that: EXPRESSION, over, abort, grace}`.
fn entry(
    node: &Node,
    nth: usize,
    metrics: &[(String, Measure)],
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Threshold> {
    if !matches!(node.kind, Kind::Map(_)) {
        return threshold(node, metrics, context, mistakes);
    }
    let path = format!("thresholds.{nth}");
    let head = Place {
        width: 1,
        ..node.place
    };
    let section = Section::open(node, head, &path, &KEYS, mistakes)?;
    let that = section.required("that", "`that: delivery.p99 < 250ms`", mistakes)?;
    let threshold = threshold(that, metrics, context, mistakes);
    let over = over(&section, threshold.as_ref(), context, mistakes);
    let abort = section
        .get("abort")
        .and_then(|node| scalar::flag(node, mistakes));
    let grace = section
        .get("grace")
        .and_then(|node| scalar::duration(node, mistakes));
    if abort != Some(true)
        && let Some(entry) = section.entry("grace")
    {
        mistakes
            .add(
                entry.key_place,
                "`grace` without `abort: true` spares nothing",
            )
            .mend("add `abort: true`, or leave `grace` out");
    }
    let threshold = threshold?;
    if abort == Some(true) && over.is_none() && !is_live(&threshold.metric) {
        mistakes
            .add(
                head,
                format!("`{}` is known only at the end", threshold.metric),
            )
            .expected(LIVE);
    }
    let grace = grace.map_or(Duration::ZERO, |read| read.value);
    Some(Threshold {
        over,
        abort_after: (abort == Some(true)).then_some(grace),
        ..threshold
    })
}

/// `over`: a stretch inside the load, of a metric that is known while it lasts.
fn over(
    section: &Section<'_>,
    threshold: Option<&Threshold>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let read = scalar::duration(section.get("over")?, mistakes)?;
    let mut over = read.value;
    if over < Duration::from_secs(1) {
        mistakes
            .add(
                read.place,
                format!("`{}` is too short to measure in", read.shown),
            )
            .expected("1s or more");
    }
    match context.duration {
        Some(load) if context.duration_forced => over = over.min(load),
        Some(load) if over > load => {
            mistakes
                .add(
                    read.place,
                    format!("`{}` is longer than the load", read.shown),
                )
                .mend("make it shorter, or leave `over` out for the whole run");
        }
        _ => {}
    }
    if let Some(threshold) = threshold
        && !is_live(&threshold.metric)
    {
        let what = format!("`{}` is not known second by second", threshold.metric);
        mistakes.add(read.place, what).expected(LIVE);
    }
    Some(over)
}

const KEYS: [&str; 4] = ["that", "over", "abort", "grace"];
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::model::{Comparison, Unit};
    use crate::scenario::{Overrides, parse};

    #[test]
    fn every_metric_can_be_named_once_with_a_bound_of_its_own_unit() {
        let metrics = metrics();
        let names: BTreeSet<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.len(), metrics.len());
        for (name, measure) in &metrics {
            let (bound, unit) = match measure {
                Measure::Count => ("3", Unit::Number),
                Measure::CountOrShare => ("50%", Unit::Share),
                Measure::Duration => ("3s", Unit::Seconds),
                Measure::Bytes => ("3B", Unit::Number),
            };
            let text = format!("{{pools: {{a: {{clients: 1}}}}, thresholds: [{name}>={bound}]}}");
            let scenario = parse(&text, "t.yaml", &Overrides::default(), &|_| None)
                .unwrap_or_else(|wrong| panic!("{wrong}"));
            let threshold = &scenario.thresholds[0];
            assert_eq!((&threshold.metric, threshold.unit), (name, unit));
            assert_eq!(threshold.comparison, Comparison::GreaterOrEqual);
        }
    }

    #[test]
    fn a_count_of_a_share_metric_is_still_a_count() {
        let text = "{pools: {a: {clients: 1}}, thresholds: [delivery.verified > 5]}";
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None).unwrap();
        assert_eq!(scenario.thresholds[0].unit, Unit::Number);
        assert_eq!(scenario.thresholds[0].bound, 5.0);
    }
}
