//! Whatever bytes come: no panic, no unbounded memory, no dead end. Inputs are a kept corpus
//! (`tests/corpus`, replayed as it is) and mutations of it: frames that are almost right find
//! more than noise.
//!
//! `HUBSTORM_FUZZ_RUNS=N` makes N mutations of each kind instead of the default. An input
//! that breaks something is printed; put it into the corpus under a name that says what it
//! broke. `HUBSTORM_FUZZ_KEEP=1` adds mutations that reach an answer no kept input reaches;
//! `UPDATE_CORPUS=1` writes the protobuf frames anew from the JSON ones. Read `corpus` for
//! the files, `mutate` for the mutations, `memory` for how memory is counted.

mod corpus;
mod decoders;
mod memory;
mod mutate;
mod sessions;

/// Mutations of each kind when nobody asks for more.
const RUNS: u64 = 15_000;

fn runs() -> u64 {
    let asked = std::env::var("HUBSTORM_FUZZ_RUNS").ok();
    asked.map_or(RUNS, |count| {
        count.parse().expect("HUBSTORM_FUZZ_RUNS: a number")
    })
}

/// An input for people: text as it is, bytes as an escaped string.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
