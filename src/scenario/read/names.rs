//! "Did you mean": the nearest of the valid names.

/// Longer texts are no slips of the pen.
const LETTERS_MAX: usize = 64;
/// Names looked at: a scenario may have a million groups.
const NAMES_MAX: usize = 10_000;

/// The valid name nearest to `got`, when it is near enough to be meant.
pub(in crate::scenario) fn nearest<'n>(
    got: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    if got.chars().count() > LETTERS_MAX {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(got);
    let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &plain(name));
    let (distance, name) = names
        .into_iter()
        .take(NAMES_MAX)
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)?;
    let letters = wanted.chars().count().max(name.chars().count());
    // One slip in three letters: `rst` finds `reset`, `foo` finds nothing.
    (distance * 3 <= letters + 1 && distance < letters).then_some(name)
}

/// Help naming the nearest of the valid names.
pub(in crate::scenario) fn did_you_mean<'n>(
    got: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<String> {
    nearest(got, names).map(|name| format!("did you mean `{name}`?"))
}

/// A text as messages quote it: not too long, control characters escaped.
pub(in crate::scenario) fn cut(text: &str) -> String {
    const SHOWN: usize = 80;
    let escaped = |c: char| {
        let escape = c.is_control().then(|| c.escape_default().to_string());
        escape.unwrap_or_else(|| c.to_string())
    };
    let mut chars = text.chars();
    let mut start: String = chars.by_ref().take(SHOWN).map(escaped).collect();
    if chars.next().is_some() {
        start.push_str("...");
    }
    start
}

/// `a, b or c`.
pub(in crate::scenario) fn one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_mended_and_strangers_are_not() {
        let names = ["reset", "half_open", "clients", "publish"];
        for (got, name) in [
            ("rst", Some("reset")),
            ("Half-Open", Some("half_open")),
            ("clinets", Some("clients")),
            ("publsh", Some("publish")),
            ("foo", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(got, names), name, "{got}");
        }
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(["a"]), "a");
    }
}
