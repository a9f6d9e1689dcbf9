//! Whole sessions: scripts of inputs, one a line, kept and mutated.
//!
//! A script's lines: `behaviour NAME`, `opened`, `dial_failed`, `closed [CODE]`, `frame JSON`
//! (re-encoded for binary subprotocols), `wait MS`, `send`, `send_unacked`, `join GROUP`,
//! `leave GROUP`, `stop`, `start`, `activity`. Other lines do nothing.

use std::sync::Arc;
use std::time::Duration;

use hubstorm::base::{Seed, Time};
use hubstorm::protocol::{Behaviour, Event, Operation, Output, Session, SessionConfig};
use hubstorm::wire::close::Close;
use hubstorm::wire::codec::{Payload, decode_downstream, encode_downstream};
use hubstorm::wire::{Subprotocol, json};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::memory::{Turn, turn};
use super::mutate::mutate;
use super::{corpus, runs, shown};

/// Groups and ids are short, so more than this is held only by what grows.
const HELD_MAX: isize = 1024 * 1024;
/// The longest script; what a session holds may not depend on it.
const LINES_MAX: usize = 400;

/// A session and what was asked of it.
struct Rig {
    session: Session<u8>,
    now: Time,
    asked: usize,
    settled: usize,
    connected: usize,
}

impl Rig {
    fn new(behaviour: Behaviour, subprotocol: Subprotocol) -> Self {
        let config = Arc::new(SessionConfig::of(behaviour, subprotocol));
        Rig {
            session: Session::new(config, Seed(1)),
            now: Time::from_secs(1),
            asked: 0,
            settled: 0,
            connected: 0,
        }
    }

    fn ask(&mut self, operation: Operation<u8>, acked: bool) {
        let taken = self.session.request(self.now, operation, acked);
        self.asked += usize::from(taken.is_ok());
    }

    fn input(&mut self, subprotocol: Subprotocol, line: &[u8]) {
        let (word, rest) = match line.iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let text = String::from_utf8_lossy(rest);
        match word {
            b"opened" => self.session.handle_opened(self.now),
            b"dial_failed" => self.session.handle_dial_failed(self.now, &text),
            b"closed" => {
                let code = text.parse().ok();
                let reason = String::new();
                self.session.handle_closed(self.now, Close { code, reason });
            }
            b"frame" => self.frame(subprotocol, rest),
            b"wait" => {
                // An hour a line: the clock's end is half a million years away.
                let wait = text.parse().unwrap_or(700_u64).min(3_600_000);
                self.now += Duration::from_millis(wait);
                self.session.handle_timeout(self.now);
            }
            b"send" | b"send_unacked" => {
                let operation = Operation::Send {
                    group: "g".into(),
                    no_echo: true,
                    content: 0,
                };
                self.ask(operation, word == b"send");
            }
            b"join" => self.ask(Operation::Join(text.as_ref().into()), true),
            b"leave" => self.ask(Operation::Leave(text.as_ref().into()), true),
            b"stop" => self.session.stop(),
            b"start" => self.session.start(),
            b"activity" => self.session.handle_activity(self.now),
            _ => {}
        }
    }

    fn frame(&mut self, subprotocol: Subprotocol, bytes: &[u8]) {
        let mut encoded = bytes.to_vec();
        if subprotocol.is_binary()
            && let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(frame) = json::decode_downstream(text)
        {
            encoded.clear();
            encode_downstream(subprotocol, &frame, &mut encoded);
        }
        let payload = match std::str::from_utf8(&encoded) {
            Ok(text) if !subprotocol.is_binary() => Payload::Text(text),
            _ => Payload::Binary(&encoded),
        };
        match decode_downstream(subprotocol, payload) {
            Ok(frame) => drop(self.session.handle_frame(self.now, frame)),
            Err(error) => self.session.handle_bad_frame(self.now, &error.to_string()),
        }
    }

    /// Does what the session asks for; it may not ask for ever.
    fn drain(&mut self) {
        for _ in 0..20_000 {
            match self.session.poll_output() {
                Some(Output::Event(Event::Settled(settled))) => {
                    self.settled += usize::from(!settled.rejoin);
                }
                Some(Output::Event(Event::Connected { .. })) => self.connected += 1,
                Some(_) => {}
                None if self.session.poll_transmit(self.now).is_none()
                    && !self.session.has_output() =>
                {
                    return;
                }
                None => {}
            }
        }
        panic!("one input gave 20,000 outputs");
    }
}

