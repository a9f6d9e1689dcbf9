//! What nobody promises: lines only where there is something to say.

use crate::report::format::count;
use crate::report::results::Results;
use crate::verify::LATE_AFTER;

/// The lines, beside the deliveries.
pub(super) fn lines(results: &Results) -> Vec<String> {
    let measured = &results.measured;
    let mut lines = Vec::new();
    if measured.late > 0 {
        lines.push(format!(
            "measured {} late: over {} s after their intended time",
            count(measured.late),
            LATE_AFTER.as_secs_f64()
        ));
    }
    for (inversions, compared, what) in [
        (
            measured.inversions,
            measured.pairs_compared,
            "messages of different publishers, at two receivers",
        ),
        (
            measured.publisher_inversions,
            measured.publisher_pairs_compared,
            "messages of one publisher to different groups",
        ),
    ] {
        if inversions > 0 {
            lines.push(format!(
                "measured {} of {} sampled pairs in another order: {what}",
                count(inversions),
                count(compared)
            ));
        }
    }
    for (some, what) in [
        (measured.unknown_to_some, "of unknown outcome"),
        (measured.unacked_to_some, "without an ack asked for"),
    ] {
        if some > 0 {
            lines.push(format!(
                "measured {} publishes {what} came to some members only",
                count(some)
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::tests::results;

    #[test]
    fn nothing_measured_is_nothing_said_and_a_sample_is_called_one() {
        let mut results = results();
        results.measured.pairs_compared = 5000;
        results.measured.unknown_to_all = 7;
        assert!(lines(&results).is_empty());
        results.measured.late = 12;
        results.measured.inversions = 3;
        results.measured.unacked_to_some = 2;
        assert_eq!(
            lines(&results),
            [
                "measured 12 late: over 1 s after their intended time",
                "measured 3 of 5,000 sampled pairs in another order: messages of different publishers, at two receivers",
                "measured 2 publishes without an ack asked for came to some members only",
            ]
        );
    }
}
