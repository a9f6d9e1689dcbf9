//! One hand-written history per anomaly and per permitted case: the named counter moves,
//! and no other. Publisher 0, receivers 1 to 3, outsider 4, everybody in one group.

mod answers;
mod connections;
mod deliveries;
mod evidence;
mod long;
mod membership;
mod order;
mod payload;
mod unanswered;

use std::time::Duration;

use crate::world::World;

/// Traffic before and after, so that every anomaly has neighbours.
fn warm(world: &mut World) {
    for _ in 0..5 {
        world.publish_to_all(0);
    }
    world.wait(Duration::from_secs(1));
}
