//! `thresholds`: conditions on the result, and the one table of metrics that they can name.

use std::time::Duration;

use crate::base::units::{ByteSize, Percent, parse_duration};
use crate::scenario::model::{Comparison, Pool, Threshold, Unit};
use crate::scenario::read::names::{cut, did_you_mean, one_of};
use crate::scenario::read::scalar::{self, Read};
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::{Kind, Node};
use crate::verify::kinds::{Kind as _, Permitted, Unknown, Violation};

/// Entries of one file.
const THRESHOLDS_MAX: usize = 256;

/// What a metric is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// A plain number.
    Count,
    /// A duration: `250ms`.
    Duration,
    /// A size: `2GiB`.
    Bytes,
    /// A plain number, or a percentage: of `delivery.expected`, or of the mean.
    CountOrShare,
}

const LATENCIES: [&str; 6] = [
    "connect",
    "ack",
    "delivery",
    "recovery",
    "reconnect",
    "reply",
];
const STATISTICS: [&str; 9] = [
    "min", "mean", "p50", "p75", "p90", "p95", "p99", "p999", "max",
];
const CLIENTS: [&str; 11] = [
    "planned",
    "connected_peak",
    "connects",
    "connect_failures",
    "disconnects",
    "recoveries",
    "recovery_failures",
    "reconnects",
    "rejoins",
    "rejoin_failures",
    "leaves",
];
const PUBLISH: [&str; 6] = [
    "attempted",
    "acked",
    "duplicate_acks",
    "failed",
    "unknown",
    "retries",
];
const DELIVERY: [(&str, Measure); 6] = [
    ("expected", Measure::Count),
    ("delivered", Measure::Count),
    ("verified", Measure::CountOrShare),
    ("unverified", Measure::Count),
    ("not_owed", Measure::Count),
    ("edge", Measure::Count),
];
const GENERATOR: [(&str, Measure); 5] = [
    ("cpu_s", Measure::Duration),
    ("peak_rss_bytes", Measure::Bytes),
    ("fds_peak", Measure::Count),
    ("schedule_lag_p99_us", Measure::Duration),
    ("rss_growth", Measure::CountOrShare),
];

/// Every metric that a threshold can name, with its measure.
pub fn metrics() -> Vec<(String, Measure)> {
    let mut metrics = Vec::new();
    for kind in LATENCIES {
        for statistic in STATISTICS {
            metrics.push((format!("{kind}.{statistic}"), Measure::Duration));
        }
        metrics.push((format!("{kind}.count"), Measure::Count));
    }
    let mut section = |name: &str, keys: &mut dyn Iterator<Item = (&str, Measure)>| {
        metrics.extend(keys.map(|(key, measure)| (format!("{name}.{key}"), measure)));
    };
    let counts = |key| (key, Measure::Count);
    section("delivery", &mut DELIVERY.into_iter());
    section("clients", &mut CLIENTS.into_iter().map(counts));
    section("publish", &mut PUBLISH.into_iter().map(counts));
    section("generator", &mut GENERATOR.into_iter());
    let total = || std::iter::once("total");
    let violations = Violation::ALL.iter().map(|kind| kind.name());
    section("violations", &mut violations.chain(total()).map(counts));
    let permitted = Permitted::ALL.iter().map(|kind| kind.name());
    section("permitted", &mut permitted.chain(total()).map(counts));
    let unknown = Unknown::ALL.iter().map(|kind| kind.name());
    section("unknown", &mut unknown.chain(total()).map(counts));
    metrics
}

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
const LIVE: &str = "a latency, or a count of clients or publish";

/// Whether a metric is counted while the run lasts, for each pool.
fn is_live(metric: &str) -> bool {
    let (section, key) = metric.split_once('.').unwrap_or((metric, ""));
    let latency = LATENCIES.contains(&section) && (section != "delivery" || !is_ledger(key));
    let counted = matches!(section, "clients" | "publish") && !WHOLE.contains(&key);
    latency || counted
}

