//! Schema and reference page: up to date, and true.

use std::path::{Path, PathBuf};

use hubstorm::scenario::reference::{EXAMPLE_BASE, KEYS, json_schema, markdown};
use hubstorm::scenario::{self, Overrides};
use regex::Regex;
use serde_json::Value;

use super::no_env;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Checked in; `UPDATE_REFERENCE=1 cargo test --test scenario reference` writes them anew.
fn up_to_date(name: &str, text: &str) {
    let path = path(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "{name} is out of date: set UPDATE_REFERENCE=1 and run this again"
    );
}

#[test]
fn the_checked_in_schema_and_page_are_those_of_this_build() {
    up_to_date("scenarios/schema.json", &json_schema());
    up_to_date("docs/scenario-format.md", &markdown());
}

#[test]
fn every_example_of_the_page_is_right() {
    for key in KEYS {
        let path = key.path.replacen("pools.*", "pools.a", 1);
        let mut set: Vec<String> = key.with.iter().map(|set| (*set).to_owned()).collect();
        set.push(format!("{path}={}", key.example));
        let overrides = Overrides {
            set,
            ..Overrides::default()
        };
        if let Err(wrong) = scenario::parse(EXAMPLE_BASE, "page.yaml", &overrides, &no_env) {
            panic!("{}: {wrong}", key.path);
        }
    }
}

/// The keys that a reader knows are named when it meets one that it does not know.
#[test]
fn the_table_names_the_keys_that_the_readers_know() {
    let sections = KEYS
        .iter()
        .filter_map(|key| Some(key.path.rsplit_once('.')?.0));
    let mut sections: Vec<&str> = sections.filter(|path| *path != "pools").collect();
    sections.push("");
    sections.sort_unstable();
    sections.dedup();
    for section in sections {
        let listed = |key: &&str| key.rsplit_once('.').unwrap_or(("", key)).0 == section;
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.path).filter(listed).collect();
        names
            .iter_mut()
            .for_each(|path| *path = path.rsplit('.').next().unwrap_or(path));
        let first = KEYS.iter().find(|key| listed(&key.path)).unwrap();
        let at = section.replacen("pools.*", "pools.a", 1);
        let mut set: Vec<String> = first.with.iter().map(|set| (*set).to_owned()).collect();
        if !first.with.iter().any(|set| set.starts_with(&at)) && !at.is_empty() {
            set.push(format!("{at}.{}={}", names[0], first.example));
        }
        let dot = if at.is_empty() { "" } else { "." };
        set.push(format!("{at}{dot}nonsense_key=1"));
        let overrides = Overrides {
            set,
            ..Overrides::default()
        };
        let wrong = scenario::parse(EXAMPLE_BASE, "t.yaml", &overrides, &no_env).unwrap_err();
        let unknown = wrong
            .list
            .iter()
            .find(|one| one.what.contains("nonsense_key"));
        let expected = unknown
            .and_then(|one| one.expected.clone())
            .unwrap_or_else(|| panic!("{section}: {wrong}"));
        let mut known: Vec<&str> = expected
            .split(", ")
            .flat_map(|part| part.split(" or "))
            .collect();
        known.sort_unstable();
        names.sort_unstable();
        assert_eq!(known, names, "in {section}");
    }
}

