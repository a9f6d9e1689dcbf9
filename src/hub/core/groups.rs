//! Hubs and their groups: who is a member of what. Groups need no creation and vanish
//! with their last member; names are case-sensitive.

use std::collections::HashMap;
use std::rc::Rc;

use super::arena::{Arena, Key};
use super::state::Session;

/// A hub name's state: its groups, and how many sessions it has.
struct HubState {
    name: Rc<str>,
    groups: HashMap<Rc<str>, Key>,
    sessions: usize,
}

/// A group's members, in no particular order.
struct Group {
    name: Rc<str>,
    hub: Key,
    members: Vec<Key>,
    /// The place of its account in the truth, once something was published to it.
    account: Option<usize>,
}

/// One session's place in one group.
#[derive(Clone, Copy)]
pub(crate) struct Membership {
    pub(crate) group: Key,
    position: u32,
}

/// All hubs and groups.
pub(crate) struct Groups {
    hubs: Arena<HubState>,
    names: HashMap<Rc<str>, Key>,
    groups: Arena<Group>,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Groups {
            hubs: Arena::new(),
            names: HashMap::new(),
            groups: Arena::new(),
        }
    }

    /// The hub with this name (any case), with one session more.
    pub(crate) fn enter_hub(&mut self, name: &str) -> Key {
        let name = name.to_ascii_lowercase();
        let hub = match self.names.get(name.as_str()) {
            Some(&hub) => hub,
            None => {
                let name: Rc<str> = name.into();
                let hub = self.hubs.insert(HubState {
                    name: name.clone(),
                    groups: HashMap::new(),
                    sessions: 0,
                });
                self.names.insert(name, hub);
                hub
            }
        };
        if let Some(state) = self.hubs.get_mut(hub) {
            state.sessions += 1;
        }
        hub
    }

    /// The hub with this name (any case), if it has a session.
    pub(crate) fn find_hub(&self, name: &str) -> Option<Key> {
        self.names.get(name.to_ascii_lowercase().as_str()).copied()
    }

    /// The hub's name, in lower case; empty when it is gone.
    pub(crate) fn hub_name(&self, hub: Key) -> Rc<str> {
        self.hubs
            .get(hub)
            .map_or_else(|| "".into(), |hub| hub.name.clone())
    }

    /// The group's name.
    pub(crate) fn name(&self, group: Key) -> Option<&Rc<str>> {
        self.groups.get(group).map(|group| &group.name)
    }

    /// The members of a group.
    pub(crate) fn members(&self, group: Key) -> &[Key] {
        self.groups.get(group).map_or(&[], |group| &group.members)
    }

    /// Groups that exist, of all hubs.
    pub(crate) fn count(&self) -> usize {
        self.groups.len()
    }

    /// Every group: its hub's name, its own, and its members.
    pub(crate) fn list(&self) -> impl Iterator<Item = (Rc<str>, &Rc<str>, &[Key])> {
        self.groups.keys().filter_map(|key| {
            let group = self.groups.get(key)?;
            Some((self.hub_name(group.hub), &group.name, &group.members[..]))
        })
    }

    /// One session of `hub` less; a hub without sessions (so without groups) is forgotten.
    pub(crate) fn leave_hub(&mut self, hub: Key) {
        let Some(state) = self.hubs.get_mut(hub) else {
            return;
        };
        state.sessions -= 1;
        if state.sessions == 0
            && let Some(state) = self.hubs.remove(hub)
        {
            self.names.remove(&state.name);
        }
    }

    /// The group, if it has a member.
    pub(crate) fn find(&self, hub: Key, name: &str) -> Option<Key> {
        self.hubs.get(hub)?.groups.get(name).copied()
    }

    /// Makes `key` a member; nothing happens, and `false` comes back, when it is one.
    pub(crate) fn join(&mut self, key: Key, session: &mut Session, name: &str) -> bool {
        let group = match self.find(session.hub, name) {
            Some(group) => group,
            None => {
                let Some(state) = self.hubs.get_mut(session.hub) else {
                    return false;
                };
                let name: Rc<str> = name.into();
                let group = self.groups.insert(Group {
                    name: name.clone(),
                    hub: session.hub,
                    members: Vec::new(),
                    account: None,
                });
                state.groups.insert(name, group);
                group
            }
        };
        if session
            .groups
            .iter()
            .any(|membership| membership.group == group)
        {
            return false;
        }
        if let Some(state) = self.groups.get_mut(group) {
            session.groups.push(Membership {
                group,
                position: state.members.len() as u32,
            });
            state.members.push(key);
        }
        true
    }

    /// Ends the membership of `key` in `group`; whether it was a member.
    pub(crate) fn leave(&mut self, sessions: &mut Arena<Session>, key: Key, group: Key) -> bool {
        let Some(session) = sessions.get_mut(key) else {
            return false;
        };
        let Some(at) = session.groups.iter().position(|m| m.group == group) else {
            return false;
        };
        let position = session.groups.swap_remove(at).position as usize;
        let Some(state) = self.groups.get_mut(group) else {
            return false;
        };
        state.members.swap_remove(position);
        if let Some(&moved) = state.members.get(position)
            && let Some(session) = sessions.get_mut(moved)
            && let Some(membership) = session.groups.iter_mut().find(|m| m.group == group)
        {
            membership.position = position as u32;
        }
        if state.members.is_empty()
            && let Some(state) = self.groups.remove(group)
            && let Some(hub) = self.hubs.get_mut(state.hub)
        {
            hub.groups.remove(&state.name);
        }
        true
    }

    /// The place of a group's account, if it is known.
    pub(crate) fn account(&self, group: Key) -> Option<usize> {
        self.groups.get(group)?.account
    }

    pub(crate) fn set_account(&mut self, group: Key, account: usize) {
        if let Some(group) = self.groups.get_mut(group) {
            group.account = Some(account);
        }
    }

    /// Takes the member list out for a fan-out; give it back with [`Groups::give_back`]
    /// before any membership changes.
    pub(crate) fn take_members(&mut self, group: Key) -> Vec<Key> {
        self.groups
            .get_mut(group)
            .map(|group| std::mem::take(&mut group.members))
            .unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, group: Key, members: Vec<Key>) {
        if let Some(group) = self.groups.get_mut(group) {
            debug_assert!(group.members.is_empty());
            group.members = members;
        }
    }
}
