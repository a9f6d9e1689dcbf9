//! "Did you mean": the nearest of the valid names.

/// The valid name nearest to `got`, when it is near enough to be meant.
pub(in crate::scenario) fn nearest<'n>(
    got: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(got);
    let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &plain(name));
    let (distance, name) = names
        .into_iter()
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
