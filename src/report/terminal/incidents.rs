//! The first violations with their evidence; the rest is in the report.

use super::{Paint, WIDTH};
use crate::report::results::IncidentRecord;

/// Incidents shown in full; the rest is in the report.
const INCIDENTS_SHOWN: usize = 5;
/// Lines of evidence shown of each.
const EVIDENCE_SHOWN: usize = 8;

/// Writes the first incidents, each with the start of its evidence.
pub(super) fn incidents(out: &mut String, incidents: &[IncidentRecord], paint: Paint) {
    let shown = incidents.len().min(INCIDENTS_SHOWN);
    out.push_str(&format!(
        "{} {} of {} recorded, all in the report\n",
        paint.bold("incidents"),
        shown,
        incidents.len()
    ));
    for incident in &incidents[..shown] {
        let kind = incident.kind.to_uppercase();
        out.push_str(&format!(
            "  {}  {}\n",
            paint.bad(&kind),
            cut(&incident.summary, WIDTH * 2)
        ));
        out.push_str(&format!("    rule      {}\n", incident.rule));
        for line in incident.evidence.iter().take(EVIDENCE_SHOWN) {
            out.push_str(&format!("    {}\n", cut(line, WIDTH * 2)));
        }
        let rest = incident.evidence.len().saturating_sub(EVIDENCE_SHOWN);
        if rest > 0 {
            out.push_str(&format!("    ... {rest} more lines\n"));
        }
    }
}

/// A line no longer than `max` characters, control characters made visible: evidence may
/// hold what a hub sent.
fn cut(text: &str, max: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(max)
        .collect();
    match text.chars().nth(max) {
        Some(_) => format!("{clean}…"),
        None => clean,
    }
}
