//! What the program behind a client asks for, by chance or by script, and what it sees.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;

use super::net::{CLIENTS, What, World};
use crate::base::{Cause, Time};
use crate::protocol::{
    Control, Event, Operation, Outcome, Received, RequestOptions, Session, Transmit,
};
use crate::wire::{Data, Downstream, Upstream};

pub(super) const GROUPS: [&str; 2] = ["a", "b"];
/// A group that nobody may publish to.
pub(super) const CLOSED: &str = "closed";
/// The requests of one script, and how far apart they are.
const STEPS: u32 = 8;
const STEP: Duration = Duration::from_millis(350);

/// What one client's application saw and asked.
#[derive(Default)]
pub(super) struct App {
    /// By connection: payloads with their sequence ids, in order.
    pub(super) heard: Vec<Vec<(u64, String)>>,
    /// Outcome of each publish by its number.
    pub(super) outcomes: BTreeMap<u32, Vec<Outcome>>,
    pub(super) published: u32,
    pub(super) recovered: u32,
    pub(super) lost: u32,
    pub(super) resent: u32,
    pub(super) refused: u32,
    /// The groups were joined, or the session remembers them.
    has_groups: bool,
}

impl App {
    pub(super) fn event(&mut self, event: Event<u32>) {
        match event {
            Event::Connected { .. } => self.heard.push(Vec::new()),
            Event::RecoveryConfirmed => self.recovered += 1,
            Event::RecoveryFailed(_) | Event::NotRecoverable(_) => self.lost += 1,
            Event::Settled(settled) => {
                if let Operation::Send { content, .. } = settled.operation {
                    let outcomes = self.outcomes.entry(content).or_default();
                    outcomes.push(settled.outcome);
                }
            }
            Event::Answered { answer, .. } => {
                self.refused += u32::from(answer == crate::protocol::Answer::Forbidden);
            }
            _ => {}
        }
    }
}

impl World {
    /// Something by chance.
    pub(super) fn act(&mut self, client: usize) {
        let group = GROUPS[self.rng.random_range(0..GROUPS.len())];
        match self.rng.random_range(0..12) {
            0 => self.ask(client, Operation::Join(group.into()), true),
            1 => self.ask(client, Operation::Leave(group.into()), true),
            2 => self.publish(client, CLOSED, true),
            3 => self.publish(client, group, false),
            _ => self.publish(client, group, true),
        }
    }

    /// The script: the same for every client and every place of a cut.
    pub(super) fn step(&mut self, client: usize, step: u32) {
        match step {
            2 => self.ask(client, Operation::Leave(GROUPS[1].into()), true),
            4 => self.ask(client, Operation::Join(GROUPS[1].into()), true),
            6 => self.publish(client, GROUPS[0], false),
            step => self.publish(client, GROUPS[step as usize % 2], true),
        }
    }

    /// Plans the script; says when it is over.
    pub(super) fn plan_script(&mut self) -> Time {
        let start = Time::from_secs(2);
        for step in 0..STEPS {
            for client in 0..CLIENTS {
                self.at(start + STEP * step, What::Step { client, step });
            }
        }
        start + STEP * STEPS
    }

    fn publish(&mut self, client: usize, group: &str, acked: bool) {
        let operation = Operation::Send {
            group: group.into(),
            no_echo: false,
            content: self.clients[client].app.published + 1,
        };
        self.ask(client, operation, acked);
    }

    fn ask(&mut self, client: usize, operation: Operation<u32>, acked: bool) {
        let publishes = matches!(operation, Operation::Send { .. });
        let options = match acked {
            true => RequestOptions::ACKED,
            false => RequestOptions::UNACKED,
        };
        let now = self.now;
        let client_ = &mut self.clients[client];
        // Refused while the client is stopped: then nothing was asked.
        let taken = client_.session.request_with(now, operation, options);
        client_.app.published += u32::from(taken.is_ok() && publishes);
        self.settle(client);
    }

    /// A frame is read: the session first, then the program.
    pub(super) fn hear(&mut self, client: usize, frame: Downstream<'_>) {
        let now = self.now;
        let client_ = &mut self.clients[client];
        let received = client_.session.handle_frame(now, frame);
        let mut up = false;
        while let Some(event) = client_.session.poll_event() {
            up |= matches!(event, Event::Connected { .. });
            client_.app.event(event);
        }
        if let Received::Data {
            message,
            fresh: true,
        } = received
        {
            let payload = String::from_utf8(message.data.as_bytes().to_vec()).unwrap();
            let heard = client_.app.heard.last_mut().unwrap();
            // Unreliable connections do not number: nothing can be known to be missing.
            let id = message
                .sequence_id
                .map_or(heard.len() as u64 + 1, |id| id.0);
            heard.push((id, payload));
        }
        if up && !client_.app.has_groups {
            join_all(&mut client_.session, now);
            // One that forgets them when it is stopped is told again.
            client_.app.has_groups = client_.behaviour != crate::protocol::Behaviour::Java;
        }
    }
}

fn join_all(session: &mut Session<u32>, now: Time) {
    for group in GROUPS {
        session
            .request(now, Operation::Join(group.into()), true)
            .unwrap();
    }
}

/// A payload names its publisher, its number there, the publisher's connection and the
/// ackId: what the hub may execute only once.
pub(super) fn frame(
    client: usize,
    app: &mut App,
    transmit: Transmit<'_, u32>,
) -> Upstream<'static> {
    let (operation, transmission) = match transmit {
        Transmit::Control(Control::Ping) => return Upstream::Ping,
        Transmit::Newer(_) => unreachable!("no streams in this world"),
        Transmit::Control(Control::SequenceAck(sequence_id)) => {
            return Upstream::SequenceAck { sequence_id };
        }
        Transmit::Request {
            operation,
            transmission,
        } => (operation, transmission),
    };
    let ack_id = transmission.ack_id;
    match operation {
        Operation::Join(group) => Upstream::JoinGroup {
            group: group.to_string().into(),
            ack_id,
        },
        Operation::Leave(group) => Upstream::LeaveGroup {
            group: group.to_string().into(),
            ack_id,
        },
        Operation::Send { group, content, .. } => {
            app.resent += u32::from(transmission.cause != Cause::First);
            let id = ack_id.map_or("none".to_owned(), |id| id.0.to_string());
            let text = format!("{client}-{content}-{}-{id}", transmission.epoch);
            Upstream::SendToGroup {
                group: group.to_string().into(),
                ack_id,
                no_echo: false,
                data: Data::Text(text.into()),
            }
        }
        Operation::Event { .. } => unreachable!("no events in this world"),
    }
}
