//! Schema and reference page: up to date, and true.

use std::path::{Path, PathBuf};

use hubstorm::scenario::reference::{EXAMPLE_BASE, KEYS, json_schema, markdown};
use hubstorm::scenario::{self, Overrides};
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

/// The part of JSON Schema that the schema is made of, patterns roughly.
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
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        // A reference to the environment, or else a quantity, which begins with a digit.
        let quantity = pattern.contains('|') && text.starts_with(|c: char| c.is_ascii_digit());
        if !text.contains("${") && !quantity {
            return Err(format!("{at}: {text} is not like {pattern}"));
        }
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
        "pools: {a: {clinets: 1}}",
        "pools: {a: {clients: many, protocol: xml}}",
        "chaos: [{kind: rest}]",
        "duration: 20",
        "thresholds: [{this: x}]",
    ] {
        assert!(accepts(&schema, &value(slip), "").is_err(), "{slip}");
    }
}
