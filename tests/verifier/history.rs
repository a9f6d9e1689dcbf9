//! All that clients could see of a run, kept whole: the tap writes it down, the oracle judges
//! it. Times are µs.

use std::collections::{BTreeMap, HashMap};

use hubstorm::base::{AckId, GroupId, Slot};
use hubstorm::payload::{Cause, Identity, StreamId};
use hubstorm::verify::Fate;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Left,
    Refused,
    Gap,
    Unreliable,
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) epoch: u16,
    pub(crate) join_invoked: u64,
    pub(crate) joined: Option<u64>,
    pub(crate) resent: bool,
    pub(crate) leave_invoked: Option<u64>,
    pub(crate) ended: Option<(u64, End)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) epoch: u16,
    pub(crate) causes: Vec<Cause>,
    pub(crate) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) epoch: u16,
    pub(crate) transport: u16,
    pub(crate) id: u64,
    pub(crate) identity: Identity,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    pub(crate) epoch: u16,
    pub(crate) transport: u16,
    pub(crate) lost_at: u64,
    pub(crate) confirmed_at: u64,
}

/// What happened on a client's transports, as far as answers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Asked(AckId),
    Answered(AckId),
    /// Something was read.
    Heard,
    /// The transport is over.
    Over,
    /// The client's own side delays what is read until then.
    Disturbed(u64),
}

/// (time, stream -> (invoked, settled)), in order.
pub(crate) type Checkpoints = Vec<(u64, HashMap<StreamId, (u32, u32)>)>;

/// Everything that clients could see.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) windows: BTreeMap<(Slot, GroupId), Vec<Window>>,
    pub(crate) messages: BTreeMap<StreamId, Vec<Message>>,
    pub(crate) frames: BTreeMap<Slot, Vec<Frame>>,
    pub(crate) recoveries: BTreeMap<Slot, Vec<Recovery>>,
    /// By publisher: the checkpoints of its source.
    pub(crate) checkpoints: Vec<Checkpoints>,
    pub(crate) source_of: HashMap<Slot, usize>,
    pub(crate) saw_error: bool,
    pub(crate) reliable: Vec<bool>,
    pub(crate) no_echo: Vec<bool>,
    pub(crate) lines: BTreeMap<Slot, Vec<(u64, Line)>>,
    /// How long an answer may take, µs.
    pub(crate) ack_within: u64,
    /// When the verifier was given time.
    pub(crate) ticks: Vec<u64>,
}
