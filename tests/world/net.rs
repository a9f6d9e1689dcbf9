//! Clients, hub, and the lines between them, moved by one queue of events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::base::{Cause, Seed, Time};
use crate::hub::EventHandler;
use crate::hub::core::{Core, End, Identity, Key, Permissions, Settings};
use crate::protocol::{
    Behaviour, Control, Dial, Event, Operation, Outcome, Output, Received, Session, SessionConfig,
    Transmit,
};
use crate::wire::close::{self, Close};
use crate::wire::{Data, Subprotocol, Upstream, json};

/// Clients whose lines fail.
pub(super) const CLIENTS: usize = 3;
/// One more whose line never fails: it sees what the hub executed.
pub(super) const WITNESS: usize = CLIENTS;
/// When trouble ends, and when the world does: enough for every wait in between.
const TROUBLE: Duration = Duration::from_secs(90);
const END: Duration = Duration::from_secs(300);
const GROUPS: [&str; 2] = ["a", "b"];
/// Events of one world; more means that something goes round in circles.
const EVENTS_MAX: usize = 200_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Dialled {
        client: usize,
        dial: u32,
    },
    Up {
        client: usize,
        line: u32,
        bytes: Vec<u8>,
    },
    Down {
        client: usize,
        line: u32,
        text: String,
    },
    DownEnd {
        client: usize,
        line: u32,
        code: Option<u16>,
    },
    Wake {
        client: usize,
    },
    HubWake,
    Act {
        client: usize,
    },
    Cut {
        client: usize,
    },
    Restart,
}

/// A transport: both ends, and when the last frame of each direction arrives.
struct Line {
    number: u32,
    link: Option<Key>,
    up_last: Time,
    down_last: Time,
}

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
}

pub(super) struct Client {
    pub(super) session: Session<u32>,
    pub(super) app: App,
    line: Option<Line>,
    dial: Option<(u32, Dial)>,
    /// No dial gets through until then.
    black: Time,
    numbers: u32,
    woken: Time,
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) clients: Vec<Client>,
    pub(super) restarts: bool,
    /// The clients notice silence by themselves.
    probes: bool,
    now: Time,
    rng: ChaCha8Rng,
    queue: BinaryHeap<Reverse<(Time, u64, What)>>,
    queued: u64,
    hub_woken: Time,
}

impl World {
    pub(super) fn new(seed: Seed, behaviour: Behaviour, restarts: bool) -> Self {
        let start = Time::from_secs(1);
        let config = |client| {
            let behaviour = if client == WITNESS {
                Behaviour::Spec
            } else {
                behaviour
            };
            let mut config = SessionConfig::of(behaviour, Subprotocol::JsonReliable);
            config.reconnect.retry_start = true;
            Arc::new(config)
        };
        let client = |index| Client {
            session: Session::new(config(index), Seed(index as u64)),
            app: App::default(),
            line: None,
            dial: None,
            black: Time::ZERO,
            numbers: 0,
            woken: Time::MAX,
        };
        World {
            core: Core::new(Settings {
                seed,
                id_seed: seed,
                faults: Vec::new(),
                recovery_window: Duration::from_secs(30),
                handler: EventHandler::Echo,
                upstream: None,
                access_key: None,
                start,
            }),
            clients: (0..=CLIENTS).map(client).collect(),
            restarts,
            probes: behaviour == Behaviour::Spec,
            now: start,
            rng: seed.stream("world", 0),
            queue: BinaryHeap::new(),
            queued: 0,
            hub_woken: Time::MAX,
        }
    }

    fn at(&mut self, time: Time, what: What) {
        self.queued += 1;
        self.queue.push(Reverse((time, self.queued, what)));
    }

    fn some_time(&mut self) -> Time {
        let micros = TROUBLE.as_micros() as u64;
        // The first second is for the witness to join.
        Time::from_secs(2) + Duration::from_micros(self.rng.random_range(0..micros))
    }

