//! Memory is not asked for on the path of a delivered message. A test program of its own:
//! it counts what the whole process allocates, so nothing may run beside it.

mod delivery_rig;

use std::alloc::System;

use delivery_rig::Rig;
use hubstorm::wire::{DataType, Subprotocol};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rings fill up and histograms appear in the beginning.
const WARM_UP: usize = 1_000;
const MEASURED: usize = 5_000;

/// What `MEASURED` messages allocate, after the beginning.
fn allocations(subprotocol: Subprotocol, data_type: DataType) -> usize {
    let mut rig = Rig::new(subprotocol, data_type, (WARM_UP + MEASURED) as u32);
    for n in 0..WARM_UP {
        assert!(rig.deliver(n), "message {n}");
    }
    let region = Region::new(ALLOCATOR);
    let fresh = (WARM_UP..WARM_UP + MEASURED)
        .filter(|n| rig.deliver(*n))
        .count();
    let change = region.change();
    assert_eq!(fresh, MEASURED);
    assert_eq!(rig.shard.progress(rig.at(0)).violations.total(), 0);
    change.allocations + change.reallocations
}

/// One test, one thread: a second one would be counted too.
#[test]
fn a_delivered_message_does_not_wake_the_allocator() {
    // The counter counts: a vector that is kept is one allocation.
    let region = Region::new(ALLOCATOR);
    let kept = std::hint::black_box(vec![1_u8; 100]);
    assert_eq!(region.change().allocations, 1);
    drop(kept);
    for (subprotocol, data_type) in [
        (Subprotocol::JsonReliable, DataType::Json),
        (Subprotocol::JsonReliable, DataType::Text),
        (Subprotocol::ProtobufReliable, DataType::Binary),
        (Subprotocol::ProtobufReliable, DataType::Protobuf),
    ] {
        let allocated = allocations(subprotocol, data_type);
        println!("{subprotocol:?} {data_type}: {allocated} allocations for {MEASURED} messages");
        assert_eq!(allocated, 0, "{subprotocol:?} {data_type}");
    }
}
