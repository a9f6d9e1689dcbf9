//! Chance: the only module that makes random number generators.
//!
//! Every random choice of a run comes from a *named stream* of the run's seed, so that a
//! plan is a pure function of (seed, name, index) and adding a consumer never moves the
//! draws of another. ChaCha8 because its values are the same on every platform.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The seed of a run, from which every random choice derives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

impl Seed {
    /// Draws a seed from the operating system, for runs whose scenario names none.
    /// It fits in 32 bits, so that a person can type it again.
    pub fn draw() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // RandomState is seeded by the operating system; no further entropy source needed.
        let drawn = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        Seed(drawn & 0xffff_ffff)
    }

    /// The generator of stream `name`, number `index` (a slot, a plan entry; 0 when alone).
    pub fn stream(self, name: &str, index: u64) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.digest(name, index))
    }

    /// Stream `name`, number `index`, as numbers from 0 to 1.
    pub fn draws(self, name: &str, index: u64) -> Draws {
        Draws(Box::new(self.stream(name, index)))
    }

    /// A seed of its own for a part that deals out streams itself (the embedded hub).
    pub fn child(self, name: &str) -> Seed {
        let digest = self.digest(name, 0);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Seed(u64::from_be_bytes(first))
    }

    fn digest(self, name: &str, index: u64) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.0.to_be_bytes())
            .chain_update(index.to_be_bytes())
            .chain_update(name.as_bytes())
            .finalize()
            .into()
    }
}

/// Draws from one stream, for layers that make no other use of chance.
#[derive(Clone, Debug)]
pub struct Draws(Box<ChaCha8Rng>);

impl Draws {
    /// A number from 0 (inclusive) to 1 (exclusive).
    pub fn fraction(&mut self) -> f64 {
        use rand::RngExt as _;
        self.0.random()
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_are_repeatable_and_apart() {
        let draw = |seed: u64, name, index| Seed(seed).stream(name, index).random::<u64>();
        assert_eq!(draw(7, "chaos", 0), draw(7, "chaos", 0));
        assert_ne!(draw(7, "chaos", 0), draw(7, "chaos", 1));
        assert_ne!(draw(7, "chaos", 0), draw(7, "load", 0));
        assert_ne!(draw(7, "chaos", 0), draw(8, "chaos", 0));
    }

    #[test]
    fn values_never_change_between_versions() {
        // A golden value: a saved seed must give the same plan in every later version.
        assert_eq!(Seed(7).child("hub").0, 2_750_185_221_408_775_854);
    }
}