    /// How long one frame travels: mostly a moment, now and then seconds.
    fn travel(&mut self, client: usize) -> Duration {
        let slow = client != WITNESS && self.rng.random_range(0..40) == 0;
        let most = if slow { 6_000_000 } else { 40_000 };
        Duration::from_micros(self.rng.random_range(100..most))
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for client in 0..=CLIENTS {
            self.clients[client].session.start();
            self.settle(client);
        }
        for client in 0..CLIENTS {
            for _ in 0..self.rng.random_range(5..25) {
                let at = self.some_time();
                self.at(at, What::Act { client });
            }
            for _ in 0..self.rng.random_range(0..6) {
                let at = self.some_time();
                self.at(at, What::Cut { client });
            }
        }
        if self.restarts {
            let at = self.some_time();
            self.at(at, What::Restart);
        }
        for _ in 0..EVENTS_MAX {
            let Some(Reverse((time, _, what))) = self.queue.pop() else {
                return Err("nothing will ever happen again".into());
            };
            if time > Time::ZERO + END {
                return Ok(());
            }
            self.now = time;
            self.happen(what);
            self.check_exits()?;
        }
        Err(format!("{EVENTS_MAX} events and no end"))
    }

    /// No state without a timer or an input that leaves it.
    fn check_exits(&self) -> Result<(), String> {
        for (index, client) in self.clients.iter().enumerate() {
            let has_input = client.dial.is_some() || client.line.is_some();
            if !has_input && client.session.poll_timeout().is_none() {
                return Err(format!("client {index} is stuck: {:?}", client.session));
            }
        }
        Ok(())
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Act { client } => self.act(client),
            What::Cut { client } => self.cut(client),
            What::Restart => {
                self.core.restart();
                self.pump_hub();
            }
            What::HubWake => {
                self.hub_woken = Time::MAX;
                self.core.handle_timeout(self.now);
                self.pump_hub();
            }
            What::Wake { client } => {
                self.clients[client].woken = Time::MAX;
                self.clients[client].session.handle_timeout(self.now);
                self.settle(client);
            }
            What::Dialled { client, dial } => self.dialled(client, dial),
            What::Up {
                client,
                line,
                bytes,
            } => {
                if let Some(link) = self.link(client, line) {
                    let text = std::str::from_utf8(&bytes).unwrap();
                    let request = json::decode_request(text).unwrap();
                    self.core.frame(link, request, self.now);
                    self.pump_hub();
                }
            }
            What::Down { client, line, text } => {
                if self.is_line(client, line) {
                    self.hear(client, &text);
                    self.settle(client);
                }
            }
            What::DownEnd { client, line, code } => {
                if self.is_line(client, line) {
                    self.clients[client].line = None;
                    let close = Close {
                        code,
                        reason: String::new(),
                    };
                    self.clients[client].session.handle_closed(self.now, close);
                    self.settle(client);
                }
            }
        }
    }

    fn is_line(&self, client: usize, number: u32) -> bool {
        let line = self.clients[client].line.as_ref();
        line.is_some_and(|line| line.number == number)
    }

    fn link(&self, client: usize, number: u32) -> Option<Key> {
        let line = self.clients[client].line.as_ref()?;
        line.link.filter(|_| line.number == number)
    }

    // ---- what programs and the network do -----------------------------------------------

    fn act(&mut self, client: usize) {
        let group = GROUPS[self.rng.random_range(0..GROUPS.len())];
        let operation = match self.rng.random_range(0..10) {
            0 => Operation::Join(group.into()),
            1 => Operation::Leave(group.into()),
            _ => {
                let app = &mut self.clients[client].app;
                app.published += 1;
                Operation::Send {
                    group: group.into(),
                    no_echo: false,
                    content: app.published,
                }
            }
        };
        let now = self.now;
        // Far fewer than may be without an outcome are ever asked.
        let session = &mut self.clients[client].session;
        session.request(now, operation, true).unwrap();
        self.settle(client);
    }

    /// The line is gone with everything on it. Now and then the client does not hear of it:
    /// then its own watch has to tell it.
    fn cut(&mut self, client: usize) {
        if self.rng.random_range(0..3) == 0 {
            let black = self.rng.random_range(1..45);
            self.clients[client].black = self.now + Duration::from_secs(black);
        }
        let unheard = self.probes && self.rng.random_range(0..3) == 0;
        let Some(line) = &mut self.clients[client].line else {
            return;
        };
        let link = line.link.take();
        // What is under way belongs to another line now, and is lost.
        line.number += 1 << 20;
        if let Some(link) = link {
            if self.rng.random_range(0..2) == 0 {
                self.core.closed(link, None, self.now);
            } else {
                self.core.ping_timeout(link, self.now);
            }
            self.pump_hub();
        }
        if unheard {
            return;
        }
        self.clients[client].line = None;
        let session = &mut self.clients[client].session;
        session.handle_closed(self.now, Close::without_frame("cut"));
        self.settle(client);
    }

    fn dialled(&mut self, client: usize, number: u32) {
        let Some((_, dial)) = self.clients[client]
            .dial
            .take_if(|(current, _)| *current == number)
        else {
            return;
        };
        if self.clients[client].black > self.now {
            let session = &mut self.clients[client].session;
            session.handle_dial_failed(self.now, "black");
            return self.settle(client);
        }
        let now = self.now;
        let link = match &dial {
            Dial::New => {
                let identity = Identity {
                    hub: "chat".into(),
                    user: None,
                    permissions: Permissions::all(),
                    remembered: crate::hub::core::Remembered::default(),
                    groups: Vec::new(),
                    token_lifetime: Duration::from_secs(7 * 24 * 3600),
                };
                Some(self.core.open(identity, Subprotocol::JsonReliable, now))
            }
            Dial::Recover {
                connection_id,
                token,
            } => self.core.recover(connection_id, token, now).ok(),
        };
        self.clients[client].line = Some(Line {
            number,
            link,
            up_last: now,
            down_last: now,
        });
        self.clients[client].session.handle_opened(now);
        if link.is_none() {
            let at = now + self.travel(client);
            let code = Some(close::POLICY);
            self.at(
                at,
                What::DownEnd {
                    client,
                    line: number,
                    code,
                },
            );
        }
        self.pump_hub();
        self.settle(client);
    }

    // ---- the client's shell -------------------------------------------------------------

    fn hear(&mut self, client: usize, text: &str) {
        let now = self.now;
        let Client { session, app, .. } = &mut self.clients[client];
        let frame = json::decode_downstream(text).unwrap();
        let received = session.handle_frame(now, frame);
        let mut first = false;
        while let Some(event) = session.poll_event() {
            first |= matches!(event, Event::Connected { epoch: 0, .. });
            app.event(event);
        }
        if let Received::Data {
            message,
            fresh: true,
        } = received
        {
            let payload = String::from_utf8(message.data.as_bytes().to_vec()).unwrap();
            let id = message.sequence_id.unwrap().0;
            app.heard.last_mut().unwrap().push((id, payload));
        }
        if first {
            self.join_all(client);
        }
    }

    /// Does what the session asks for, and plans its next timer.
    fn settle(&mut self, client: usize) {
        loop {
            while let Some(output) = self.clients[client].session.poll_output() {
                match output {
                    Output::Event(event) => self.clients[client].app.event(event),
                    Output::Dial(dial) => self.dial(client, dial),
                    Output::CloseTransport(close) => self.leave(client, close),
                }
            }
            if !self.transmit(client) && !self.clients[client].session.has_output() {
                break;
            }
        }
        if let Some(due) = self.clients[client].session.poll_timeout() {
            let due = due.max(self.now);
            if due < self.clients[client].woken {
                self.clients[client].woken = due;
                self.at(due, What::Wake { client });
            }
        }
    }

    fn join_all(&mut self, client: usize) {
        for group in GROUPS {
            let now = self.now;
            let session = &mut self.clients[client].session;
            session
                .request(now, Operation::Join(group.into()), true)
                .unwrap();
        }
    }

    fn dial(&mut self, client: usize, dial: Dial) {
        self.clients[client].numbers += 1;
        let number = self.clients[client].numbers;
        self.clients[client].dial = Some((number, dial));
        let at = self.now + self.travel(client);
        self.at(
            at,
            What::Dialled {
                client,
                dial: number,
            },
        );
    }

    /// The client gives its transport up.
    fn leave(&mut self, client: usize, close: Option<Close>) {
        self.clients[client].dial = None;
        if let Some(line) = self.clients[client].line.take()
            && let Some(link) = line.link
        {
            let code = close.and_then(|close| close.code);
            self.core.closed(link, code, self.now);
            self.pump_hub();
        }
    }

    /// Puts the frames that the session wants written on the line.
    fn transmit(&mut self, client: usize) -> bool {
        let mut frames = Vec::new();
        let now = self.now;
        let Client {
            session, app, line, ..
        } = &mut self.clients[client];
        if line.is_none() {
            return false;
        }
        while let Some(transmit) = session.poll_transmit(now) {
            let mut bytes = Vec::new();
            json::encode_upstream(&frame(client, app, transmit), &mut bytes);
            frames.push(bytes);
        }
        let any = !frames.is_empty();
        for bytes in frames {
            let travel = self.travel(client);
            let Some(line) = &mut self.clients[client].line else {
                break;
            };
            let at = (now + travel).max(line.up_last);
            line.up_last = at;
            let line = line.number;
            self.at(
                at,
                What::Up {
                    client,
                    line,
                    bytes,
                },
            );
        }
        any
    }

    // ---- the hub's shell ----------------------------------------------------------------

    fn pump_hub(&mut self) {
        let mut dirty = Vec::new();
        self.core.take_dirty(&mut dirty);
        for link in dirty {
            let mut bytes = Vec::new();
            let end = self.core.drain(link, &mut bytes, usize::MAX, self.now);
            let owner = (0..self.clients.len()).find(|client| {
                let line = self.clients[*client].line.as_ref();
                line.is_some_and(|line| line.link == Some(link))
            });
            if let Some(client) = owner {
                self.send_down(client, &bytes, end.as_ref());
            }
            if end.is_some() {
                self.core.closed(link, None, self.now);
            }
        }
        if let Some(due) = self.core.next_deadline() {
            let due = due.max(self.now);
            if due < self.hub_woken {
                self.hub_woken = due;
                self.at(due, What::HubWake);
            }
        }
    }

    fn send_down(&mut self, client: usize, bytes: &[u8], end: Option<&End>) {
        let mut whats: Vec<What> = Vec::new();
        let Some(number) = self.clients[client].line.as_ref().map(|line| line.number) else {
            return;
        };
        for text in texts(bytes) {
            whats.push(What::Down {
                client,
                line: number,
                text,
            });
        }
        if let Some(end) = end {
            let code = match end {
                End::Close { code, .. } => Some(*code),
                End::Reset => None,
            };
            whats.push(What::DownEnd {
                client,
                line: number,
                code,
            });
        }
        for what in whats {
            let travel = self.travel(client);
            let now = self.now;
            let Some(line) = &mut self.clients[client].line else {
                return;
            };
            let at = (now + travel).max(line.down_last);
            line.down_last = at;
            self.at(at, what);
        }
    }
}

