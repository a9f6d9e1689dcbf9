//! How sessions begin and end; recoveries are in `recovery.rs`.

use std::collections::VecDeque;
use std::rc::Rc;

use rand::RngExt;

use super::acks::AckMemory;
use super::arena::Key;
use super::outbox::{End, Out};
use super::permissions::Permissions;
use super::state::{Core, Session, Timer};
use crate::base::Time;
use crate::wire::close;
use crate::wire::json;
use crate::wire::{Connected, Downstream, Subprotocol};

/// Who connects, as the shell found out from the request.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The hub's name; case does not matter.
    pub(crate) hub: String,
    pub(crate) user: Option<String>,
    pub(crate) permissions: Permissions,
    /// Groups to join at once; names already checked with [`is_group_name`].
    pub(crate) groups: Vec<String>,
}

/// Group names have 1 to 1024 characters and are not only white space.
pub(crate) fn is_group_name(name: &str) -> bool {
    !name.trim().is_empty() && (name.len() <= 1024 || name.chars().count() <= 1024)
}

impl Core {
    /// Opens a new session on a new transport. Its first frame is `connected`.
    pub(crate) fn open(&mut self, identity: Identity, subprotocol: Subprotocol, now: Time) -> Key {
        self.truth.connections_accepted += 1;
        let id = self.ids.random();
        let hub = self.groups.enter_hub(&identity.hub);
        let key = self.sessions.insert(Session {
            id,
            hub,
            user: identity.user.map(Rc::from),
            permissions: Rc::new(identity.permissions),
            subprotocol,
            groups: Vec::new(),
            link: None,
            last_id: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acks: AckMemory::default(),
            drops: 0,
            last_id_at_drop: 0,
            fault_state: None,
        });
        self.by_id.insert(id, key);
        for group in &identity.groups {
            self.join(key, group);
        }
        let link = self.attach(key);
        if let Some(session) = self.sessions.get_mut(key) {
            session.link = Some(link);
        }
        self.send_connected(key, link, id, now);
        link
    }

