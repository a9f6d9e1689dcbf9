//! Clients, hub, and the queue of events that moves them. What lines do stands in `lines`,
//! what programs do in `app`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Case;
use super::app::App;
use super::lines::{Cuts, Line};
use crate::base::{Seed, Time};
use crate::hub::EventHandler;
use crate::hub::core::{Core, Key, Settings};
use crate::hub::faults::FaultSpec;
use crate::protocol::{Behaviour, Dial, Output, Session, SessionConfig};
use crate::wire::Subprotocol;
use crate::wire::close::Close;

/// Clients whose lines fail.
pub(super) const CLIENTS: usize = 3;
/// One more whose line never fails: it sees what the hub executed.
pub(super) const WITNESS: usize = CLIENTS;
/// When trouble ends.
const TROUBLE: Duration = Duration::from_secs(90);
/// By then everything must have come to rest, long pauses and silences included.
const END: Duration = Duration::from_secs(1800);
/// Events of one world; more means that something goes round in circles.
const EVENTS_MAX: usize = 200_000;

/// What the queue holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A dial ends.
    Dialled { client: usize, dial: u32 },
    /// A frame reaches the hub.
    Up {
        client: usize,
        line: u32,
        bytes: Vec<u8>,
    },
    /// A frame reaches a client.
    Down {
        client: usize,
        line: u32,
        bytes: Vec<u8>,
    },
    /// The end of a transport reaches a client.
    DownEnd {
        client: usize,
        line: u32,
        code: Option<u16>,
    },
    /// A line on which nothing comes through any more is given up by both ends.
    Lapse { client: usize, line: u32 },
    /// A client's timer.
    Wake { client: usize },
    /// The hub's timer.
    HubWake,
    /// A program does something.
    Act { client: usize },
    /// A program does what the script says.
    Step { client: usize, step: u32 },
    /// A program stops its client.
    Stop { client: usize },
    /// A program starts its stopped client.
    Start { client: usize },
    /// Something happens to a line.
    Cut { client: usize },
    /// The hub forgets everything.
    Restart,
}

/// One client: its session, its program, its line.
pub(super) struct Client {
    pub(super) session: Session<u32>,
    pub(super) app: App,
    pub(super) subprotocol: Subprotocol,
    pub(super) behaviour: Behaviour,
    pub(super) line: Option<Line>,
    pub(super) dial: Option<(u32, Dial)>,
    /// No dial gets through until then.
    pub(super) black: Time,
    pub(super) numbers: u32,
    woken: Time,
    start_queued: bool,
}

/// Everything.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) clients: Vec<Client>,
    pub(super) case: Case,
    pub(super) now: Time,
    pub(super) rng: ChaCha8Rng,
    /// Where a scripted world is cut; `None` in one that runs by chance.
    pub(super) cuts: Option<Cuts>,
    queue: BinaryHeap<Reverse<(Time, u64, What)>>,
    queued: u64,
    hub_woken: Time,
}

impl World {
    pub(super) fn new(case: Case, faults: Vec<FaultSpec>) -> Self {
        let start = Time::from_secs(1);
        let seed = Seed(case.seed);
        let client = |index| {
            let (behaviour, subprotocol) = match index {
                WITNESS => (Behaviour::Spec, Subprotocol::JsonReliable),
                _ => (case.behaviour, case.subprotocol),
            };
            let config = Arc::new(SessionConfig::of(behaviour, subprotocol));
            Client {
                session: Session::new(config, seed.child(&format!("client {index}"))),
                app: App::default(),
                subprotocol,
                behaviour,
                line: None,
                dial: None,
                black: Time::ZERO,
                numbers: 0,
                woken: Time::MAX,
                start_queued: false,
            }
        };
        World {
            core: Core::new(Settings {
                seed,
                id_seed: seed,
                faults,
                recovery_window: Duration::from_secs(30),
                handler: EventHandler::Echo,
                upstream: None,
                access_key: None,
                start,
            }),
            clients: (0..=CLIENTS).map(client).collect(),
            case,
            now: start,
            rng: seed.stream("world", 0),
            cuts: None,
            queue: BinaryHeap::new(),
            queued: 0,
            hub_woken: Time::MAX,
        }
    }

    pub(super) fn at(&mut self, time: Time, what: What) {
        self.queued += 1;
        self.queue.push(Reverse((time, self.queued, what)));
    }

    /// A time while there is trouble.
    fn some_time(&mut self) -> Time {
        let micros = TROUBLE.as_micros() as u64;
        // The first second is for the witness to join.
        Time::from_secs(2) + Duration::from_micros(self.rng.random_range(0..micros))
    }

