//! Memory, counted for the whole process: tests of this program take turns, all of them.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The turn to count.
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

/// Waits until nobody else counts.
pub(crate) fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    Turn(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Turn {
    /// Bytes asked for in all while `work` ran, given back or not.
    pub(crate) fn asked<T>(&self, work: impl FnOnce() -> T) -> (usize, T) {
        let region = Region::new(ALLOCATOR);
        let result = work();
        (region.change().bytes_allocated, result)
    }

    /// Starts counting what is asked for and not given back.
    pub(crate) fn held(&self) -> Held {
        Held(Region::new(ALLOCATOR))
    }
}

/// Counts what is held since it was made.
pub(crate) struct Held(Region<'static, System>);

impl Held {
    pub(crate) fn bytes(&self) -> isize {
        let change = self.0.change();
        change.bytes_allocated as isize - change.bytes_deallocated as isize
    }
}

#[test]
fn the_counter_counts() {
    const KEPT: usize = 4 << 20;
    let turn = turn();
    let held = turn.held();
    let (asked, kept) = turn.asked(|| std::hint::black_box(vec![1_u8; KEPT]));
    assert!(asked >= KEPT);
    // The end of another test, after its turn, and what runs the tests are counted as well:
    // far less than a MiB.
    assert!(held.bytes() > 3 << 20);
    drop(kept);
    assert!(held.bytes() < 1 << 20);
}