    /// Queues a `connected` frame naming `id`, with a fresh token on reliable subprotocols.
    pub(crate) fn send_connected(&mut self, session: Key, link: Key, id: u128, now: Time) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let token = session
            .subprotocol
            .is_reliable()
            .then(|| self.tokens.issue(session.id, now).into());
        let mut text = Vec::with_capacity(224);
        json::encode_downstream(
            &Downstream::Connected(Connected {
                connection_id: connection_text(id).into(),
                // Always written, as the official emulator does: empty without a user.
                user_id: Some(session.user.as_deref().unwrap_or_default().into()),
                reconnection_token: token,
            }),
            &mut text,
        );
        self.send(link, Out::Text(text.into()));
    }

    /// Makes a session a member of a group.
    pub(crate) fn join(&mut self, key: Key, group: &str) {
        if let Some(session) = self.sessions.get_mut(key) {
            self.groups.join(key, session, group);
        }
    }

    /// A transport is gone. `code` is that of the client's close frame, if one came.
    ///
    /// A client's 1000 ends the session; anything else leaves a reliable one recoverable
    /// for the recovery window. Source: client-spec 1.4 and the official emulator.
    pub(crate) fn closed(&mut self, link_key: Key, code: Option<u16>, now: Time) {
        let Some(link) = self.links.remove(link_key) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(link.session) else {
            return;
        };
        if session.link != Some(link_key) {
            return;
        }
        session.link = None;
        if code == Some(close::NORMAL) || !session.subprotocol.is_reliable() {
            self.truth.sessions_ended_by_client += 1;
            self.remove_session(link.session);
            return;
        }
        self.truth.transports_dropped += 1;
        self.detach(link.session, now);
    }

    /// Starts the recovery window of a session that lost its transport.
    pub(crate) fn detach(&mut self, key: Key, now: Time) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.link = None;
        session.drops += 1;
        session.last_id_at_drop = session.last_id;
        let drop = session.drops;
        let at = now + self.settings.recovery_window;
        self.set_timer(at, Timer::Expire { session: key, drop });
    }

    /// The recovery window of the `drop`th drop is over.
    pub(crate) fn expire(&mut self, key: Key, drop: u32) {
        if self
            .sessions
            .get(key)
            .is_some_and(|session| session.link.is_none() && session.drops == drop)
        {
            self.truth.sessions_expired += 1;
            self.remove_session(key);
        }
    }

    /// The client broke the protocol: its session ends, not to be recovered.
    pub(crate) fn violated(&mut self, link: Key, code: u16, reason: &'static str) {
        if let Some(session) = self.links.get(link).map(|link| link.session)
            && self.remove_session(session)
        {
            self.truth.sessions_violated += 1;
        }
        self.end_link(link, End::Close { code, reason });
    }

    /// The peer was silent too long: its transport is cut, its session stays recoverable.
    pub(crate) fn ping_timeout(&mut self, link: Key, now: Time) {
        self.truth.ping_timeouts += 1;
        self.end_link(link, End::Reset);
        self.unlink(link, now);
    }

    /// Tells a live transport's session that the transport is as good as gone.
    fn unlink(&mut self, link_key: Key, now: Time) {
        let Some(key) = self.links.get(link_key).map(|link| link.session) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if session.link != Some(link_key) {
            return;
        }
        if session.subprotocol.is_reliable() {
            self.truth.transports_dropped += 1;
            self.detach(key, now);
        } else {
            self.truth.sessions_ended_by_client += 1;
            self.remove_session(key);
        }
    }

    /// Ends every session that a fan-out found too full.
    pub(crate) fn end_overflowed(&mut self) {
        while let Some(key) = self.overflowed.pop() {
            let Some(session) = self.sessions.get(key) else {
                continue;
            };
            let (link, reliable) = (session.link, session.subprotocol.is_reliable());
            self.remove_session(key);
            if reliable {
                self.truth.sessions_overflowed += 1;
                // Assumed: the service's close code on overflow is not documented.
                let end = End::Close {
                    code: close::POLICY,
                    reason: "too many unacknowledged messages",
                };
                link.into_iter()
                    .for_each(|link| self.end_link(link, end.clone()));
            } else {
                self.truth.sessions_slow += 1;
                link.into_iter()
                    .for_each(|link| self.end_link(link, End::Reset));
            }
        }
    }

    /// Removes a session from every table; its transport, if any, is left to the caller.
    /// Whether there was such a session.
    pub(crate) fn remove_session(&mut self, key: Key) -> bool {
        while let Some(membership) = self
            .sessions
            .get(key)
            .and_then(|session| session.groups.last().copied())
        {
            self.groups.leave(&mut self.sessions, key, membership.group);
        }
        let Some(session) = self.sessions.remove(key) else {
            return false;
        };
        self.by_id.remove(&session.id);
        self.groups.leave_hub(session.hub);
        true
    }

    /// Throws all state away and resets every transport.
    pub(crate) fn restart(&mut self) {
        self.truth.restarts += 1;
        self.end_all(None, &End::Reset);
    }

    /// Ends everything in good order: each client is told, then closed with 1001.
    pub(crate) fn shut_down(&mut self) {
        let mut goodbye = Vec::new();
        json::encode_downstream(
            &Downstream::Disconnected {
                message: Some("the hub shuts down".into()),
            },
            &mut goodbye,
        );
        let end = End::Close {
            code: close::GOING_AWAY,
            reason: "the hub shuts down",
        };
        self.end_all(Some(&goodbye), &end);
    }

    fn end_all(&mut self, goodbye: Option<&[u8]>, end: &End) {
        let sessions: Vec<Key> = self.sessions.keys().collect();
        for key in sessions {
            self.remove_session(key);
            self.truth.sessions_killed += 1;
        }
        let links: Vec<Key> = self.links.keys().collect();
        for link in links {
            if let Some(goodbye) = goodbye {
                self.send(link, Out::Text(goodbye.into()));
            }
            self.end_link(link, end.clone());
        }
    }
}

/// A connectionId as clients see it: 32 hex digits.
pub(crate) fn connection_text(id: u128) -> String {
    format!("{id:032x}")
}