/// The part of JSON Schema that the schema is made of. CI also asks a validator that is not
/// ours (`.ci/schema.py`).
fn accepts(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(any) = schema["anyOf"].as_array() {
        let outcomes: Vec<_> = any.iter().map(|one| accepts(one, value, at)).collect();
        return match outcomes.iter().any(Result::is_ok) {
            true => Ok(()),
            false => Err(format!("{outcomes:?}")),
        };
    }
    if let Some(names) = schema["enum"].as_array() {
        return match names.contains(value) {
            true => Ok(()),
            false => Err(format!("{at}: {value} is not among {names:?}")),
        };
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => return Ok(()),
    };
    let kinds = &schema["type"];
    let fits = |name: &str| {
        kinds == name
            || kinds
                .as_array()
                .is_some_and(|k| k.iter().any(|k| k == name))
    };
    let right = fits(kind) || kind == "integer" && fits("number");
    if !right {
        return Err(format!("{at}: {value} is no {kinds}"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return Err(format!("{at}: {number} is below {least}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !Regex::new(pattern).unwrap().is_match(text)
    {
        return Err(format!("{at}: {text} is not like {pattern}"));
    }
    if let Value::Array(items) = value {
        for item in items {
            accepts(&schema["items"], item, at)?;
        }
    }
    if let Value::Object(map) = value {
        for (key, value) in map {
            let at = format!("{at}.{key}");
            match (&schema["properties"][key], &schema["additionalProperties"]) {
                (Value::Null, Value::Object(_)) => {
                    accepts(&schema["additionalProperties"], value, &at)?
                }
                // Nothing is said: anything may stand there.
                (Value::Null, Value::Null) => {}
                (Value::Null, _) => return Err(format!("{at}: unknown")),
                (known, _) => accepts(known, value, &at)?,
            }
        }
    }
    Ok(())
}

#[test]
fn the_schema_accepts_every_scenario_and_refuses_slips() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let value = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    for entry in std::fs::read_dir(path("scenarios")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            if let Err(why) = accepts(&schema, &value(&text), "") {
                panic!("{}: {why}", path.display());
            }
        }
    }
    for slip in [
        "duration: soon",
        "duration: 10",
        "pools: {a: {clients: 1, connect: 50}}",
        "pools: {a: {clients: 1, publish: {rate: 1/day}}}",
        "pools: {a: {clients: 1, publish: {rate: 1/s, payload: {size: 2}}}}",
        "pools: {a: {clients: 1, publish: {rate: 1/s, payload: {size: 2KBs}}}}",
        "pools: {a: {clients: 1, publish: {rate: 1/s, arrivals: posson}}}",
        "pools: {a: {clients: 1, groups: {count: 2, join: some}}}",
        "pools: {a: {clients: 1, client: {sequence_ack: {every: now}}}}",
        "pools: {a: {clients: 1, client: {retry: {ack_timeout: nevr}}}}",
        "pools: {a: {sessions: {arrive: 1/s, stay: gauss(1s)}}}",
        "chaos: [{kind: reset, at: 1s, share: 0.1}]",
        "pools: {a: {clinets: 1}}",
        "pools: {a: {clients: many, protocol: xml}}",
        "chaos: [{kind: rest}]",
        "duration: 20",
        "thresholds: [{this: x}]",
    ] {
        assert!(accepts(&schema, &value(slip), "").is_err(), "{slip}");
    }
}

/// Puts `value` at a dotted path, as `--set` does.
fn put(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for step in path.split('.') {
        at = match step.parse::<usize>() {
            Ok(index) => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let list = at.as_array_mut().unwrap();
                while list.len() <= index {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => {
                if !at.is_object() {
                    *at = serde_json::json!({});
                }
                let map = at.as_object_mut().unwrap();
                map.entry(step).or_insert(Value::Null)
            }
        };
    }
    *at = value;
}

/// What `--set KEY=` (nothing) takes away.
fn without_nothing(tree: &mut Value) {
    if let Value::Object(map) = tree {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(without_nothing);
    }
}

#[test]
fn the_schema_accepts_every_example_of_the_reference() {
    // An editor that underlines what the program takes is worse than none.
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let read = |text: &str| match text {
        "" => Value::Null,
        text => serde_saphyr::from_str::<Value>(text).unwrap(),
    };
    for key in KEYS {
        let mut tree = read(EXAMPLE_BASE);
        for set in key.with {
            let (path, value) = set.split_once('=').unwrap();
            put(&mut tree, path, read(value));
        }
        let path = key.path.replacen("pools.*", "pools.a", 1);
        put(&mut tree, &path, read(key.example));
        without_nothing(&mut tree);
        if let Err(why) = accepts(&schema, &tree, "") {
            panic!("{}: {}: {why}", key.path, key.example);
        }
    }
}

#[test]
fn quantities_that_the_program_reads_are_those_that_the_schema_takes() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let a = &schema["properties"]["pools"]["additionalProperties"]["properties"];
    let publish = &a["publish"]["anyOf"][1]["properties"];
    let duration = &schema["properties"]["duration"];
    let forms: [(&str, &Value, &[&str]); 6] = [
        (
            "duration",
            duration,
            &[
                "250ms",
                "1.5s",
                "1m30s",
                "2h",
                "3min",
                "1d",
                "1h 5m",
                "7",
                "x",
                "5 parsecs",
                "-1s",
                "1,5s",
            ],
        ),
        (
            "pools.a.connect",
            &a["connect"],
            &[
                "500/s", "12/min", "3/h", "0.5/s", "5/sec", "1_000/s", "5", "5/d", "/s", "5s",
            ],
        ),
        (
            "verify.memory",
            &schema["properties"]["verify"]["properties"]["memory"],
            &["512MiB", "64MB", "2GiB", "4194304B", "64", "64 XB", "MiB"],
        ),
        (
            "pools.a.publish.profile.ramp.from",
            &publish["profile"]["anyOf"][1]["properties"]["ramp"]["properties"]["from"],
            &["0.1", "2", "10%", "50 %", "x%", "-1"],
        ),
        (
            "pools.a.client.sequence_ack.every",
            &a["client"]["properties"]["sequence_ack"]["properties"]["every"],
            &["100", "never", "ever", "1.5"],
        ),
        (
            "pools.a.client.retry.ack_timeout",
            &a["client"]["properties"]["retry"]["properties"]["ack_timeout"],
            &["10s", "never", "10", "nevr"],
        ),
    ];
    for (path, schema, texts) in forms {
        for text in texts {
            let set = match path.ends_with("ramp.from") {
                true => format!("pools.a.publish.profile={{ramp: {{from: {text}, over: 5s}}}}"),
                false => format!("{path}={text}"),
            };
            let overrides = Overrides {
                set: vec![set],
                ..Overrides::default()
            };
            let read = scenario::parse(EXAMPLE_BASE, "t.yaml", &overrides, &no_env);
            let value = serde_saphyr::from_str::<Value>(text).unwrap();
            let taken = accepts(schema, &value, path);
            assert_eq!(
                read.is_ok(),
                taken.is_ok(),
                "{path}={text}: {taken:?} {:?}",
                read.err()
            );
        }
    }
}
