//! How sessions begin and end; recoveries are in `recovery.rs`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;

use super::acks::AckMemory;
use super::arena::Key;
use super::cookies::Remembered;
use super::message::{Dialect, Encoding};
use super::outbox::{End, Out};
use super::permissions::Permissions;
use super::state::{Core, Session, Timer};
use crate::base::Time;
use crate::wire::{Connected, Downstream, close, codec, json, protobuf};

/// Who connects, as the shell found out from the request.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The hub's name; case does not matter.
    pub(crate) hub: String,
    pub(crate) user: Option<String>,
    pub(crate) permissions: Permissions,
    /// What the connect handler wants to be reminded of.
    pub(crate) remembered: Remembered,
    /// Groups to join at once; names already checked with [`is_group_name`].
    pub(crate) groups: Vec<String>,
    /// How long each reconnection token is valid.
    pub(crate) token_lifetime: Duration,
}

/// Group names have 1 to 1024 characters and are not only white space.
pub(crate) fn is_group_name(name: &str) -> bool {
    !name.trim().is_empty() && (name.len() <= 1024 || name.chars().count() <= 1024)
}

impl Core {
    /// Opens a session under a new id.
    #[cfg(test)]
    pub(crate) fn open(
        &mut self,
        identity: Identity,
        dialect: impl Into<Dialect>,
        now: Time,
    ) -> Key {
        let id = self.new_id();
        self.open_as(id, identity, dialect.into(), now)
    }

    /// The id of a connection that may be opened later.
    pub(crate) fn new_id(&mut self) -> u128 {
        self.ids.random()
    }

    /// Opens a new session, whose id was given out by [`Core::new_id`], on a new transport.
    /// Its first frame is `connected`.
    pub(crate) fn open_as(
        &mut self,
        id: u128,
        identity: Identity,
        dialect: Dialect,
        now: Time,
    ) -> Key {
        self.now = now;
        self.truth.connections_accepted += 1;
        let hub = self.groups.enter_hub(&identity.hub);
        let encoding = dialect.encoding();
        let key = self.sessions.insert(Session {
            id,
            hub,
            user: identity.user.map(Rc::from),
            permissions: Rc::new(identity.permissions),
            dialect,
            groups: Vec::new(),
            link: None,
            last_id: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acks: AckMemory::default(),
            drops: 0,
            last_id_at_drop: 0,
            fault_state: None,
            handled: None,
            streams: Vec::new(),
            streams_idle_at: Time::MAX,
            token_lifetime_s: identity.token_lifetime.as_secs() as u32,
            token_refresh_at: Time::MAX,
        });
        self.by_id.insert(id, key);
        let link = self.attach(key, encoding);
        if let Some(session) = self.sessions.get_mut(key) {
            session.link = Some(link);
        }
        self.send_connected(key, link, id, now);
        self.tell_connected(key, identity.remembered);
        for group in &identity.groups {
            self.join(key, group);
        }
        link
    }