fn is_ledger(key: &str) -> bool {
    DELIVERY.iter().any(|(name, _)| *name == key)
}

/// Counts of clients that are not counters.
const WHOLE: [&str; 2] = ["planned", "connected_peak"];

/// Takes `{pool=NAME}` off a metric. `None` beside a mistake.
fn of_pool<'t>(
    metric: &'t str,
    parts: &Parts<'_>,
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<(&'t str, Option<usize>)> {
    let Some((name, label)) = metric.split_once('{') else {
        return Some((metric, None));
    };
    let place = parts.place(0..parts.sign_at);
    let label = label.trim_end().strip_suffix('}');
    let pool = label.and_then(|label| label.trim().strip_prefix("pool="));
    let Some(pool) = pool else {
        mistakes
            .add(place, "a metric of a pool is written otherwise")
            .expected("METRIC{pool=NAME}, e.g. ack.p99{pool=talkers}");
        return None;
    };
    let names = || context.pools.iter().map(|pool| pool.name.as_str());
    let Some(found) = names().position(|name| name == pool.trim()) else {
        let mend = parts
            .quotable()
            .then(|| did_you_mean(pool, names()))
            .flatten();
        mistakes
            .add(place, "there is no such pool")
            .expected("a name under `pools`")
            .maybe_mend(mend);
        return None;
    };
    Some((name.trim(), Some(found)))
}

fn threshold(
    node: &Node,
    metrics: &[(String, Measure)],
    context: &Context<'_>,
    mistakes: &mut Mistakes,
) -> Option<Threshold> {
    const FORM: &str = "METRIC < BOUND, e.g. delivery.p99 < 250ms";
    let read = scalar::text(node, FORM, mistakes)?;
    let expr = read.value.clone();
    // The `=` of a pool's label is no comparison.
    let label = expr.find('}').map_or(0, |end| end + 1);
    let at = expr[label..].find(['<', '>', '=', '!']);
    let at = at.map(|at| at + label);
    let (metric, rest) = expr.split_at(at.unwrap_or(expr.len()));
    let length = rest.find(|c| !"<>=!".contains(c)).unwrap_or(rest.len());
    let (sign, bound) = rest.split_at(length);
    let parts = Parts {
        node,
        read: &read,
        sign_at: metric.len(),
        bound_at: metric.len() + sign.len(),
    };
    let comparison = comparison(sign, &parts, mistakes);
    let (metric, pool) = of_pool(metric.trim(), &parts, context, mistakes)?;
    let Some((_, measure)) = metrics.iter().find(|(name, _)| name == metric) else {
        unknown_metric(metric, metrics, &parts, mistakes);
        return None;
    };
    if pool.is_some() && !is_live(metric) {
        mistakes
            .add(
                parts.place(0..parts.sign_at),
                format!("`{metric}` is not counted by pool"),
            )
            .expected(LIVE);
        return None;
    }
    let comparison = comparison?;
    let (bound, unit) = bound_of(bound.trim(), metric, *measure, &parts, mistakes)?;
    Some(Threshold {
        metric: metric.to_owned(),
        comparison,
        bound,
        unit,
        expr,
        pool,
        over: None,
        abort_after: None,
    })
}

/// Where the parts of an expression stand.
struct Parts<'p> {
    node: &'p Node,
    read: &'p Read<String>,
    /// Bytes before the comparison, and before the bound.
    sign_at: usize,
    bound_at: usize,
}

impl Parts<'_> {
    /// The place of some bytes of the expression; all of it where columns do not follow
    /// (quotes with escapes, several lines, values from the environment).
    fn place(&self, bytes: std::ops::Range<usize>) -> Place {
        let text = &self.read.value;
        let exact = matches!(&self.node.kind, Kind::Scalar(scalar)
            if scalar.plain && scalar.raw == scalar.value
                && self.read.place.width as usize == text.chars().count());
        let part = text.get(bytes.clone()).unwrap_or("");
        if !exact || part.trim().is_empty() {
            return self.read.place;
        }
        let lead = part.len() - part.trim_start().len();
        let skip = text[..bytes.start + lead].chars().count();
        self.read.place.part(skip, part.trim().chars().count())
    }

    /// Whether the expression may be quoted.
    fn quotable(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(scalar) if !scalar.secret && scalar.raw == scalar.value)
    }
}

