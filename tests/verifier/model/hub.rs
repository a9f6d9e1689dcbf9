//! The hub of the model, honest unless its fault says otherwise: sessions, recoveries, who
//! gets what.

use super::*;

impl Model {
    pub(super) fn connect(&mut self, slot: u32) {
        let session = self.sessions.len();
        let node = self.rng.random_range(0..self.config.nodes);
        self.sessions.push(Session {
            slot,
            node,
            transport: None,
            detached: 0,
            dead: false,
            groups: BTreeMap::new(),
            left: BTreeSet::new(),
            next_id: 0,
            queue: VecDeque::new(),
            done: HashSet::new(),
            held: None,
            frozen: false,
            last: None,
        });
        self.clients[slot as usize].session = Some(session);
        let at = self.open(slot, session);
        self.down(at, Down::Connected);
    }

    pub(super) fn open(&mut self, slot: u32, session: usize) -> usize {
        self.transports.push(Transport {
            slot,
            session,
            hub_open: true,
            client_open: true,
            up: self.now,
            down: self.now,
        });
        let at = self.transports.len() - 1;
        self.sessions[session].transport = Some(at);
        at
    }

    pub(super) fn recover(&mut self, slot: u32) {
        let session = self.clients[slot as usize].session.unwrap();
        self.expire(session);
        if self.sessions[session].dead {
            return self.after(5 * MS, Event::Refused(slot));
        }
        if let Some(old) = self.sessions[session].transport.take() {
            self.transports[old].hub_open = false;
        }
        let at = self.open(slot, session);
        self.down(at, Down::Opened);
        let mut replay: Vec<_> = self.sessions[session].queue.iter().copied().collect();
        let unseen = |id: u64, model: &Model| id > model.clients[slot as usize].max;
        if replay.last().is_some_and(|(id, _)| unseen(*id, self))
            && self.lie(Fault::OmitReplay, 0.7)
        {
            replay.pop();
            self.sessions[session].queue.pop_back();
        }
        for (id, identity) in replay {
            self.down(at, Down::Data(id, identity));
        }
    }

    pub(super) fn notice(&mut self, at: usize) {
        self.transports[at].hub_open = false;
        let session = self.transports[at].session;
        let reliable = self.tap.plan.slots[self.transports[at].slot as usize].reliable;
        let now = self.now;
        let session = &mut self.sessions[session];
        if session.transport == Some(at) {
            session.transport = None;
            session.detached = now;
            session.dead |= !reliable;
        }
    }

    pub(super) fn expire(&mut self, session: usize) {
        let now = self.now;
        let session = &mut self.sessions[session];
        if session.transport.is_none() && now >= session.detached + WINDOW {
            session.dead = true;
        }
    }

    pub(super) fn at_hub(&mut self, at: usize, frame: Up) {
        let session = self.transports[at].session;
        if self.sessions[session].dead {
            return;
        }
        let open = self.transports[at].hub_open;
        match frame {
            // A frame already read from a dead transport may still be executed.
            Up::Publish(identity, ack_id) if open || self.chance(0.3) => {
                self.execute(at, session, identity, ack_id);
            }
            Up::Join(group, ack) if open => {
                let success = !self.chance(0.05);
                if success {
                    let now = self.now;
                    let session = &mut self.sessions[session];
                    session.groups.entry(group).or_insert(now);
                    session.left.remove(&group);
                }
                if !self.lie(Fault::LoseAck, 0.05) {
                    self.down(at, Down::Joined(group, ack, success));
                }
            }
            Up::Leave(group, ack) if open => {
                self.sessions[session].groups.remove(&group);
                self.sessions[session].left.insert(group);
                self.down(at, Down::Left(group, ack));
            }
            Up::SequenceAck(id) if open => {
                let queue = &mut self.sessions[session].queue;
                while queue.front().is_some_and(|(first, _)| *first <= id) {
                    queue.pop_front();
                }
            }
            _ => {}
        }
    }

