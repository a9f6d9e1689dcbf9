//! Simple clients: what their bare messages do. Source: docs, client protocols.

use super::arena::Key;
use super::events::{Event, Reply};
use super::message::{Dialect, RawMode};
use super::publish::Publication;
use super::requests::Source;
use super::state::Core;
use crate::base::Time;
use crate::wire::{Data, Metadata, close};

impl Core {
    /// One message of a simple client.
    pub(crate) fn simple_frame(&mut self, link: Key, data: &Data<'_>, now: Time) {
        self.now = now;
        let Some(session) = self
            .links
            .get(link)
            .filter(|link| link.end.is_none())
            .map(|link| link.session)
        else {
            return;
        };
        let from = Source { link, session };
        let Some(Dialect::Raw(mode)) = self.sessions.get(session).map(|s| s.dialect.clone()) else {
            return;
        };
        match *mode {
            RawMode::SendEvent => {
                self.truth.requests.event += 1;
                let event = Event {
                    name: "message",
                    data,
                    metadata: Metadata::EMPTY,
                    reply: Reply::Simple,
                };
                self.event(from, &event);
            }
            RawMode::SendToGroup { group, no_echo } => {
                self.truth.requests.send_to_group += 1;
                let Some(hub) = self
                    .sessions
                    .get(session)
                    .filter(|session| session.permissions.may_send(&group))
                    .map(|session| session.hub)
                else {
                    self.truth.forbidden += 1;
                    self.violated(link, close::POLICY, "no role to send to this group");
                    return;
                };
                let publication = Publication {
                    publisher: Some(session),
                    no_echo,
                    ..Publication::plain(hub, &group, data, now)
                };
                self.send_to_group(from, &publication);
            }
        }
        self.end_overflowed();
    }
}