/// The text messages in a hub's bytes.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [opcode, short, tail @ ..] = bytes {
        let (length, body) = match short {
            126 => (
                usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                &tail[2..],
            ),
            short => (usize::from(*short), tail),
        };
        if *opcode == 0x81 {
            texts.push(String::from_utf8(body[..length].to_vec()).unwrap());
        }
        bytes = &body[length..];
    }
    texts
}

/// A payload names its publisher, its number there and the publisher's connection: what the
/// hub may execute only once.
fn frame(client: usize, app: &mut App, transmit: Transmit<'_, u32>) -> Upstream<'static> {
    match transmit {
        Transmit::Control(Control::Ping) => Upstream::Ping,
        Transmit::Control(Control::SequenceAck(sequence_id)) => {
            Upstream::SequenceAck { sequence_id }
        }
        Transmit::Request {
            operation,
            transmission,
        } => {
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
                    Upstream::SendToGroup {
                        group: group.to_string().into(),
                        ack_id,
                        no_echo: false,
                        data: Data::Text(
                            format!("{client}-{content}-{}", transmission.epoch).into(),
                        ),
                    }
                }
                Operation::Event { .. } => unreachable!("no events in this world"),
            }
        }
    }
}

impl App {
    fn event(&mut self, event: Event<u32>) {
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
            _ => {}
        }
    }
}
