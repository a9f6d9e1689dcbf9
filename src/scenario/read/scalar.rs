//! Typed values from scalars. Each reader notes a mistake and returns `None` when the value
//! is not what it should be.

use std::time::Duration;

use super::names::{did_you_mean, one_of};
use super::source::{Mistakes, Place};
use super::tree::{Kind, Node, Scalar};
use crate::base::units::{ByteSize, Percent, Rate, UnitError, parse_duration};

/// A value, where it stands, and how messages may quote it.
#[derive(Clone, Debug)]
pub(in crate::scenario) struct Read<T> {
    pub(in crate::scenario) value: T,
    pub(in crate::scenario) place: Place,
    /// As written: never a value from the environment, never a secret.
    pub(in crate::scenario) shown: String,
}

/// The scalar of a node that should be one.
pub(in crate::scenario) fn scalar<'n>(
    node: &'n Node,
    expected: &str,
    mistakes: &mut Mistakes,
) -> Option<&'n Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.broken => None,
        Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
        _ => {
            let what = format!("{} where a single value should be", node.kind_name());
            mistakes.add(node.place, what).expected(expected);
            None
        }
    }
}

fn read<T>(node: &Node, scalar: &Scalar, value: T) -> Read<T> {
    Read {
        value,
        place: node.place,
        shown: scalar.shown(),
    }
}

/// Any text.
pub(in crate::scenario) fn text(
    node: &Node,
    expected: &str,
    mistakes: &mut Mistakes,
) -> Option<Read<String>> {
    let scalar = scalar(node, expected, mistakes)?;
    Some(read(node, scalar, scalar.value.clone()))
}

/// A quantity with a unit. `unit` is what is offered when only the unit is missing.
fn quantity<T>(
    node: &Node,
    expected: &str,
    unit: &str,
    parse: impl Fn(&str) -> Result<T, UnitError>,
    mistakes: &mut Mistakes,
) -> Option<Read<T>> {
    let scalar = scalar(node, expected, mistakes)?;
    match parse(scalar.value.trim()) {
        Ok(value) => Some(read(node, scalar, value)),
        Err(error) => {
            let shown = scalar.shown();
            let with_unit = format!("{shown}{unit}");
            // Only a bare number: anything else would be a guess.
            let bare = shown.parse::<f64>().is_ok_and(f64::is_finite);
            let mend = (bare && parse(&with_unit).is_ok())
                .then(|| format!("give the unit: did you mean `{with_unit}`?"));
            mistakes
                .add(node.place, format!("`{shown}` is not {}", error.what()))
                .expected(error.example())
                .maybe_mend(mend);
            None
        }
    }
}

pub(in crate::scenario) fn duration(node: &Node, m: &mut Mistakes) -> Option<Read<Duration>> {
    quantity(node, "a duration, e.g. 30s", "s", parse_duration, m)
}

pub(in crate::scenario) fn rate(node: &Node, m: &mut Mistakes) -> Option<Read<Rate>> {
    quantity(node, "a rate, e.g. 500/s", "/s", str::parse, m)
}

pub(in crate::scenario) fn size(node: &Node, m: &mut Mistakes) -> Option<Read<ByteSize>> {
    quantity(node, "a size, e.g. 128B", "B", str::parse, m)
}

pub(in crate::scenario) fn share(node: &Node, m: &mut Mistakes) -> Option<Read<Percent>> {
    quantity(node, "a share, e.g. 10%", "%", str::parse, m)
}

/// A whole number from `min` to `max`; `what` names it: "a number of clients".
pub(in crate::scenario) fn whole(
    node: &Node,
    what: &str,
    min: u64,
    max: u64,
    mistakes: &mut Mistakes,
) -> Option<Read<u64>> {
    let expected = if max >= u64::from(u32::MAX) {
        format!("a whole number, {min} or more")
    } else {
        format!("a whole number from {min} to {max}")
    };
    let scalar = scalar(node, &expected, mistakes)?;
    // Digits alone: `parse` would take a sign, too.
    let digits = scalar.value.trim();
    let parsed = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse::<u64>().ok())
        .flatten();
    match parsed.filter(|value| (min..=max).contains(value)) {
        Some(value) => Some(read(node, scalar, value)),
        None => {
            mistakes
                .add(node.place, format!("`{}` is not {what}", scalar.shown()))
                .expected(expected);
            None
        }
    }
}

/// A number from `min` to `max`, or a percentage; `what` names it: "a factor of the rate".
pub(in crate::scenario) fn number(
    node: &Node,
    what: &str,
    min: f64,
    max: f64,
    mistakes: &mut Mistakes,
) -> Option<Read<f64>> {
    let expected = format!("a number from {min} to {max}, e.g. 0.5 or 2");
    let scalar = scalar(node, &expected, mistakes)?;
    let text = scalar.value.trim();
    let (digits, unit) = match text.strip_suffix('%') {
        Some(digits) => (digits, 100.0),
        None => (text, 1.0),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let parsed = digits.parse::<f64>().ok().filter(|_| plain);
    let value = parsed.map(|value| value / unit);
    match value.filter(|value| (min..=max).contains(value)) {
        Some(value) => Some(read(node, scalar, value)),
        None => {
            mistakes
                .add(node.place, format!("`{}` is not {what}", scalar.shown()))
                .expected(expected);
            None
        }
    }
}

/// `true` or `false`.
pub(in crate::scenario) fn flag(node: &Node, mistakes: &mut Mistakes) -> Option<bool> {
    let options = [("true", true), ("false", false)];
    Some(choice(node, "true or false", &options, mistakes)?.value)
}

/// One of a few names; `what` names the set: "a chaos kind".
pub(in crate::scenario) fn choice<T: Copy>(
    node: &Node,
    what: &str,
    options: &[(&str, T)],
    mistakes: &mut Mistakes,
) -> Option<Read<T>> {
    let expected = one_of(options.iter().map(|(name, _)| *name));
    let scalar = scalar(node, &expected, mistakes)?;
    let found = options.iter().find(|(name, _)| *name == scalar.value);
    if let Some((_, value)) = found {
        return Some(read(node, scalar, *value));
    }
    let shown = scalar.shown();
    mistakes
        .add(node.place, format!("`{shown}` is not {what}"))
        .expected(expected)
        .maybe_mend(did_you_mean(&shown, options.iter().map(|(name, _)| *name)));
    None
}
