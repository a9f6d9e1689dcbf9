//! Invocations: events whose answer is wanted. Source: the official JS client.
//!
//! ```text
//! Ready --written--> Asked --invokeResponse--> answered or refused
//!   |                  | drop: failed, never tried again (handled or not, nobody knows)
//!   |                  | timeout, cancel: cancelInvocation is written
//!   +-- drop, timeout, cancel: over
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::newer::{
    INVOCATIONS_MAX, InvocationFailure, InvocationId, InvokeRefused, NewerCounts, NewerEvent,
    NewerFrame,
};
use crate::base::Time;

#[derive(Debug)]
struct Invocation<C> {
    id: InvocationId,
    event: Arc<str>,
    content: C,
    written: bool,
    deadline: Option<Time>,
}

/// The table: at most [`INVOCATIONS_MAX`] entries.
#[derive(Debug)]
pub(super) struct Invocations<C> {
    pending: Vec<Invocation<C>>,
    /// To be called off; at most as many as can be pending.
    cancels: VecDeque<InvocationId>,
    next: u64,
}

impl<C> Default for Invocations<C> {
    fn default() -> Self {
        Invocations {
            pending: Vec::new(),
            cancels: VecDeque::new(),
            next: 1,
        }
    }
}

impl<C> Invocations<C> {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn add(
        &mut self,
        event: Arc<str>,
        content: C,
        deadline: Option<Time>,
        counts: &mut NewerCounts,
    ) -> Result<InvocationId, InvokeRefused> {
        if self.pending.len() >= INVOCATIONS_MAX {
            counts.invocations_refused += 1;
            return Err(InvokeRefused::TooMany);
        }
        let id = InvocationId(self.next);
        self.next += 1;
        self.pending.push(Invocation {
            id,
            event,
            content,
            written: false,
            deadline,
        });
        Ok(id)
    }

    /// Takes an invocation out; the hub is told if it knows of it. Whether there was one.
    pub(super) fn cancel(&mut self, id: InvocationId) -> bool {
        let Some(at) = self.pending.iter().position(|pending| pending.id == id) else {
            return false;
        };
        if self.pending.remove(at).written {
            if self.cancels.len() >= INVOCATIONS_MAX {
                // Its answer will come as a late one.
                self.cancels.pop_front();
            }
            self.cancels.push_back(id);
        }
        true
    }

    /// An answer came; whose it is, if anybody's.
    pub(super) fn answered(
        &mut self,
        name: &str,
        counts: &mut NewerCounts,
    ) -> Option<InvocationId> {
        let id = name.parse().ok().map(InvocationId);
        let asked = |pending: &Invocation<C>| Some(pending.id) == id && pending.written;
        match self.pending.iter().position(asked) {
            Some(at) => Some(self.pending.remove(at).id),
            None => {
                counts.late_answers += 1;
                None
            }
        }
    }

    /// The transport is gone, and every invocation with it. Source: the official JS client.
    pub(super) fn transport_lost(&mut self, events: &mut VecDeque<NewerEvent>) {
        self.cancels.clear();
        let failed = self.pending.drain(..);
        events.extend(failed.map(|pending| NewerEvent::InvocationFailed {
            id: pending.id,
            failure: InvocationFailure::Lost,
        }));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.pending
            .iter()
            .filter_map(|pending| pending.deadline)
            .min()
    }

    pub(super) fn timeout(&mut self, now: Time, events: &mut VecDeque<NewerEvent>) {
        while let Some(late) = self
            .pending
            .iter()
            .find(|pending| pending.deadline.is_some_and(|deadline| deadline <= now))
        {
            let id = late.id;
            self.cancel(id);
            events.push_back(NewerEvent::InvocationFailed {
                id,
                failure: InvocationFailure::TimedOut,
            });
        }
    }

    pub(super) fn has_frame(&self) -> bool {
        !self.cancels.is_empty() || self.pending.iter().any(|pending| !pending.written)
    }

    pub(super) fn frame(&mut self) -> Option<NewerFrame<'_, C>> {
        if let Some(id) = self.cancels.pop_front() {
            return Some(NewerFrame::CancelInvocation(id));
        }
        let next = self.pending.iter_mut().find(|pending| !pending.written)?;
        next.written = true;
        Some(NewerFrame::Invoke {
            id: next.id,
            event: &next.event,
            content: &next.content,
        })
    }
}
