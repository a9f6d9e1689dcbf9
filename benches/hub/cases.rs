//! What is measured.

use crate::load::{Pace, Shape};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) shape: Shape,
}

const fn closed(connections: usize, group: usize, publishers: usize, in_flight: u32) -> Shape {
    Shape {
        connections,
        group,
        no_echo: false,
        pace: Pace::Closed {
            publishers,
            in_flight,
        },
    }
}

const fn open(connections: usize, group: usize, no_echo: bool, per_second: u64) -> Shape {
    Shape {
        connections,
        group,
        no_echo,
        pace: Pace::Open { per_second },
    }
}

/// All cases.
pub(crate) const CASES: [Case; 10] = [
    Case {
        name: "acked-1k",
        what: "1,000 connections in groups of 10, each publishes and waits for its ack",
        shape: closed(1_000, 10, 1_000, 1),
    },
    Case {
        name: "batched-1k",
        what: "the same with 16 publishes in one write",
        shape: closed(1_000, 10, 1_000, 16),
    },
    Case {
        name: "acked-9k",
        what: "9,000 connections in groups of 10, each publishes and waits for its ack",
        shape: closed(9_000, 10, 9_000, 1),
    },
    Case {
        name: "batched-9k",
        what: "the same with 16 publishes in one write",
        shape: closed(9_000, 10, 9_000, 16),
    },
    Case {
        name: "all-acked-1k",
        what: "one group of 1,000, one publisher that waits for its ack",
        shape: closed(1_000, 1_000, 1, 1),
    },
    Case {
        name: "all-batched-1k",
        what: "the same with 16 publishes in one write",
        shape: closed(1_000, 1_000, 1, 16),
    },
    Case {
        name: "all-acked-9k",
        what: "one group of 9,000, one publisher that waits for its ack",
        shape: closed(9_000, 9_000, 1, 1),
    },
    Case {
        name: "all-batched-9k",
        what: "the same with 16 publishes in one write",
        shape: closed(9_000, 9_000, 1, 16),
    },
    Case {
        name: "lone-10",
        what: "1,000 publishes a second to groups of 10: each delivery leaves by itself",
        shape: open(1_000, 10, false, 1_000),
    },
    Case {
        name: "lone-1",
        what: "1,000 publishes a second to one other: its publish and its ack counted in",
        shape: open(1_000, 2, true, 1_000),
    },
];

impl Case {
    /// The same with few connections, to see that it works.
    pub(crate) fn small(self) -> Case {
        let divided = |number: usize| (number / 50).max(2);
        let mut shape = self.shape;
        if shape.group > 10 {
            shape.group = divided(shape.group);
        }
        shape.connections = divided(shape.connections);
        if let Pace::Closed { publishers, .. } = &mut shape.pace {
            *publishers = (*publishers).min(shape.connections);
        }
        Case { shape, ..self }
    }
}
