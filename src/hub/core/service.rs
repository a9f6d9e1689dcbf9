//! What the service API does to sessions and groups. Source: data-plane REST description.

use super::arena::Key;
use super::outbox::End;
use super::permissions::Action;
use super::publish::{Publication, expiry};
use super::sessions::connection_text;
use super::state::Core;
use crate::base::Time;
use crate::hub::filter::{Facts, Filter};
use crate::wire::{Data, close};

/// Whom an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target<'a> {
    All,
    Group(&'a str),
    User(&'a str),
    Connection(&'a str),
}

/// Which of the target's connections are meant.
#[derive(Default)]
pub(crate) struct Choice<'a> {
    pub(crate) excluded: &'a [String],
    pub(crate) filter: Option<&'a Filter>,
}

/// One line of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) connection: String,
    pub(crate) user: Option<String>,
}

impl Core {
    /// The session with this connectionId, in this hub.
    fn find_connection(&self, hub: Key, connection: &str) -> Option<Key> {
        let id = (connection.len() == 32)
            .then(|| u128::from_str_radix(connection, 16).ok())
            .flatten()?;
        let key = *self.by_id.get(&id)?;
        (self.sessions.get(key)?.hub == hub).then_some(key)
    }

    fn of_hub(&self, hub: Key) -> impl Iterator<Item = Key> {
        self.sessions.keys().filter(move |&key| {
            self.sessions
                .get(key)
                .is_some_and(|session| session.hub == hub)
        })
    }

    fn target(&self, hub: Key, target: Target<'_>) -> Vec<Key> {
        match target {
            Target::All => self.of_hub(hub).collect(),
            Target::Group(group) => self
                .groups
                .find(hub, group)
                .map(|group| self.groups.members(group).to_vec())
                .unwrap_or_default(),
            Target::User(user) => self
                .of_hub(hub)
                .filter(|&key| {
                    self.sessions
                        .get(key)
                        .is_some_and(|session| session.user.as_deref() == Some(user))
                })
                .collect(),
            Target::Connection(connection) => {
                self.find_connection(hub, connection).into_iter().collect()
            }
        }
    }

    fn chosen(&self, hub: Key, target: Target<'_>, choice: &Choice<'_>) -> Vec<Key> {
        let mut keys = self.target(hub, target);
        if choice.excluded.is_empty() && choice.filter.is_none() {
            return keys;
        }
        keys.retain(|&key| self.is_chosen(key, choice));
        keys
    }

    fn is_chosen(&self, key: Key, choice: &Choice<'_>) -> bool {
        let Some(session) = self.sessions.get(key) else {
            return false;
        };
        let connection = connection_text(session.id);
        if choice.excluded.contains(&connection) {
            return false;
        }
        let Some(filter) = choice.filter else {
            return true;
        };
        let groups: Vec<&str> = session
            .groups
            .iter()
            .filter_map(|membership| self.groups.name(membership.group))
            .map(|name| &**name)
            .collect();
        filter.accepts(&Facts {
            user: session.user.as_deref(),
            connection: &connection,
            groups: &groups,
        })
    }

    /// Whether the target has a connection.
    pub(crate) fn exists(&self, hub: &str, target: Target<'_>) -> bool {
        self.groups
            .find_hub(hub)
            .is_some_and(|hub| !self.target(hub, target).is_empty())
    }

    /// Sends a message of the service; `ttl_seconds` 0: it does not expire.
    pub(crate) fn service_send(
        &mut self,
        hub: &str,
        target: Target<'_>,
        choice: &Choice<'_>,
        data: &Data<'_>,
        ttl_seconds: u16,
        now: Time,
    ) {
        self.now = now;
        self.truth.service_sends += 1;
        let Some(hub) = self.groups.find_hub(hub) else {
            // Nobody is there to get it, but it was taken: the group's account says so, as
            // for a group without members.
            if let Target::Group(group) = target {
                let account = self.truth.groups.place(&hub.to_ascii_lowercase(), group);
                self.truth.executed(account, true);
            }
            return;
        };
        let keys = self.chosen(hub, target, choice);
        let expires = expiry(ttl_seconds, now);
        let publication = Publication {
            expires,
            ..match target {
                Target::Group(group) => Publication::plain(hub, group, data, now),
                _ => Publication::of_server(hub, data, now),
            }
        };
        let mut message = publication.message(None);
        let before = self.truth.queued();
        self.fan_out(&publication, None, &keys, &mut message);
        if let Target::Group(_) = target {
            let account = self.account_of(&publication, self.group_of(&publication));
            self.truth.executed(account, true);
            self.truth.book(account, before);
        }
        self.end_overflowed();
    }

