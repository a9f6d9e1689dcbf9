//! Damaging a payload so that the frame stays well-formed and only its content is wrong.

use std::borrow::Cow;

use crate::wire::Data;

/// Where a payload is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// Anywhere.
    Anywhere,
    /// Among the first 32 changeable places.
    Head,
    /// The last changeable place.
    Tail,
    /// The last changeable place is cut out.
    Cut,
}

impl Damage {
    /// The place to damage out of `places`, with `draw` for the choice.
    fn choose(self, places: usize, draw: impl FnOnce(usize) -> usize) -> usize {
        match self {
            Damage::Anywhere => draw(places),
            Damage::Head => draw(places.min(32)),
            Damage::Tail | Damage::Cut => places - 1,
        }
    }
}

/// A damaged copy of `data`; `None` when it has nothing that could be changed (an empty
/// payload, a JSON payload without an ASCII letter or digit in a string).
///
/// `draw(n)` gives a number below `n`. JSON stays valid JSON: only letters and digits
/// inside string values are touched.
pub(crate) fn damaged(
    data: &Data<'_>,
    damage: Damage,
    draw: impl FnOnce(usize) -> usize,
) -> Option<Data<'static>> {
    match data {
        Data::Binary(bytes) => {
            damaged_bytes(bytes, damage, draw).map(|b| Data::Binary(Cow::Owned(b)))
        }
        Data::Protobuf(bytes) => {
            damaged_bytes(bytes, damage, draw).map(|b| Data::Protobuf(Cow::Owned(b)))
        }
        Data::Text(text) => {
            let places: Vec<usize> = (0..text.len())
                .filter(|&at| text.as_bytes()[at].is_ascii_alphanumeric())
                .collect();
            damaged_ascii(text, &places, damage, draw).map(|t| Data::Text(Cow::Owned(t)))
        }
        Data::Json(text) => {
            damaged_ascii(text, &json_places(text), damage, draw).map(|t| Data::Json(Cow::Owned(t)))
        }
    }
}

fn damaged_bytes(
    bytes: &[u8],
    damage: Damage,
    draw: impl FnOnce(usize) -> usize,
) -> Option<Vec<u8>> {
    if bytes.is_empty() {
        return None;
    }
    let at = damage.choose(bytes.len(), draw);
    let mut copy = bytes.to_vec();
    if damage == Damage::Cut {
        copy.remove(at);
    } else {
        copy[at] ^= 0x01;
    }
    Some(copy)
}

fn damaged_ascii(
    text: &str,
    places: &[usize],
    damage: Damage,
    draw: impl FnOnce(usize) -> usize,
) -> Option<String> {
    if places.is_empty() {
        return None;
    }
    let at = places[damage.choose(places.len(), draw)];
    let old = text.as_bytes()[at];
    let new = match old {
        b'z' | b'Z' | b'9' => old - 1,
        _ => old + 1,
    };
    // `at` is the place of an ASCII character, so both sides are whole characters.
    let mut copy = String::with_capacity(text.len());
    copy.push_str(&text[..at]);
    if damage != Damage::Cut {
        copy.push(char::from(new));
    }
    copy.push_str(&text[at + 1..]);
    Some(copy)
}

/// The places of ASCII letters and digits inside the string values (not keys, not escapes)
/// of a valid JSON text.
fn json_places(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let mut places = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let before = places.len();
        at += 1;
        while at < bytes.len() && bytes[at] != b'"' {
            if bytes[at] == b'\\' {
                // An escape by code point (u and four digits) is six bytes long, any other two.
                at += if bytes.get(at + 1) == Some(&b'u') {
                    6
                } else {
                    2
                };
                continue;
            }
            if bytes[at].is_ascii_alphanumeric() {
                places.push(at);
            }
            at += 1;
        }
        at += 1;
        let is_key = bytes[at.min(bytes.len())..]
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            == Some(&b':');
        if is_key {
            places.truncate(before);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_place_changes_and_json_stays_json() {
        let json = Data::Json(r#"{"v" : "ab\u0041\"9","n":10,"p":"xyz"}"#.into());
        let Some(Data::Json(out)) = damaged(&json, Damage::Tail, |_| 0) else {
            panic!("nothing changed")
        };
        assert_eq!(out, r#"{"v" : "ab\u0041\"9","n":10,"p":"xyy"}"#);
        let Some(Data::Json(out)) = damaged(&json, Damage::Head, |_| 2) else {
            panic!("nothing changed")
        };
        assert_eq!(out, r#"{"v" : "ab\u0041\"8","n":10,"p":"xyz"}"#);
        assert_eq!(damaged(&Data::Text("".into()), Damage::Tail, |_| 0), None);
        assert_eq!(
            damaged(&Data::Text("añb".into()), Damage::Cut, |_| 0),
            Some(Data::Text("añ".into()))
        );
    }

    proptest! {
        #[test]
        fn damage_always_shows(text in ".*", bytes: Vec<u8>, at in any::<prop::sample::Index>()) {
            for damage in [Damage::Anywhere, Damage::Head, Damage::Tail, Damage::Cut] {
                let json = serde_json::json!({"k": text, "n": [1, text.len()]}).to_string();
                for data in [Data::Text(text.as_str().into()), Data::Binary(bytes.as_slice().into()), Data::Json(json.into())] {
                    let Some(out) = damaged(&data, damage, |n| at.index(n)) else { continue };
                    prop_assert_ne!(out.as_bytes(), data.as_bytes());
                    if let Data::Json(out) = &out {
                        prop_assert!(serde_json::from_str::<serde_json::Value>(out).is_ok(), "{}", out);
                    }
                }
            }
        }
    }
}