fn comparison(sign: &str, parts: &Parts<'_>, mistakes: &mut Mistakes) -> Option<Comparison> {
    let found = match sign {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        "==" => Comparison::Equal,
        _ => {
            let what = match sign {
                "" => "a threshold without a comparison".to_owned(),
                _ => format!("`{}` is no comparison", cut(sign)),
            };
            let mend = match sign {
                "=" => Some("did you mean `==`?"),
                "=<" => Some("did you mean `<=`?"),
                "=>" => Some("did you mean `>=`?"),
                _ => None,
            };
            mistakes
                .add(parts.place(parts.sign_at..parts.bound_at), what)
                .expected("<, <=, >, >= or ==")
                .maybe_mend(mend.map(str::to_owned));
            return None;
        }
    };
    Some(found)
}

fn unknown_metric(
    metric: &str,
    metrics: &[(String, Measure)],
    parts: &Parts<'_>,
    mistakes: &mut Mistakes,
) {
    let names = || metrics.iter().map(|(name, _)| name.as_str());
    let in_section = metric.split_once('.').map(|(section, _)| section);
    let siblings: Vec<&str> = names()
        .filter(|name| name.split_once('.').map(|(section, _)| section) == in_section)
        .map(|name| name.split_once('.').map_or(name, |(_, key)| key))
        .collect();
    let expected = match in_section {
        Some(section) if !siblings.is_empty() => {
            format!("{section}. with one of {}", siblings.join(", "))
        }
        _ => format!(
            "one of {}, each with {}; or a count of {}",
            LATENCIES.join(", "),
            one_of(STATISTICS.into_iter().chain(["count"])),
            one_of([
                "delivery",
                "clients",
                "publish",
                "violations",
                "permitted",
                "unknown",
                "generator"
            ]),
        ),
    };
    let (what, mend) = if parts.quotable() {
        (
            format!("there is no metric `{}`", cut(metric)),
            did_you_mean(metric, names()),
        )
    } else {
        ("there is no such metric".to_owned(), None)
    };
    mistakes
        .add(parts.place(0..parts.sign_at), what)
        .expected(expected)
        .maybe_mend(mend);
}

fn bound_of(
    text: &str,
    metric: &str,
    measure: Measure,
    parts: &Parts<'_>,
    mistakes: &mut Mistakes,
) -> Option<(f64, Unit)> {
    let share = || Some((text.parse::<Percent>().ok()?.as_fraction(), Unit::Share));
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = || {
        let number = text.parse::<f64>().ok()?;
        (plain && number.is_finite()).then_some((number, Unit::Number))
    };
    let (found, expected) = match measure {
        Measure::Count => (number(), "a plain number, e.g. 0"),
        Measure::CountOrShare => (number().or_else(share), "a share, e.g. 100%, or a number"),
        Measure::Duration => (
            parse_duration(text)
                .ok()
                .map(|bound| (bound.as_secs_f64(), Unit::Seconds)),
            "a duration, e.g. 250ms",
        ),
        Measure::Bytes => (
            text.parse::<ByteSize>()
                .ok()
                .map(|bound| (bound.0 as f64, Unit::Number)),
            "a size, e.g. 2GiB",
        ),
    };
    if found.is_none() {
        let what = if parts.quotable() {
            format!("`{}` is no bound for {metric}", cut(text))
        } else {
            format!("this is no bound for {metric}")
        };
        let end = parts.read.value.len();
        mistakes
            .add(parts.place(parts.bound_at..end), what)
            .expected(expected);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
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