    /// Plans what happens by chance.
    fn plan(&mut self) {
        for client in 0..CLIENTS {
            for _ in 0..self.rng.random_range(5..25) {
                let at = self.some_time();
                self.at(at, What::Act { client });
            }
            for _ in 0..self.rng.random_range(0..6) {
                let at = self.some_time();
                self.at(at, What::Cut { client });
            }
            if self.rng.random_range(0..4) == 0 {
                let at = self.some_time();
                self.at(at, What::Stop { client });
            }
        }
        if self.case.restarts {
            let at = self.some_time();
            self.at(at, What::Restart);
        }
    }

    /// Runs until everything has come to rest.
    pub(super) fn run(&mut self) -> Result<(), String> {
        for client in 0..=CLIENTS {
            self.clients[client].session.start();
            self.settle(client);
        }
        let calm = match self.cuts {
            Some(_) => self.plan_script(),
            None => {
                self.plan();
                Time::from_secs(2) + TROUBLE
            }
        };
        for _ in 0..EVENTS_MAX {
            let Some(Reverse((time, _, what))) = self.queue.pop() else {
                return Err("nothing will ever happen again".into());
            };
            if time > Time::ZERO + END || (time > calm && self.is_at_rest()) {
                return Ok(());
            }
            self.now = time;
            self.happen(what);
            self.check_exits()?;
        }
        Err(format!("{EVENTS_MAX} events and no end"))
    }

    /// Everybody is connected over a sound line, and nobody waits for anything.
    fn is_at_rest(&self) -> bool {
        let waits = |key: Key| {
            let session = self.core.sessions.get(key);
            session.is_some_and(|session| !session.unacked.is_empty())
        };
        let sessions: Vec<Key> = self.core.sessions.keys().collect();
        sessions.len() == self.clients.len()
            && !sessions.into_iter().any(waits)
            && self.clients.iter().all(|client| {
                let sound = client.line.as_ref().is_some_and(Line::is_sound);
                sound && client.session.is_connected() && client.session.outstanding() == 0
            })
    }

    /// No state without a timer or an input that leaves it: a dial that will end, a line
    /// that carries frames or will end, a timer, or a program that will start the client.
    fn check_exits(&self) -> Result<(), String> {
        for (index, client) in self.clients.iter().enumerate() {
            let by_line = client.line.as_ref().is_some_and(Line::will_act);
            let by_program = client.session.is_stopped() && client.start_queued;
            let by_timer = client.session.poll_timeout().is_some();
            if !(client.dial.is_some() || by_line || by_program || by_timer) {
                return Err(format!("client {index} is stuck: {:?}", client.session));
            }
        }
        Ok(())
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Act { client } => self.act(client),
            What::Step { client, step } => self.step(client, step),
            What::Stop { client } => {
                self.clients[client].session.stop();
                self.settle(client);
            }
            What::Start { client } => {
                self.clients[client].start_queued = false;
                self.clients[client].session.start();
                self.settle(client);
            }
            What::Cut { client } => self.trouble(client),
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
            } => self.arrives_up(client, line, &bytes),
            What::Down {
                client,
                line,
                bytes,
            } => self.arrives_down(client, line, &bytes),
            What::DownEnd { client, line, code } => self.ends(client, line, code),
            What::Lapse { client, line } => self.lapse(client, line),
        }
    }

    /// Does what the session asks for, and plans its next timer.
    pub(super) fn settle(&mut self, client: usize) {
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
        if self.clients[client].session.is_stopped() && !self.clients[client].start_queued {
            // Behind each client there is a program that wants it to run.
            self.clients[client].start_queued = true;
            let at = self.now + Duration::from_micros(self.rng.random_range(0..5_000_000));
            self.at(at, What::Start { client });
        }
        if let Some(due) = self.clients[client].session.poll_timeout() {
            let due = due.max(self.now);
            if due < self.clients[client].woken {
                self.clients[client].woken = due;
                self.at(due, What::Wake { client });
            }
        }
    }

    /// Plans the hub's next timer.
    pub(super) fn wake_hub(&mut self) {
        if let Some(due) = self.core.next_deadline() {
            let due = due.max(self.now);
            if due < self.hub_woken {
                self.hub_woken = due;
                self.at(due, What::HubWake);
            }
        }
    }

    /// The transport of a client is gone, and it knows.
    pub(super) fn closed(&mut self, client: usize, close: Close) {
        self.clients[client].line = None;
        let now = self.now;
        self.clients[client].session.handle_closed(now, close);
        self.settle(client);
    }
}