/// Plays a script; how many connections came up.
fn play(turn: &Turn, subprotocol: Subprotocol, script: &[u8]) -> usize {
    let lines: Vec<&[u8]> = script.split(|byte| *byte == b'\n').collect();
    let behaviour = Behaviour::ALL.into_iter().find(|behaviour| {
        let line = format!("behaviour {}", behaviour.name());
        lines.contains(&line.as_bytes())
    });
    let mut rig = Rig::new(behaviour.unwrap_or_default(), subprotocol);
    rig.session.start();
    let held = turn.held();
    for line in lines.into_iter().take(LINES_MAX) {
        rig.input(subprotocol, line);
        rig.drain();
    }
    let holds = held.bytes();
    assert!(
        holds < HELD_MAX + 4 * script.len() as isize,
        "holds {holds} bytes after {}",
        shown(script)
    );
    rig.session.end();
    rig.drain();
    assert!(rig.session.is_stopped() && rig.session.outstanding() == 0);
    assert_eq!(
        rig.settled,
        rig.asked,
        "each has one outcome: {}",
        shown(script)
    );
    rig.connected
}

/// A script with lines changed, moved, repeated, or taken from another.
fn change(script: &[u8], other: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let split = |script: &[u8]| -> Vec<Vec<u8>> {
        script
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (mut lines, others) = (split(script), split(other));
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..lines.len());
        match rng.random_range(0..6) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => {
                let to = rng.random_range(0..lines.len());
                lines.swap(at, to);
            }
            2 => lines.insert(at, lines[at].clone()),
            3 if lines[at].starts_with(b"frame ") => {
                let frame = mutate(&lines[at][6..], b"", rng);
                lines[at] = [b"frame ".as_slice(), &frame].concat();
            }
            _ => lines.insert(at, others[rng.random_range(0..others.len())].clone()),
        }
    }
    lines.join(&b'\n')
}

#[test]
fn the_kept_sessions_and_their_mutations_end_everything_they_began() {
    let turn = turn();
    let scripts = corpus::load("session");
    let mut connected = 0;
    for subprotocol in Subprotocol::ALL {
        for (name, script) in &scripts {
            assert!(
                play(&turn, subprotocol, script) > 0,
                "{name}: never connected"
            );
        }
    }
    for n in 0..runs() {
        let mut rng = Seed(3).stream("session", n);
        let subprotocol = Subprotocol::ALL[rng.random_range(0..Subprotocol::ALL.len())];
        let pick = |at: usize| &scripts[at].1;
        let one = pick(rng.random_range(0..scripts.len()));
        let other = pick(rng.random_range(0..scripts.len()));
        let script = change(one, other, &mut rng);
        connected += play(&turn, subprotocol, &script);
    }
    assert!(connected as u64 > runs() / 2, "{connected} connections");
}

const CONNECTED: &[u8] = br#"{"type":"system","event":"connected","connectionId":"c1"}"#;

/// Bytes of a hub that talks for ever are not kept.
#[test]
fn what_a_session_holds_does_not_grow_with_what_it_hears() {
    let turn = turn();
    let frames = corpus::load("down-json");
    for behaviour in Behaviour::ALL {
        let subprotocol = Subprotocol::JsonReliable;
        let mut rig = Rig::new(behaviour, subprotocol);
        rig.session.start();
        let held = turn.held();
        for n in 0..20_000_u64 {
            let mut rng = Seed(4).stream(behaviour.name(), n);
            let line = match rng.random_range(0..10) {
                0 => b"opened".to_vec(),
                1 => b"wait 300".to_vec(),
                2 => b"closed".to_vec(),
                3 => b"send".to_vec(),
                4 => b"join g".to_vec(),
                5 => {
                    rig.input(subprotocol, b"opened");
                    rig.drain();
                    [b"frame ".as_slice(), CONNECTED].concat()
                }
                _ => {
                    let (_, frame) = &frames[rng.random_range(0..frames.len())];
                    [b"frame ".as_slice(), frame].concat()
                }
            };
            rig.input(subprotocol, &line);
            if rig.session.is_stopped() {
                rig.session.start();
            }
            rig.drain();
        }
        assert!(rig.connected > 100, "{behaviour:?}: {}", rig.connected);
        let holds = held.bytes();
        assert!(holds < HELD_MAX, "{behaviour:?} holds {holds} bytes");
    }
}