    /// Queues a `connected` frame naming `id`, with a fresh token on reliable subprotocols.
    pub(crate) fn send_connected(&mut self, session: Key, link: Key, id: u128, now: Time) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        // Simple clients are told nothing.
        let Some(subprotocol) = session.dialect.subprotocol() else {
            return;
        };
        let token = subprotocol.is_reliable().then(|| {
            let lifetime = Duration::from_secs(session.token_lifetime_s.into());
            session.token_refresh_at = now + lifetime / 2;
            self.tokens.issue(session.id, now + lifetime).into()
        });
        let mut bytes = Vec::with_capacity(224);
        codec::encode_downstream(
            subprotocol,
            &Downstream::Connected(Connected {
                connection_id: connection_text(id).into(),
                // Always written, as the official emulator does: empty without a user.
                user_id: Some(session.user.as_deref().unwrap_or_default().into()),
                reconnection_token: token,
            }),
            &mut bytes,
        );
        let frame = Out::Frame {
            binary: subprotocol.is_binary(),
            bytes: bytes.into(),
        };
        self.send(link, frame);
    }

    /// Queues a WebSocket ping, behind a fresh reconnection token when half of the last
    /// one's lifetime is over. Source: client-spec 1.2.4; the service's interval is not
    /// documented.
    pub(crate) fn ping(&mut self, link: Key, now: Time) {
        let due = self.links.get(link).and_then(|link| {
            let session = self.sessions.get(link.session)?;
            (session.token_refresh_at <= now).then_some((link.session, session.id))
        });
        if let Some((session, id)) = due {
            self.truth.tokens_refreshed += 1;
            self.send_connected(session, link, id, now);
        }
        self.send(link, Out::WebSocketPing);
    }

    /// Makes a session a member of a group.
    pub(crate) fn join(&mut self, key: Key, group: &str) {
        if let Some(session) = self.sessions.get_mut(key)
            && self.groups.join(key, session, group)
        {
            self.tell_joined(key, group);
        }
    }

    /// Ends a session's membership in a group.
    pub(crate) fn leave(&mut self, key: Key, group: Key) {
        let name = self.groups.name(group).cloned();
        if self.groups.leave(&mut self.sessions, key, group)
            && let Some(name) = name
        {
            self.tell_left(key, &name);
        }
    }

    /// A transport is gone. `code` is that of the client's close frame, if one came.
    ///
    /// A client's 1000 ends the session; anything else leaves a reliable one recoverable
    /// for the recovery window. Source: client-spec 1.4 and the official emulator.
    pub(crate) fn closed(&mut self, link_key: Key, code: Option<u16>, now: Time) {
        self.now = now;
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
        if code == Some(close::NORMAL) || !session.dialect.is_reliable() {
            self.truth.sessions_ended_by_client += 1;
            self.remove_session(link.session, "");
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
            self.remove_session(key, "the connection was lost and not recovered");
        }
    }

    /// The client broke the protocol: its session ends, not to be recovered.
    pub(crate) fn violated(&mut self, link: Key, code: u16, reason: &'static str) {
        if let Some(session) = self.links.get(link).map(|link| link.session)
            && self.remove_session(session, reason)
        {
            self.truth.sessions_violated += 1;
        }
        let reason = reason.into();
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
        if session.dialect.is_reliable() {
            self.truth.transports_dropped += 1;
            self.detach(key, now);
        } else {
            self.truth.sessions_ended_by_client += 1;
            self.remove_session(key, "the connection was lost");
        }
    }

    /// Ends every session that a fan-out found too full.
    pub(crate) fn end_overflowed(&mut self) {
        self.end_doomed();
        while let Some(key) = self.overflowed.pop() {
            let Some(session) = self.sessions.get(key) else {
                continue;
            };
            let (link, reliable) = (session.link, session.dialect.is_reliable());
            self.remove_session(key, "the client was too slow");
            if reliable {
                self.truth.sessions_overflowed += 1;
                // Assumed: the service's close code on overflow is not documented.
                let end = End::Close {
                    code: close::POLICY,
                    reason: "too many unacknowledged messages".into(),
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

    /// Removes a session from every table, for `reason`; its transport, if any, is left to the caller.
    /// Whether there was such a session.
    pub(crate) fn remove_session(&mut self, key: Key, reason: &str) -> bool {
        self.cancel_streams(key);
        self.tell_left_all(key);
        self.tell_disconnected(key, reason);
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

    /// Tells a client why its connection is about to be closed.
    pub(crate) fn send_disconnected(&mut self, link: Key, why: &str) {
        let frame = Downstream::Disconnected {
            message: Some(why.into()),
        };
        self.send_frame(link, &frame);
    }

    /// Queues any frame but data in the transport's encoding; simple clients get none.
    pub(super) fn send_frame(&mut self, link: Key, frame: &Downstream<'_>) {
        let mut bytes = Vec::new();
        let binary = match self.links.get(link).map(|link| link.outbox.encoding()) {
            Some(Encoding::Json) => {
                json::encode_downstream(frame, &mut bytes);
                false
            }
            Some(Encoding::Protobuf) => {
                protobuf::encode_downstream(frame, &mut bytes);
                true
            }
            Some(Encoding::Raw) | None => return,
        };
        let bytes = bytes.into();
        self.send(link, Out::Frame { binary, bytes });
    }

    /// Ends everything in good order: each client is told, then closed with 1001.
    pub(crate) fn shut_down(&mut self) {
        let end = End::Close {
            code: close::GOING_AWAY,
            reason: "the hub shuts down".into(),
        };
        self.end_all(Some("the hub shuts down"), &end);
    }

    fn end_all(&mut self, goodbye: Option<&str>, end: &End) {
        let sessions: Vec<Key> = self.sessions.keys().collect();
        for key in sessions {
            self.remove_session(key, goodbye.unwrap_or("the hub restarts"));
            self.truth.sessions_killed += 1;
        }
        let links: Vec<Key> = self.links.keys().collect();
        for link in links {
            if let Some(goodbye) = goodbye {
                self.send_disconnected(link, goodbye);
            }
            self.end_link(link, end.clone());
        }
    }
}

/// A connectionId as clients see it: 32 hex digits.
pub(crate) fn connection_text(id: u128) -> String {
    format!("{id:032x}")
}
