//! The line between the session and the hub, the program behind the session, the member.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::base::{Seed, Time};
use crate::hub::EventHandler;
use crate::hub::core::{Core, End, Identity, Key, Permissions, Settings};
use crate::protocol::{
    Dial, Event, InvocationId, NewerEvent, Output, Received, Session, SessionConfig, StreamOptions,
    StreamOutcome, StreamRefused, Transmit,
};
use crate::wire::close::Close;
use crate::wire::codec::{self, Payload};
use crate::wire::{Data, Downstream, Request, StreamError, Subprotocol, Upstream};

/// When trouble and work end.
const TROUBLE: Time = Time::from_secs(60);
/// By then everything must have come to rest.
const END: Time = Time::from_secs(400);
/// Turns of one world; more means that something goes round in circles.
const TURNS_MAX: u32 = 100_000;

/// How an invocation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Invoked {
    Answered,
    Failed,
    Cancelled,
}

/// What the program asked of a stream, and what it was told in the end.
#[derive(Default, Debug)]
pub(super) struct Asked {
    pub(super) written: u64,
    pub(super) over: Vec<(StreamOutcome, u64, u64)>,
    ending: bool,
}

enum Down {
    Frame(Vec<u8>),
    End(Option<u16>),
}

struct Line {
    link: Key,
    up: VecDeque<(Time, Vec<u8>)>,
    down: VecDeque<(Time, Down)>,
}

pub(super) struct World {
    pub(super) session: Session<u32>,
    /// By stream: what the program asked.
    pub(super) asked: BTreeMap<String, Asked>,
    /// By stream: number and payload of what the member heard; no payload: the end.
    pub(super) heard: BTreeMap<String, Vec<(u64, Option<String>)>>,
    pub(super) invoked: BTreeMap<InvocationId, Vec<Invoked>>,
    pub(super) recovered: u32,
    core: Core,
    subprotocol: Subprotocol,
    member: Key,
    line: Option<Line>,
    dial: Option<(Time, Dial)>,
    black: Time,
    now: Time,
    next_act: Time,
    next_cut: Time,
    rng: ChaCha8Rng,
}

