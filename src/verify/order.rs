//! The order of two messages of one stream at one receiver (O1): what overtook a hole.
//!
//! What the verdict on a hole is, apart from its order, is decided in `judge`.

use super::pairs::Arrival;
use crate::payload::Identity;

/// Publisher transports that a hole remembers to have been overtaken from.
const TRANSPORTS: usize = 4;

/// How the order of a filled hole looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Nothing to say, or not comparable.
    Fine,
    /// The hub swapped two transmissions of one publisher transport.
    Reordered { overtaken_by: u32 },
    /// A repetition came after its successors.
    ByRetry,
}

/// A delivery that overtook.
#[derive(Clone, Copy, Default, Debug)]
struct Witness {
    /// The publisher's connection and transport.
    epoch: u16,
    transport: u16,
    tx: u32,
    seq: u32,
}

impl Witness {
    fn lane(&self) -> (u16, u16) {
        (self.epoch, self.transport)
    }
}

/// What overtook a hole on the receiver's newest connection: for each publisher transport
/// the greatest tx, which convicts whatever an earlier one would. Those of the first three
/// transports are kept and that of the latest; an inversion on one between is missed,
/// none is ever invented.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Witnesses {
    /// The receiver's connection.
    at_epoch: u16,
    len: u8,
    of: [Witness; TRANSPORTS],
}

impl Witnesses {
    /// A later message came. Across connections of the receiver no order is promised, so
    /// the first delivery on a new one makes the others worthless.
    pub(super) fn add(&mut self, identity: &Identity, arrival: &Arrival) {
        if self.at_epoch != arrival.epoch {
            *self = Witnesses {
                at_epoch: arrival.epoch,
                ..Witnesses::default()
            };
        }
        let newer = Witness {
            epoch: identity.epoch,
            transport: identity.transport,
            tx: identity.tx,
            seq: identity.seq,
        };
        let held = &mut self.of[..usize::from(self.len)];
        if let Some(same) = held.iter_mut().find(|old| old.lane() == newer.lane()) {
            if same.tx < newer.tx {
                *same = newer;
            }
        } else if usize::from(self.len) < TRANSPORTS {
            self.of[usize::from(self.len)] = newer;
            self.len += 1;
        } else {
            self.of[TRANSPORTS - 1] = newer;
        }
    }

    /// How the order of a message that comes now looks.
    pub(super) fn judge(&self, identity: &Identity, arrival: &Arrival) -> Order {
        if self.len == 0 || self.at_epoch != arrival.epoch {
            return Order::Fine;
        }
        let lane = (identity.epoch, identity.transport);
        let mut held = self.of[..usize::from(self.len)].iter();
        match held.find(|w| w.lane() == lane && w.tx > identity.tx) {
            Some(witness) => Order::Reordered {
                overtaken_by: witness.seq,
            },
            None => Order::ByRetry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{GroupId, Slot, Time};
    use crate::payload::Cause;

    fn message(seq: u32, tx: u32, transport: u16) -> Identity {
        Identity {
            run: 1,
            publisher: Slot(0),
            group: GroupId(0),
            seq,
            tx,
            epoch: 0,
            transport,
            no_echo: false,
            cause: Cause::First,
            attempt: 1,
            intended: 0,
            lag_us: 0,
        }
    }

    fn on(epoch: u16) -> Arrival {
        Arrival {
            at: Time::ZERO,
            epoch,
            transport: 0,
            window: 0,
            must: true,
            sound: true,
            id: 0,
        }
    }

    /// With room for fewer, a hub could hide an inversion behind the publisher's drops; and
    /// what does not fit must never become an accusation.
    #[test]
    fn four_publisher_transports_are_remembered_and_beyond_that_nothing_is_invented() {
        let mut seen = Witnesses::default();
        for transport in 0..6 {
            seen.add(&message(10 + u32::from(transport), 100, transport), &on(0));
        }
        for transport in 0..6 {
            let expected = match transport {
                3 | 4 => Order::ByRetry,
                _ => Order::Reordered {
                    overtaken_by: 10 + u32::from(transport),
                },
            };
            assert_eq!(seen.judge(&message(5, 99, transport), &on(0)), expected);
            let later = message(5, 101, transport);
            assert_eq!(seen.judge(&later, &on(0)), Order::ByRetry);
        }
    }

    /// A new connection of the receiver may get its messages from other nodes.
    #[test]
    fn a_new_connection_of_the_receiver_begins_anew() {
        let mut seen = Witnesses::default();
        assert_eq!(seen.judge(&message(1, 1, 0), &on(0)), Order::Fine);
        seen.add(&message(2, 2, 0), &on(0));
        assert_eq!(seen.judge(&message(1, 1, 0), &on(1)), Order::Fine);
        seen.add(&message(3, 3, 1), &on(1));
        assert_eq!(seen.judge(&message(1, 1, 0), &on(1)), Order::ByRetry);
    }
}
