//! Invocations: events whose answer goes back under an id of the client's choice.
//! Source: the official JS client; no reference page describes them.

use super::arena::Key;
use super::events::{Reply, Waiting};
use super::outbox::Nack;
use super::requests::Source;
use super::state::Core;
use crate::wire::{AckError, Data, Downstream, InvokeResponse};

impl Waiting {
    /// Whether its answer goes to this invocation.
    fn is_for(&self, id: &str) -> bool {
        matches!(&self.reply, Some((_, Reply::Invocation(other))) if **other == *id)
    }
}

impl Core {
    /// Answers an invocation; to a transport that is gone the answer is lost, as its client
    /// has given the invocation up.
    pub(super) fn respond(
        &mut self,
        from: Source,
        id: &str,
        result: Result<Option<Data<'_>>, &'static Nack>,
    ) {
        let (data, error) = match result {
            Ok(data) => (data, None),
            Err(nack) => (
                None,
                Some(AckError {
                    name: nack.name.into(),
                    message: nack.message.into(),
                }),
            ),
        };
        let response = InvokeResponse {
            invocation_id: id.into(),
            success: error.is_none(),
            data,
            error,
        };
        self.send_frame(from.link, &Downstream::InvokeResponse(response));
    }

    /// Whether an invocation with this id has no answer yet. Assumed: the service's answer
    /// to a second one is not documented; here it is refused.
    pub(super) fn is_pending(&mut self, session: Key, reply: &Reply) -> bool {
        let Reply::Invocation(id) = reply else {
            return false;
        };
        let handled = self
            .sessions
            .get(session)
            .and_then(|session| session.handled.as_deref());
        handled.is_some_and(|handled| {
            handled.invoking.as_ref() == Some(id)
                || handled.waiting.iter().any(|event| event.is_for(id))
        })
    }

    /// The answer is no longer wanted: an event that still waits is not handled at all, one
    /// that is being handled goes unanswered.
    pub(super) fn cancel_invocation(&mut self, from: Source, id: &str) {
        let Some(handled) = self
            .sessions
            .get_mut(from.session)
            .and_then(|session| session.handled.as_deref_mut())
        else {
            return;
        };
        let waited = handled.waiting.len();
        handled.waiting.retain(|event| !event.is_for(id));
        let mut cancelled = handled.waiting.len() < waited;
        if handled.invoking.as_deref() == Some(id) {
            handled.invoking = None;
            cancelled = true;
        }
        self.truth.invocations_cancelled += u64::from(cancelled);
    }
}