fn identity(groups: &[&str]) -> Identity {
    Identity {
        hub: "chat".into(),
        user: None,
        permissions: Permissions::all(),
        remembered: Default::default(),
        token_lifetime: Duration::from_secs(7 * 24 * 3600),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}

impl World {
    pub(super) fn new(seed: u64, subprotocol: Subprotocol, fault: Option<&str>) -> Self {
        let seed = Seed(seed);
        let now = Time::from_secs(1);
        let mut core = Core::new(Settings {
            seed,
            id_seed: seed,
            faults: fault
                .into_iter()
                .map(|fault| fault.parse().unwrap())
                .collect(),
            recovery_window: Duration::from_secs(30),
            handler: EventHandler::Echo,
            upstream: None,
            access_key: None,
            start: now,
        });
        // Not reliable: it needs no receipts, and the line to it never fails.
        let member = core.open(identity(&["g"]), Subprotocol::Json, now);
        World {
            session: Session::new(Arc::new(SessionConfig::spec(subprotocol)), seed),
            asked: BTreeMap::new(),
            heard: BTreeMap::new(),
            invoked: BTreeMap::new(),
            recovered: 0,
            core,
            subprotocol,
            member,
            line: None,
            dial: None,
            black: Time::ZERO,
            now,
            next_act: now,
            next_cut: Time::from_secs(3),
            rng: seed.stream("streams", 0),
        }
    }

    /// Runs until everything has come to rest.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.session.start();
        for _ in 0..TURNS_MAX {
            self.settle();
            if self.now >= END {
                return Ok(());
            }
            let line = self.line.as_ref();
            let troubled = self.now < TROUBLE;
            let next = [
                self.dial.as_ref().map(|(at, _)| *at),
                line.and_then(|line| line.up.front()).map(|(at, _)| *at),
                line.and_then(|line| line.down.front()).map(|(at, _)| *at),
                self.session.poll_timeout(),
                self.core.next_deadline(),
                troubled.then_some(self.next_act),
                troubled.then_some(self.next_cut),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(END);
            self.now = self.now.max(next).min(END);
            self.turn();
        }
        Err(format!("goes round in circles at {:?}", self.now))
    }

    /// Does everything that is due.
    fn turn(&mut self) {
        let now = self.now;
        self.core.handle_timeout(now);
        self.session.handle_timeout(now);
        if self.dial.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.dialled();
        }
        while let Some(line) = &mut self.line
            && let Some((_, bytes)) = line.up.pop_front_if(|(at, _)| *at <= now)
        {
            let request =
                codec::decode_request(self.subprotocol, payload(self.subprotocol, &bytes));
            self.core.frame(line.link, request.unwrap(), now);
        }
        while let Some(line) = &mut self.line
            && let Some((_, down)) = line.down.pop_front_if(|(at, _)| *at <= now)
        {
            self.arrived(down);
        }
        if now < TROUBLE && self.next_act <= now {
            self.act();
            self.next_act = now + self.some(1, 400);
        }
        if now < TROUBLE && self.next_cut <= now {
            self.cut();
            self.next_cut = now + self.some(200, 15_000);
        }
        if now >= TROUBLE {
            // The program ends what it began.
            for (id, asked) in &mut self.asked {
                if !asked.ending {
                    asked.ending = true;
                    self.session.end_stream(id, None);
                }
            }
        }
    }

    fn some(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(least..most))
    }

    // ---- the program --------------------------------------------------------------------

    fn act(&mut self) {
        let ids: Vec<String> = self.asked.keys().cloned().collect();
        let any = (!ids.is_empty()).then(|| ids[self.rng.random_range(0..ids.len())].clone());
        match (self.rng.random_range(0..12), any) {
            (0..2, _) => self.open(ids.len()),
            (2, Some(id)) => {
                let error = (self.rng.random_range(0..3) == 0).then(|| StreamError {
                    message: Some("m".into()),
                    code: None,
                });
                if let Some(asked) = self.asked.get_mut(&id) {
                    asked.ending = true;
                }
                self.session.end_stream(&id, error);
            }
            (3..5, _) if !self.subprotocol.is_binary() => {
                let within = Some(self.some(20, 500));
                if let Ok(id) = self.session.invoke(self.now, "e".into(), 0, within) {
                    self.invoked.insert(id, Vec::new());
                }
            }
            (5, _) => {
                let pending = self.invoked.iter().rev().find(|(_, ends)| ends.is_empty());
                if let Some(id) = pending.map(|(id, _)| *id)
                    && self.session.cancel_invocation(id)
                {
                    self.end_invocation(id, Invoked::Cancelled);
                }
            }
            (_, Some(id)) => self.write(&id),
            (_, None) => self.open(ids.len()),
        }
    }

    fn open(&mut self, number: usize) {
        let id = format!("s{number}");
        let options = StreamOptions {
            stream_id: id.as_str().into(),
            group: "g".into(),
            idle_timeout: self.some(2000, 60_000),
            no_echo: true,
        };
        match self.session.open_stream(options) {
            Ok(()) => {
                self.asked.insert(id, Asked::default());
            }
            Err(StreamRefused::NotConnected | StreamRefused::TooMany) => {}
            Err(refused) => panic!("{refused}"),
        }
    }

    fn write(&mut self, id: &str) {
        let Some(asked) = self.asked.get_mut(id) else {
            return;
        };
        for _ in 0..self.rng.random_range(1..12) {
            let number = asked.written + 1;
            if self.session.write_stream(id, number as u32).is_ok() {
                asked.written = number;
            }
        }
    }

    fn event(&mut self, event: Event<u32>) {
        match event {
            Event::RecoveryConfirmed => self.recovered += 1,
            Event::Newer(NewerEvent::StreamOver {
                stream_id,
                outcome,
                accepted,
                unknown,
            }) => {
                let asked = self.asked.get_mut(&*stream_id).unwrap();
                asked.over.push((outcome, accepted, unknown));
            }
            Event::Newer(NewerEvent::InvocationFailed { id, .. }) => {
                self.end_invocation(id, Invoked::Failed);
            }
            _ => {}
        }
    }

    fn end_invocation(&mut self, id: InvocationId, how: Invoked) {
        self.invoked.get_mut(&id).unwrap().push(how);
    }

    // ---- the line -----------------------------------------------------------------------

    /// The line is gone with everything on it; sometimes for long.
    fn cut(&mut self) {
        if self.rng.random_range(0..4) == 0 {
            self.black = self.now + self.some(1000, 45_000);
        }
        if let Some(line) = self.line.take() {
            self.core.closed(line.link, None, self.now);
            self.session
                .handle_closed(self.now, Close::without_frame("cut"));
        }
    }

    fn dialled(&mut self) {
        let Some((_, dial)) = self.dial.take() else {
            return;
        };
        if self.now < self.black {
            self.session.handle_dial_failed(self.now, "black");
            return;
        }
        let mut line = Line {
            link: self.member,
            up: VecDeque::new(),
            down: VecDeque::new(),
        };
        match dial {
            Dial::New => line.link = self.core.open(identity(&[]), self.subprotocol, self.now),
            Dial::Recover {
                connection_id,
                token,
            } => match self.core.recover(&connection_id, &token, self.now) {
                Ok(link) => line.link = link,
                Err(_) => line.down.push_back((self.now, Down::End(Some(1008)))),
            },
        }
        self.session.handle_opened(self.now);
        self.line = Some(line);
    }

    fn arrived(&mut self, down: Down) {
        let now = self.now;
        let bytes = match down {
            Down::Frame(bytes) => bytes,
            Down::End(code) => {
                self.line = None;
                let reason = String::new();
                return self.session.handle_closed(now, Close { code, reason });
            }
        };
        let frame = codec::decode_downstream(self.subprotocol, payload(self.subprotocol, &bytes));
        if let Received::Invoked { id, response } = self.session.handle_frame(now, frame.unwrap()) {
            assert!(response.success, "the echo handler does not fail");
            self.end_invocation(id, Invoked::Answered);
        }
    }

    /// Moves everything that either side has to say onto the line.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Event(event) => self.event(event),
                    Output::Dial(dial) => self.dial = Some((self.now + self.some(1, 60), dial)),
                    Output::CloseTransport(close) => {
                        self.dial = None;
                        if let Some(line) = self.line.take() {
                            let code = close.and_then(|close| close.code);
                            self.core.closed(line.link, code, self.now);
                        }
                    }
                }
            }
            if !self.transmit() && !self.session.has_output() {
                break;
            }
        }
        let mut dirty = Vec::new();
        self.core.take_dirty(&mut dirty);
        for link in dirty {
            self.drain(link);
        }
        if self.core.take_restart() {
            self.core.restart();
            self.line = None;
            self.session
                .handle_closed(self.now, Close::without_frame("restart"));
            self.member = self
                .core
                .open(identity(&["g"]), Subprotocol::Json, self.now);
            self.settle();
        }
    }

    fn transmit(&mut self) -> bool {
        let mut any = false;
        while self.line.is_some()
            && let Some(transmit) = self.session.poll_transmit(self.now)
        {
            let request = match transmit {
                Transmit::Newer(frame) => {
                    frame.into_request(|content| Data::Text(content.to_string().into()))
                }
                Transmit::Control(crate::protocol::Control::Ping) => basic(Upstream::Ping),
                Transmit::Control(crate::protocol::Control::SequenceAck(sequence_id)) => {
                    basic(Upstream::SequenceAck { sequence_id })
                }
                Transmit::Request { .. } => unreachable!("no requests in this world"),
            };
            let mut bytes = Vec::new();
            codec::encode_request(self.subprotocol, &request, &mut bytes).unwrap();
            let travel = Duration::from_millis(self.rng.random_range(1..300));
            let up = &mut self.line.as_mut().unwrap().up;
            let at = up.back().map_or(Time::ZERO, |(at, _)| *at);
            up.push_back((at.max(self.now + travel), bytes));
            any = true;
        }
        any
    }

    /// What the hub wrote goes onto the line, or to the member at once.
    fn drain(&mut self, link: Key) {
        let mut bytes = Vec::new();
        let end = self.core.drain(link, &mut bytes, usize::MAX, self.now);
        let mut whole: Vec<Down> = frames(&bytes).into_iter().map(Down::Frame).collect();
        match &end {
            Some(End::Close { code, .. }) => whole.push(Down::End(Some(*code))),
            Some(End::Reset) => whole.push(Down::End(None)),
            None => {}
        }
        if link == self.member {
            for down in whole {
                self.member_hears(down);
            }
        } else if self.line.as_ref().is_some_and(|line| line.link == link) {
            for down in whole {
                let travel = Duration::from_millis(self.rng.random_range(1..300));
                let queue = &mut self.line.as_mut().unwrap().down;
                let at = queue.back().map_or(Time::ZERO, |(at, _)| *at);
                queue.push_back((at.max(self.now + travel), down));
            }
        }
        if end.is_some() {
            self.core.closed(link, None, self.now);
        }
    }

    fn member_hears(&mut self, down: Down) {
        let Down::Frame(bytes) = down else { return };
        let text = std::str::from_utf8(&bytes).unwrap();
        let frame = crate::wire::json::decode_downstream(text).unwrap();
        if let Downstream::Data(message) = frame {
            let part = *message.stream.unwrap();
            let text = String::from_utf8(message.data.as_bytes().to_vec()).unwrap();
            let text = (!part.end_of_stream).then_some(text);
            let heard = self.heard.entry(part.stream_id.into_owned()).or_default();
            heard.push((part.number, text));
        }
    }
}

fn basic(frame: Upstream<'static>) -> Request<'static> {
    Request::Basic {
        frame,
        extras: None,
    }
}

fn payload(subprotocol: Subprotocol, bytes: &[u8]) -> Payload<'_> {
    if subprotocol.is_binary() {
        Payload::Binary(bytes)
    } else {
        Payload::Text(std::str::from_utf8(bytes).unwrap())
    }
}

/// The payloads of the messages in a hub's bytes.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [opcode, short, tail @ ..] = bytes {
        let (length, body) = match short {
            126 => (
                usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                &tail[2..],
            ),
            short => (usize::from(*short), tail),
        };
        if matches!(opcode & 15, 1 | 2) {
            frames.push(body[..length].to_vec());
        }
        bytes = &body[length..];
    }
    frames
}
