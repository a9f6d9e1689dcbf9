//! `profile`: how a rate changes over time. Every shape but a sine becomes stages.

use std::time::Duration;

use crate::scenario::model::{Profile, Stage};
use crate::scenario::read::scalar;
use crate::scenario::read::section::{Section, items};
use crate::scenario::read::source::Mistakes;
use crate::scenario::read::tree::Kind;

pub(in crate::scenario) const SHAPES: [&str; 6] =
    ["ramp", "steps", "stages", "spike", "sine", "pause"];
/// Stages of one profile.
const STAGES_MAX: usize = 20_000;
/// The largest factor.
const FACTOR_MAX: f64 = 1e6;

pub(super) fn read(
    publish: &Section<'_>,
    duration: Option<Duration>,
    mistakes: &mut Mistakes,
) -> Option<Profile> {
    let node = publish.get("profile")?;
    if !matches!(node.kind, Kind::Map(_)) {
        let options = [("constant", ())];
        let read = scalar::choice(node, "a profile", &options, mistakes);
        return read.map(|_| Profile::Constant);
    }
    let section = publish.section("profile", &SHAPES, mistakes)?;
    let mut shapes = SHAPES.iter().filter(|shape| section.get(shape).is_some());
    let Some(shape) = shapes.next() else {
        mistakes
            .add(section.place, "a profile without a shape")
            .mend("add `ramp: {from: 0, to: 1, over: 10s}`, or leave `profile` out");
        return None;
    };
    if let Some(second) = shapes.next() {
        section.conflict(shape, second, "a profile has one shape", mistakes);
        return None;
    }
    let end = duration.unwrap_or_default();
    let stages = match *shape {
        "ramp" => ramp(&section, mistakes)?,
        "steps" | "stages" => list(&section, shape, mistakes)?,
        "spike" => hump(&section, shape, end, mistakes)?,
        "pause" => hump(&section, shape, end, mistakes)?,
        _ => return sine(&section, mistakes),
    };
    if stages.len() > STAGES_MAX {
        mistakes.add(section.place, format!("more than {STAGES_MAX} stages"));
        return None;
    }
    if stages
        .iter()
        .all(|stage| stage.from <= 0.0 && stage.to <= 0.0)
    {
        mistakes.add(section.place, "with this profile nothing is ever published");
    }
    Some(Profile::Stages(stages.into()))
}

/// A factor; `default` when it is left out.
fn factor(section: &Section<'_>, key: &str, default: f64, mistakes: &mut Mistakes) -> Option<f64> {
    let Some(node) = section.get(key) else {
        return Some(default);
    };
    let what = "a factor of the rate";
    let read = scalar::number(node, what, 0.0, FACTOR_MAX, mistakes)?;
    Some(read.value)
}

fn lasting(
    section: &Section<'_>,
    key: &str,
    example: &str,
    mistakes: &mut Mistakes,
) -> Option<Duration> {
    let node = section.required(key, example, mistakes)?;
    let read = scalar::duration(node, mistakes)?;
    if read.value.is_zero() {
        mistakes.add(read.place, format!("`{key}` must be longer than nothing"));
        return None;
    }
    Some(read.value)
}

fn ramp(profile: &Section<'_>, mistakes: &mut Mistakes) -> Option<Vec<Stage>> {
    let section = profile.section("ramp", &["from", "to", "over"], mistakes)?;
    Some(vec![Stage {
        from: factor(&section, "from", 0.0, mistakes)?,
        to: factor(&section, "to", 1.0, mistakes)?,
        lasts: lasting(&section, "over", "`over: 10s`", mistakes)?,
    }])
}

/// `steps: [{for, at}]`, `stages: [{for, from, to}]`.
fn list(profile: &Section<'_>, shape: &str, mistakes: &mut Mistakes) -> Option<Vec<Stage>> {
    let path = profile.path(shape);
    let (keys, example): (&[&str], _) = match shape {
        "steps" => (&["for", "at"], "a list, e.g. `- {for: 10s, at: 2}`"),
        _ => (&["for", "from", "to"], "a list, e.g. `- {for: 10s, to: 2}`"),
    };
    let items = items(profile.get(shape)?, &path, example, mistakes)?;
    let (mut stages, mut before) = (Vec::new(), 0.0);
    for (nth, item) in items.iter().enumerate().take(STAGES_MAX + 1) {
        let path = format!("{path}.{nth}");
        let section = Section::open(item, item.place, &path, keys, mistakes)?;
        let node = section.required("for", "`for: 10s`", mistakes)?;
        let lasts = scalar::duration(node, mistakes)?.value;
        let key = if shape == "steps" { "at" } else { "to" };
        section.required(key, "the factor of the rate, e.g. `2`", mistakes)?;
        let to = factor(&section, key, 1.0, mistakes)?;
        let from = match shape {
            "steps" => to,
            _ => factor(&section, "from", before, mistakes)?,
        };
        before = to;
        stages.push(Stage { lasts, from, to });
    }
    if stages.is_empty() {
        mistakes.add(profile.place, format!("`{shape}` without a stage"));
        return None;
    }
    Some(stages)
}

/// `spike` and `pause`: another factor for a while, once or every so often.
fn hump(
    profile: &Section<'_>,
    shape: &str,
    end: Duration,
    mistakes: &mut Mistakes,
) -> Option<Vec<Stage>> {
    let keys: &[&str] = match shape {
        "spike" => &["at", "for", "every", "to"],
        _ => &["at", "for", "every"],
    };
    let section = profile.section(shape, keys, mistakes)?;
    let at = section.required("at", "`at: 10s`", mistakes)?;
    let at = scalar::duration(at, mistakes)?.value;
    let lasts = lasting(&section, "for", "`for: 5s`", mistakes)?;
    let to = match shape {
        "spike" => {
            section.required("to", "`to: 5` (times the rate)", mistakes)?;
            factor(&section, "to", 1.0, mistakes)?
        }
        _ => 0.0,
    };
    let every = match section.get("every") {
        Some(node) => Some(scalar::duration(node, mistakes)?),
        None => None,
    };
    if let Some(every) = &every
        && every.value <= lasts
    {
        mistakes
            .add(every.place, "`every` must be longer than `for`")
            .expected("the time from one beginning to the next");
        return None;
    }
    let flat = |lasts, factor| Stage {
        lasts,
        from: factor,
        to: factor,
    };
    let mut stages = vec![flat(at, 1.0), flat(lasts, to)];
    let mut next = at;
    while let Some(every) = &every {
        next = next.saturating_add(every.value);
        if next >= end || stages.len() > STAGES_MAX {
            break;
        }
        stages.push(flat(every.value - lasts, 1.0));
        stages.push(flat(lasts, to));
    }
    stages.push(flat(Duration::ZERO, 1.0));
    Some(stages)
}

fn sine(profile: &Section<'_>, mistakes: &mut Mistakes) -> Option<Profile> {
    let section = profile.section("sine", &["period", "low", "high"], mistakes)?;
    let period = lasting(&section, "period", "`period: 24h`", mistakes)?;
    let low = factor(&section, "low", 0.0, mistakes)?;
    let high = factor(&section, "high", 1.0, mistakes)?;
    if high < low || high <= 0.0 {
        let at = section.get("high").map_or(section.place, |node| node.place);
        mistakes.add(at, "`high` must be above 0 and not below `low`");
        return None;
    }
    Some(Profile::Sine { period, low, high })
}
