//! The ids that travel through the program, each a type of its own.

use std::fmt;

/// A simulated client's place in the plan, 0-based over all pools; at most 2^24 - 1.
/// Never reused for another plan entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

/// A group's place in the plan, 0-based over the whole scenario; at most 2^24 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u32);

/// A request's number, unique within one connection. Source: client-spec 3.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AckId(pub u64);

/// A data message's number on one connection: never 0, first is 1. Source: client-spec 3.2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SequenceId(pub u64);

macro_rules! display_as_number {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(Slot, GroupId, AckId, SequenceId);

impl Slot {
    /// The slot as an index into a table of slots.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl GroupId {
    /// The group as an index into a table of groups.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