    /// Closes connections for good: each is told why, then closed with 1000.
    pub(crate) fn service_close(
        &mut self,
        hub: &str,
        target: Target<'_>,
        choice: &Choice<'_>,
        reason: &str,
        now: Time,
    ) {
        self.now = now;
        let Some(hub) = self.groups.find_hub(hub) else {
            return;
        };
        for key in self.chosen(hub, target, choice) {
            let link = self.sessions.get(key).and_then(|session| session.link);
            if self.remove_session(key, reason) {
                self.truth.sessions_closed_by_service += 1;
            }
            if let Some(link) = link {
                self.send_disconnected(link, reason);
                let end = End::Close {
                    code: close::NORMAL,
                    reason: reason.to_owned().into(),
                };
                self.end_link(link, end);
            }
        }
    }

    /// Adds the target's connections to groups; whether there were any.
    pub(crate) fn service_join(
        &mut self,
        hub: &str,
        target: Target<'_>,
        choice: &Choice<'_>,
        groups: &[String],
    ) -> bool {
        let Some(hub) = self.groups.find_hub(hub) else {
            return false;
        };
        let keys = self.chosen(hub, target, choice);
        for &key in &keys {
            for group in groups {
                self.join(key, group);
            }
        }
        !keys.is_empty()
    }

    /// Takes the target's connections out of these groups; of all with `None`.
    pub(crate) fn service_leave(
        &mut self,
        hub: &str,
        target: Target<'_>,
        choice: &Choice<'_>,
        groups: Option<&[String]>,
    ) {
        let Some(hub) = self.groups.find_hub(hub) else {
            return;
        };
        for key in self.chosen(hub, target, choice) {
            let keys: Vec<Key> = match groups {
                Some(groups) => groups
                    .iter()
                    .filter_map(|group| self.groups.find(hub, group))
                    .collect(),
                None => self
                    .sessions
                    .get(key)
                    .map(|session| session.groups.iter().map(|m| m.group).collect())
                    .unwrap_or_default(),
            };
            for group in keys {
                self.leave(key, group);
            }
        }
    }

    /// Grants a connection an action, for one group or all; whether there is such a one.
    pub(crate) fn grant(
        &mut self,
        hub: &str,
        connection: &str,
        action: Action,
        group: Option<&str>,
        allowed: bool,
    ) -> bool {
        let Some(session) = self
            .groups
            .find_hub(hub)
            .and_then(|hub| self.find_connection(hub, connection))
            .and_then(|key| self.sessions.get_mut(key))
        else {
            return false;
        };
        let permissions = std::rc::Rc::make_mut(&mut session.permissions);
        if allowed {
            permissions.grant(action, group);
        } else {
            permissions.revoke(action, group);
        }
        true
    }

    /// Whether a connection was granted an action, for one group or all.
    pub(crate) fn is_granted(
        &self,
        hub: &str,
        connection: &str,
        action: Action,
        group: Option<&str>,
    ) -> bool {
        self.groups
            .find_hub(hub)
            .and_then(|hub| self.find_connection(hub, connection))
            .and_then(|key| self.sessions.get(key))
            .is_some_and(|session| session.permissions.is_granted(action, group))
    }

    /// The connections of a group in the order of their ids, those after `after`, at most
    /// `limit`; and whether there are more.
    pub(crate) fn list_group(
        &self,
        hub: &str,
        group: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Listed>, bool) {
        let Some(hub) = self.groups.find_hub(hub) else {
            return (Vec::new(), false);
        };
        let mut listed: Vec<Listed> = self
            .target(hub, Target::Group(group))
            .into_iter()
            .filter_map(|key| self.sessions.get(key))
            .map(|session| Listed {
                connection: connection_text(session.id),
                user: session.user.as_deref().map(str::to_owned),
            })
            .filter(|listed| after.is_none_or(|after| listed.connection.as_str() > after))
            .collect();
        listed.sort_by(|a, b| a.connection.cmp(&b.connection));
        let more = listed.len() > limit;
        listed.truncate(limit);
        (listed, more)
    }
}
