//! `target`: where the clients connect. Messages here never quote a value: most are secrets,
//! and the others hold them by mistake.

use secrecy::SecretString;
use url::Url;

use crate::scenario::model::TargetSpec;
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::{Mistakes, Place};
use crate::scenario::read::tree::Node;

const KEYS: [&str; 5] = [
    "endpoint",
    "hub",
    "access_key",
    "connection_string",
    "client_access_url",
];
/// The hub's name when the file has none.
const HUB_DEFAULT: &str = "hubstorm";

pub(super) fn read(file: &Section<'_>, mistakes: &mut Mistakes) -> TargetSpec {
    let default = TargetSpec::Embedded {
        hub: HUB_DEFAULT.to_owned(),
    };
    let Some(section) = file.section("target", &KEYS, mistakes) else {
        return default;
    };
    let one = "a target is one of endpoint, connection_string or client_access_url";
    for (first, second) in [
        ("endpoint", "connection_string"),
        ("endpoint", "client_access_url"),
        ("connection_string", "client_access_url"),
        ("connection_string", "access_key"),
        ("client_access_url", "access_key"),
    ] {
        let why = match second {
            "access_key" => "it holds a key or token already",
            _ => one,
        };
        section.conflict(first, second, why, mistakes);
    }
    section.conflict(
        "client_access_url",
        "hub",
        "the URL names its hub; leave `hub` out",
        mistakes,
    );
    let hub = hub(&section, mistakes);
    if let Some(node) = section.get("client_access_url") {
        return client_access_url(node, mistakes).unwrap_or(default);
    }
    if let Some(node) = section.get("connection_string") {
        return connection_string(node, hub, mistakes).unwrap_or(default);
    }
    let access_key = access_key(&section, mistakes);
    match section.get("endpoint") {
        Some(node) => TargetSpec::Endpoint {
            // An empty URL only beside a mistake: the scenario is not used then.
            url: endpoint(node, mistakes).unwrap_or_default(),
            hub,
            access_key,
        },
        None => {
            if let Some(entry) = section.entry("access_key") {
                mistakes
                    .add(entry.key_place, "`access_key` without an endpoint")
                    .mend("add `endpoint: http://...`; the embedded hub needs no key");
            }
            TargetSpec::Embedded { hub }
        }
    }
}

/// Source: protocol 1, hub names.
fn hub(section: &Section<'_>, mistakes: &mut Mistakes) -> String {
    const EXPECTED: &str = "a letter, then letters, digits and _ ` , . [ ], at most 128";
    let read = section
        .get("hub")
        .and_then(|node| scalar::text(node, EXPECTED, mistakes));
    let Some(read) = read else {
        return HUB_DEFAULT.to_owned();
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "_`,.[]".contains(c);
    let right = read.value.starts_with(|c: char| c.is_ascii_alphabetic())
        && read.value.len() <= 128
        && read.value.chars().all(fits);
    if !right {
        mistakes
            .add(read.place, format!("`{}` cannot name a hub", read.shown))
            .expected(EXPECTED);
    }
    read.value
}

/// The key, unless it is empty (`${HUB_KEY:-}`).
fn access_key(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<SecretString> {
    let node = section.get("access_key")?;
    let read = scalar::text(node, "an access key", mistakes)?;
    (!read.value.is_empty()).then(|| SecretString::from(read.value))
}

/// A URL with one of the four schemes and a host.
fn url(text: &str, place: Place, what: &str, mistakes: &mut Mistakes) -> Option<Url> {
    let expected = "ws://, wss://, http:// or https:// and a host";
    let parsed = Url::parse(text).ok().filter(|url| {
        ["ws", "wss", "http", "https"].contains(&url.scheme()) && url.host_str().is_some()
    });
    if parsed.is_none() {
        mistakes
            .add(place, format!("this is not {what}"))
            .expected(expected);
    }
    parsed
}

fn endpoint(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let read = scalar::text(node, "a URL, e.g. http://127.0.0.1:8080", mistakes)?;
    let parsed = url(&read.value, read.place, "an endpoint", mistakes)?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        mistakes
            .add(read.place, "an endpoint has no query")
            .mend("a URL with an access_token goes under `client_access_url`");
        return None;
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        mistakes
            .add(read.place, "an endpoint has no user or password")
            .mend("the key goes under `access_key`");
        return None;
    }
    Some(read.value)
}

fn connection_string(node: &Node, hub: String, mistakes: &mut Mistakes) -> Option<TargetSpec> {
    let expected = "Endpoint=https://...;AccessKey=...;Version=1.0;";
    let read = scalar::text(node, expected, mistakes)?;
    let part = |name: &str| {
        read.value.split(';').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            let same = key.trim().eq_ignore_ascii_case(name);
            (same && !value.trim().is_empty()).then_some(value.trim())
        })
    };
    for name in ["Endpoint", "AccessKey"] {
        if part(name).is_none() {
            mistakes
                .add(read.place, format!("the connection string has no {name}"))
                .expected(expected);
            return None;
        }
    }
    let endpoint = part("Endpoint").unwrap_or_default();
    url(
        endpoint,
        read.place,
        "a connection string: its Endpoint is no URL",
        mistakes,
    )?;
    Some(TargetSpec::ConnectionString {
        value: SecretString::from(read.value),
        hub,
    })
}

fn client_access_url(node: &Node, mistakes: &mut Mistakes) -> Option<TargetSpec> {
    let expected = "wss://HOST/client/hubs/HUB?access_token=...";
    let read = scalar::text(node, expected, mistakes)?;
    url(&read.value, read.place, "a client access URL", mistakes)?;
    Some(TargetSpec::ClientAccessUrl(SecretString::from(read.value)))
}
