//! Named counts in a fixed order: the tallies of a result.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::verify::Tally;
use crate::verify::kinds::Kind;

/// Counts by name, in the order of reports, zeros kept. A JSON object.
///
/// Names are text, not an enum, so that a result of a newer version can still be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts(Vec<(String, u64)>);

impl Counts {
    /// The count of `name`; `None` when there is no such name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, n)| *n)
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, n)| n).sum()
    }

    /// Every name with its count, zeros too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, n)| (name.as_str(), *n))
    }

    /// The names with a count above zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (&str, u64)> {
        self.iter().filter(|(_, n)| *n > 0)
    }
}

impl<S: Into<String>> FromIterator<(S, u64)> for Counts {
    fn from_iter<I: IntoIterator<Item = (S, u64)>>(iter: I) -> Self {
        Counts(iter.into_iter().map(|(s, n)| (s.into(), n)).collect())
    }
}

impl<K: Kind> From<&Tally<K>> for Counts {
    fn from(tally: &Tally<K>) -> Self {
        tally.iter().map(|(kind, n)| (kind.name(), n)).collect()
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Counts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
                let mut counts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    counts.push(entry);
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Violation;

    #[test]
    fn a_tally_keeps_its_order_and_its_zeros_through_json() {
        let mut tally = Tally::<Violation>::default();
        tally.add(Violation::Stalled, 3);
        let counts = Counts::from(&tally);
        let json = serde_json::to_string(&counts).unwrap();
        assert!(json.starts_with(r#"{"lost":0,"lost_at_join":0"#), "{json}");
        let back: Counts = serde_json::from_str(&json).unwrap();
        assert_eq!(back, counts);
        assert_eq!((back.get("stalled"), back.total()), (Some(3), 3));
        assert_eq!(back.get("lots"), None);
    }
}
