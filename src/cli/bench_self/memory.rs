//! Memory of one client: the difference between so many and twice as many, so that what a
//! process has anyway is in neither. Both are measured while nothing is sent: resident bytes
//! and the verifier's are then of one state, however far apart they are read.

use anyhow::Result;

use super::figures::kib;
use super::process::{Against, part};
use super::{Measured, Size, spread};
use crate::cli::args::{BenchArgs, BenchPart};

const FEW: u64 = 5_000;
const MANY: u64 = 10_000;
/// Publishes of each client between the two calms; each is heard by ten. So many that the
/// verifier's recorder of frames is full (128): half full it would be counted and not resident.
const PUBLISHES: u64 = 13;
/// Long enough that counts, which are up to a second old, are of the calm.
const CALM_S: u64 = 4;

/// Bytes of one more client.
#[derive(Clone, Copy, Debug)]
struct Each {
    rss: f64,
    verifier: f64,
}

impl Each {
    fn between(few: &Measured, many: &Measured, of: fn(&Measured) -> (u64, u64)) -> Self {
        let ((rss, verifier), (rss_many, verifier_many)) = (of(few), of(many));
        let more = (MANY - FEW) as f64;
        Each {
            rss: (rss_many as f64 - rss as f64) / more,
            verifier: (verifier_many as f64 - verifier as f64) / more,
        }
    }

    fn without(self) -> f64 {
        self.rss - self.verifier
    }
}

/// The load of `clients`: as much for each, whatever their number.
fn size(clients: u64) -> Size {
    // A client hears ten a second, and the load has a margin of a second at both ends.
    Size {
        clients,
        group: 10,
        rate: clients * 10,
        seconds: PUBLISHES - 2,
        calm: CALM_S,
        receipt_ms: None,
    }
}

pub(super) fn memory(args: &BenchArgs) -> Result<()> {
    for (name, against) in [("plain", Against::Hub), ("TLS", Against::Tls)] {
        println!("{name}, a client from the 5,001st to the 10,000th, KiB");
        let (mut joined, mut loaded) = (Vec::new(), Vec::new());
        for round in 1..=args.rounds {
            let few = part(BenchPart::Whole, against, size(FEW))?;
            let many = part(BenchPart::Whole, against, size(MANY))?;
            let idle = Each::between(&few, &many, |m| (m.joined_bytes, m.joined_verifier_bytes));
            let after = Each::between(&few, &many, |m| (m.loaded_bytes, m.loaded_verifier_bytes));
            for (when, each) in [("joined", idle), ("after traffic", after)] {
                println!(
                    "  round {round}, {when:13}  {:5.2}, of which the verifier {:5.2}: {:5.2} without it",
                    kib(each.rss),
                    kib(each.verifier),
                    kib(each.without())
                );
            }
            joined.push(idle);
            loaded.push(after);
        }
        for (when, each) in [("joined", &joined), ("after traffic", &loaded)] {
            let shown = |of: fn(&Each) -> f64| {
                let (middle, least, most) = spread(each.iter().map(of).map(kib).collect());
                format!("{middle:.2} ({least:.2} to {most:.2})")
            };
            println!(
                "  {when:13}  {} KiB, of which the verifier {}: {} without it",
                shown(|each| each.rss),
                shown(|each| each.verifier),
                shown(|each| each.without())
            );
        }
    }
    println!(
        "joined: everybody, and nothing was ever sent; after traffic: {PUBLISHES} publishes and \
         {} deliveries each, and {CALM_S} s of silence",
        10 * PUBLISHES
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process has anyway must cancel out, or few clients would look dear.
    #[test]
    fn the_price_of_a_client_is_the_slope_between_two_populations() {
        let held = |clients: u64| Measured {
            joined_bytes: 14_000_000 + 4_000 * clients,
            joined_verifier_bytes: 500 * clients,
            ..Measured::default()
        };
        let each = Each::between(&held(FEW), &held(MANY), |m| {
            (m.joined_bytes, m.joined_verifier_bytes)
        });
        assert_eq!((each.rss, each.verifier), (4_000.0, 500.0));
        assert_eq!(each.without(), 3_500.0);
    }
}
