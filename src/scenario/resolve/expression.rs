//! One threshold's expression: `METRIC < BOUND`, `METRIC{pool=NAME} < BOUND`; a count's
//! rate is `METRIC.rate`.

use super::metrics::{LATENCIES, Measure, OF_POOLS, RATE, STATISTICS, has_rate, is_by_pool};
use super::threshold::Context;
use crate::base::units::{ByteSize, Percent, Rate, parse_duration};
use crate::scenario::model::{Comparison, Threshold, Unit};
use crate::scenario::read::names::{cut, did_you_mean, one_of};
use crate::scenario::read::scalar::{self, Read};
use crate::scenario::read::source::{Mistakes, Noted, Place};
use crate::scenario::read::tree::{Kind, Node};

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

pub(super) fn threshold(
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
    let (metric, is_rate) = match metric.strip_suffix(RATE) {
        Some(count) => (count, true),
        None => (metric, false),
    };
    let Some((_, measure)) = metrics.iter().find(|(name, _)| name == metric) else {
        unknown_metric(metric, metrics, &parts, mistakes);
        return None;
    };
    if is_rate && !has_rate(metric, *measure) {
        mistakes
            .add(
                parts.place(0..parts.sign_at),
                format!("`{metric}` has no rate: it does not add up over time"),
            )
            .expected("the rate of a count, e.g. publish.acked.rate >= 500/s");
        return None;
    }
    if pool.is_some() && !is_by_pool(metric) {
        mistakes
            .add(
                parts.place(0..parts.sign_at),
                format!("`{metric}` is not counted by pool"),
            )
            .expected(OF_POOLS);
        return None;
    }
    let comparison = comparison?;
    let bound = bound.trim();
    let (bound, unit) = match is_rate {
        true => (
            rate_of(bound, metric, *measure, &parts, mistakes)?,
            Unit::PerSecond,
        ),
        false => bound_of(bound, metric, *measure, &parts, mistakes)?,
    };
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
                "chaos",
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
        // A rate as the bound of a count: its rate is meant.
        let of_rate = has_rate(metric, measure) && per_second(text, measure).is_some();
        let mend = of_rate.then(|| format!("its rate is `{metric}{RATE}`"));
        no_bound(text, metric, parts, mistakes)
            .expected(expected)
            .maybe_mend(mend);
    }
    found
}

/// The bound of a rate, by the second.
fn rate_of(
    text: &str,
    metric: &str,
    measure: Measure,
    parts: &Parts<'_>,
    mistakes: &mut Mistakes,
) -> Option<f64> {
    let found = per_second(text, measure);
    if found.is_none() {
        let metric = format!("{metric}{RATE}");
        let expected = match measure {
            Measure::Bytes => "bytes by the second, e.g. 10KiB/s",
            _ => "a rate, e.g. 500/s or 12/min",
        };
        let is_plain = parts.quotable() && text.parse::<f64>().is_ok_and(|n| n >= 0.0);
        let mend = is_plain.then(|| match measure {
            Measure::Bytes => format!("say of what: `{text}B/s`, `{text}KiB/s`"),
            _ => format!("say how often: `{text}/s`, `{text}/min`"),
        });
        no_bound(text, &metric, parts, mistakes)
            .expected(expected)
            .maybe_mend(mend);
    }
    found
}

/// A rate of events, or of bytes: `500/s`, `10KiB/s`.
fn per_second(text: &str, measure: Measure) -> Option<f64> {
    if measure == Measure::Bytes {
        let size = text.strip_suffix("/s")?.trim_end();
        return Some(size.parse::<ByteSize>().ok()?.0 as f64);
    }
    Some(text.parse::<Rate>().ok()?.as_per_second())
}

fn no_bound<'m>(
    text: &str,
    metric: &str,
    parts: &Parts<'_>,
    mistakes: &'m mut Mistakes,
) -> Noted<'m> {
    let what = if parts.quotable() {
        format!("`{}` is no bound for {metric}", cut(text))
    } else {
        format!("this is no bound for {metric}")
    };
    let end = parts.read.value.len();
    mistakes.add(parts.place(parts.bound_at..end), what)
}