    pub(super) fn execute(
        &mut self,
        at: usize,
        session: usize,
        identity: Identity,
        ack_id: Option<AckId>,
    ) {
        let stream = identity.stream();
        let answer = |ack_id, answer| Down::Answer(stream, identity.seq, ack_id, answer);
        if let Some(ack_id) = ack_id {
            if self.sessions[session].done.contains(&ack_id) && !self.lie(Fault::ForgetAckIds, 0.5)
            {
                return self.down(at, answer(ack_id, Answer::Duplicate));
            }
            if self.chance(0.01) {
                if self.lie(Fault::Forbidden, 0.5) {
                    self.spread_out(session, identity);
                }
                return self.down(at, answer(ack_id, Answer::Forbidden));
            }
            if self.config.errors && self.chance(0.04) {
                if self.chance(0.5) {
                    self.spread_out(session, identity);
                }
                return self.down(at, answer(ack_id, Answer::Error));
            }
            self.sessions[session].done.insert(ack_id);
            let lied = self.lie(Fault::Lie, 0.02);
            let silent = self.lie(Fault::LoseAck, 0.05);
            // Several nodes: the ack goes out first.
            if self.config.nodes > 1 && !silent {
                self.down(at, answer(ack_id, Answer::Success));
            }
            if !lied {
                self.spread_out(session, identity);
            }
            if self.config.nodes == 1 && !silent {
                self.down(at, answer(ack_id, Answer::Success));
            }
        } else {
            self.spread_out(session, identity);
        }
    }

    pub(super) fn spread_out(&mut self, from: usize, identity: Identity) {
        let now = self.now;
        if self.config.nodes == 1 {
            return self.fan_out(from, 0, now, identity);
        }
        let here = self.sessions[from].node;
        for node in 0..self.config.nodes {
            let delay = match node == here {
                true => 100,
                false => self.rng.random_range(100..600 * MS),
            };
            let link = self.links.entry((here, node)).or_insert(0);
            *link = (*link + 1).max(now + delay);
            let when = *link;
            self.at(when, Event::FanOut(from, node, now, identity));
        }
    }

    pub(super) fn fan_out(&mut self, from: usize, node: usize, sent: u64, identity: Identity) {
        for session in 0..self.sessions.len() {
            self.expire(session);
            let s = &self.sessions[session];
            if s.dead || s.node != node {
                continue;
            }
            let spared = identity.no_echo && session == from && !self.lie(Fault::Echo, 0.05);
            let s = &self.sessions[session];
            let since = s.groups.get(&identity.group).copied();
            // A node learns of another's members a little late.
            let foreign = self.config.nodes > 1 && self.sessions[from].node != node;
            let visible = since.is_some_and(|since| !foreign || since + 800 * MS <= sent);
            let left = s.left.contains(&identity.group);
            let outside = since.is_none() && !left && s.transport.is_some();
            if (visible && !spared)
                || (left && self.lie(Fault::LateLeave, 0.2))
                || (outside && self.lie(Fault::Misdeliver, 0.01))
            {
                self.deliver(session, identity);
            }
        }
    }

    pub(super) fn deliver(&mut self, session: usize, identity: Identity) {
        if self.lie(Fault::Withhold, 0.003) {
            return;
        }
        // From now on nothing more comes on this connection, whatever it is owed.
        if self.sessions[session].frozen || self.lie(Fault::Freeze, 0.003) {
            self.sessions[session].frozen = true;
            return;
        }
        if self.sessions[session].held.is_none() && self.lie(Fault::Swap, 0.01) {
            self.sessions[session].held = Some(identity);
            return;
        }
        // Long enough for its publisher to come back over a new transport, and again.
        if self.lie(Fault::Delay, 0.02) {
            let wait = self.rng.random_range(50 * MS..1500 * MS);
            return self.after(wait, Event::Late(session, identity));
        }
        self.number(session, identity);
        if self.lie(Fault::Double, 0.005) {
            self.number(session, identity);
        }
        if let Some(held) = self.sessions[session].held.take() {
            self.number(session, held);
        }
    }

    /// What was held back goes out, if its receiver is still a member.
    pub(super) fn late(&mut self, session: usize, identity: Identity) {
        self.expire(session);
        let to = &self.sessions[session];
        if !to.dead && !to.frozen && to.groups.contains_key(&identity.group) {
            self.number(session, identity);
        }
    }

    pub(super) fn number(&mut self, session: usize, identity: Identity) {
        let slot = self.sessions[session].slot;
        let reliable = self.tap.plan.slots[slot as usize].reliable;
        let skip = reliable && self.lie(Fault::SkipId, 0.003);
        let withhold = reliable && self.lie(Fault::WithholdNumbered, 0.003);
        let repeat = reliable && self.lie(Fault::RepeatId, 0.003);
        let s = &mut self.sessions[session];
        s.next_id += 1 + u64::from(skip);
        if withhold {
            return;
        }
        let id = if reliable { s.next_id } else { 0 };
        if reliable {
            s.queue.push_back((id, identity));
        }
        s.last = Some((id, identity));
        let Some(at) = s.transport else {
            return;
        };
        self.down(at, Down::Data(id, identity));
        if repeat {
            self.down(at, Down::Data(id, identity));
        }
    }
}
