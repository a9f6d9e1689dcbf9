//! One client's story, told from a saved result: what was done to it, and every incident
//! that it has a part in, in order of time. Pure.

use serde_json::Value;

use super::results::{IncidentRecord, Results};

/// Lines of `events.jsonl` as a story uses them.
#[derive(Debug, Default)]
pub struct Events {
    /// (time, text, slots): what happened to whom; no slots: to all.
    lines: Vec<(f64, String, Vec<u32>)>,
    /// Lines that could not be read.
    pub unreadable: usize,
}

impl Events {
    /// Reads the text of an `events.jsonl`. What cannot be read is counted.
    pub fn read(text: &str) -> Self {
        let mut events = Events::default();
        for line in text.lines() {
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                events.unreadable += 1;
                continue;
            };
            let at = value["at_s"].as_f64().unwrap_or(0.0);
            let word = |key: &str| clean(value[key].as_str().unwrap_or("?"));
            match value["event"].as_str() {
                Some("phase") => {
                    let text = format!("phase {}", word("name"));
                    events.lines.push((at, text, Vec::new()));
                }
                Some("chaos") => {
                    let lasts = value["for_s"].as_f64();
                    let lasts = lasts.map_or(String::new(), |s| format!(" for {s} s"));
                    let slots = value["slots"].as_array().into_iter().flatten();
                    let slots: Vec<u32> = slots
                        .filter_map(|slot| u32::try_from(slot.as_u64()?).ok())
                        .collect();
                    let text = format!("injected {}{lasts}", word("kind"));
                    events.lines.push((at, text, slots));
                }
                Some("client") => {
                    let slot = value["slot"].as_u64().and_then(|n| u32::try_from(n).ok());
                    // Of nobody it is nobody's story.
                    let line = slot.map(|slot| (at, word("what"), vec![slot]));
                    events.lines.extend(line);
                }
                // Incidents are told from the report, with all of their evidence.
                _ => {}
            }
        }
        events
    }
}

/// The story of the client in slot `slot`.
pub fn story(results: &Results, events: &Events, slot: u32) -> String {
    let mut out = format!(
        "client {slot} of run {} ({}, seed {}), {}\n",
        clean(&results.run.id),
        clean(&results.run.name),
        results.run.seed,
        clean(&results.run.target),
    );
    let mut told: Vec<(f64, String)> = events
        .lines
        .iter()
        .filter(|(_, _, slots)| slots.is_empty() || slots.contains(&slot))
        .map(|(at, text, _)| (*at, text.clone()))
        .collect();
    let mut count = 0;
    for incident in &results.incidents {
        if incident.receiver == Some(slot) || incident.publisher == Some(slot) {
            count += 1;
            told.push((incident.t_s, told_incident(incident, slot)));
        }
    }
    told.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, text) in told {
        out.push_str(&format!("{at:>10.3} s  {text}\n"));
    }
    if count == 0 {
        out.push_str(&format!(
            "no incident of the {} recorded names this client\n",
            results.incidents.len()
        ));
    }
    out
}

fn told_incident(incident: &IncidentRecord, slot: u32) -> String {
    let part = match incident.receiver == Some(slot) {
        true => "receiver",
        false => "publisher",
    };
    let mut text = format!(
        "{} (as {part})  {}\n{:14}rule  {}",
        incident.kind.to_uppercase(),
        clean(&incident.summary),
        "",
        clean(&incident.rule)
    );
    for line in &incident.evidence {
        text.push_str(&format!("\n{:14}{}", "", clean(line)));
    }
    text
}

/// Control characters made visible: a result may hold what a hub sent.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::tests::results;

    #[test]
    fn a_client_is_told_what_happened_to_it_and_to_nobody_else() {
        let mut results = results();
        results.incidents = vec![
            IncidentRecord {
                kind: "lost".into(),
                t_s: 9.0,
                summary: "message 3/room#7 never reached slot 4".into(),
                receiver: Some(4),
                publisher: Some(3),
                evidence: vec!["frame \u{1b}[31m1".into()],
                ..IncidentRecord::default()
            },
            IncidentRecord {
                kind: "echo".into(),
                receiver: Some(5),
                ..IncidentRecord::default()
            },
        ];
        let events = Events::read(
            "{\"at_s\":1.0,\"event\":\"phase\",\"name\":\"load\"}
{\"at_s\":5.5,\"event\":\"chaos\",\"kind\":\"blackout\",\"slots\":[4,9],\"for_s\":2.0}
{\"at_s\":6.5,\"event\":\"chaos\",\"kind\":\"reset\",\"slots\":[9],\"for_s\":null}
{\"at_s\":5.6,\"event\":\"client\",\"slot\":4,\"what\":\"transport lost (injected)\"}
{\"at_s\":7.1,\"event\":\"client\",\"slot\":4,\"what\":\"recovered\"}
{\"at_s\":7.2,\"event\":\"client\",\"slot\":9,\"what\":\"reconnected\"}
not a line\n",
        );
        assert_eq!(events.unreadable, 1);
        let text = story(&results, &events, 4);
        let places = [
            "phase load",
            "injected blackout for 2 s",
            "transport lost (injected)",
            "recovered",
            "LOST (as receiver)",
        ]
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")));
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains("reconnected"), "{text}");
        assert!(!text.contains("reset") && !text.contains("ECHO"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(story(&results, &events, 3).contains("LOST (as publisher)"));
        assert!(story(&results, &events, 8).contains("no incident of the 2 recorded"));
    }
}
