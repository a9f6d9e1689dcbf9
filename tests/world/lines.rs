//! Lines: how frames travel, and everything that can happen to them.

use std::time::Duration;

use rand::RngExt as _;

use super::app::{GROUPS, frame};
use super::net::{Client, WITNESS, What, World};
use crate::base::Time;
use crate::hub::core::{Identity, Key, Permissions, Remembered};
use crate::protocol::{Dial, Liveness, SessionConfig};
use crate::wire::close::{self, Close};
use crate::wire::codec::{self, Payload};

/// A transport: both ends, and when the last frame of each direction arrives.
pub(super) struct Line {
    pub(super) number: u32,
    /// The hub's end, while it has one.
    pub(super) link: Option<Key>,
    up_last: Time,
    pub(super) down_last: Time,
    /// Frames of a direction vanish.
    pub(super) deaf: bool,
    mute: bool,
    /// Its end is on the way to the client.
    pub(super) ends: bool,
}

impl Line {
    /// Frames come through both ways.
    pub(super) fn is_sound(&self) -> bool {
        self.link.is_some() && !self.deaf && !self.mute && !self.ends
    }

    /// It will carry something to the client, if only its end.
    pub(super) fn will_act(&self) -> bool {
        self.ends || (self.link.is_some() && !self.deaf)
    }
}

/// Which frames, and which dials, are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Up,
    Down,
    Dial,
}

/// A place of a scripted world: at the n-th frame of client 0 that way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Point {
    pub(super) way: Way,
    pub(super) nth: u32,
    /// The frame is read, then the line breaks; otherwise it is lost with the line.
    pub(super) arrives: bool,
}

/// Where client 0's line breaks, and what has passed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts {
    pub(super) points: Vec<Point>,
    pub(super) passed: [u32; 3],
}

impl Cuts {
    /// Counts a frame; whether the line breaks at it, and whether it arrives before.
    fn count(&mut self, way: Way) -> Option<bool> {
        let passed = &mut self.passed[way as usize];
        *passed += 1;
        let nth = *passed;
        let here = |point: &&Point| point.way == way && point.nth == nth;
        self.points.iter().find(here).map(|point| point.arrives)
    }
}

impl World {
    fn cut_here(&mut self, client: usize, way: Way) -> Option<bool> {
        let cuts = self.cuts.as_mut()?;
        if client == 0 { cuts.count(way) } else { None }
    }

    /// How long one frame travels: mostly a moment, now and then seconds.
    pub(super) fn travel(&mut self, client: usize) -> Duration {
        let steady = client == WITNESS || self.cuts.is_some();
        let slow = !steady && self.rng.random_range(0..40) == 0;
        let most = if slow { 6_000_000 } else { 40_000 };
        Duration::from_micros(self.rng.random_range(100..most))
    }

    fn line(&mut self, client: usize, number: u32) -> Option<&mut Line> {
        let line = self.clients[client].line.as_mut()?;
        (line.number == number).then_some(line)
    }

    // ---- trouble ------------------------------------------------------------------------

    /// Something happens to a line, by chance. Now and then nothing gets through afterwards.
    pub(super) fn trouble(&mut self, client: usize) {
        if self.rng.random_range(0..3) == 0 {
            let black = self.rng.random_range(1..45);
            self.clients[client].black = self.now + Duration::from_secs(black);
        }
        match self.rng.random_range(0..6) {
            0 => self.half_open(client),
            1 => self.one_way(client, true),
            2 => self.one_way(client, false),
            _ => self.cut(client),
        }
    }

    /// The line is gone with everything on it, and both ends know.
    fn cut(&mut self, client: usize) {
        let Some(line) = self.clients[client].line.take() else {
            return;
        };
        if let Some(link) = line.link {
            if self.rng.random_range(0..2) == 0 {
                self.core.closed(link, None, self.now);
            } else {
                self.core.ping_timeout(link, self.now);
            }
            self.pump_hub();
        }
        self.closed(client, Close::without_frame("cut"));
    }

    /// The hub's end is gone and the client is not told: a watch of its own has to notice,
    /// or TCP does in the end.
    fn half_open(&mut self, client: usize) {
        let Some(line) = &mut self.clients[client].line else {
            return;
        };
        // What is under way is lost.
        line.number += 1 << 20;
        let number = line.number;
        if let Some(link) = line.link.take() {
            self.core.closed(link, None, self.now);
            self.pump_hub();
        }
        let config = SessionConfig::of(
            self.clients[client].behaviour,
            self.clients[client].subprotocol,
        );
        if config.liveness == Liveness::Trust || self.rng.random_range(0..2) == 0 {
            self.lapse_later(client, number, 30..130);
        }
    }

    /// Frames of one direction vanish from now on. Somebody's patience ends.
    fn one_way(&mut self, client: usize, deaf: bool) {
        let Some(line) = &mut self.clients[client].line else {
            return;
        };
        line.deaf |= deaf;
        line.mute |= !deaf;
        let number = line.number;
        self.lapse_later(client, number, 5..60);
    }

    fn lapse_later(&mut self, client: usize, line: u32, seconds: std::ops::Range<u64>) {
        let at = self.now + Duration::from_secs(self.rng.random_range(seconds));
        self.at(at, What::Lapse { client, line });
        if let Some(line) = &mut self.clients[client].line {
            line.ends = true;
        }
    }

    /// Both ends give a line up.
    pub(super) fn lapse(&mut self, client: usize, number: u32) {
        let now = self.now;
        let Some(line) = self.line(client, number) else {
            return;
        };
        if let Some(link) = line.link.take() {
            self.core.ping_timeout(link, now);
            self.pump_hub();
        }
        self.closed(client, Close::without_frame("timed out"));
    }

    // ---- frames -------------------------------------------------------------------------

    pub(super) fn arrives_up(&mut self, client: usize, number: u32, bytes: &[u8]) {
        let Some(link) = self.line(client, number).and_then(|line| line.link) else {
            return;
        };
        let cut = self.cut_here(client, Way::Up);
        if cut != Some(false) {
            let subprotocol = self.clients[client].subprotocol;
            let request = codec::decode_request(subprotocol, payload(subprotocol, bytes)).unwrap();
            self.core.frame(link, request, self.now);
            self.pump_hub();
        }
        if cut.is_some() {
            self.cut(client);
        }
    }

    pub(super) fn arrives_down(&mut self, client: usize, number: u32, bytes: &[u8]) {
        if self.line(client, number).is_none() {
            return;
        }
        let cut = self.cut_here(client, Way::Down);
        if cut != Some(false) {
            let subprotocol = self.clients[client].subprotocol;
            let frame = codec::decode_downstream(subprotocol, payload(subprotocol, bytes)).unwrap();
            self.hear(client, frame);
            self.settle(client);
        }
        if cut.is_some() {
            self.cut(client);
        }
    }

    pub(super) fn ends(&mut self, client: usize, number: u32, code: Option<u16>) {
        if self.line(client, number).is_some() {
            let reason = String::new();
            self.closed(client, Close { code, reason });
        }
    }

    // ---- the client's shell -------------------------------------------------------------

    pub(super) fn dial(&mut self, client: usize, dial: Dial) {
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

    pub(super) fn dialled(&mut self, client: usize, number: u32) {
        let Some((_, dial)) = self.clients[client]
            .dial
            .take_if(|(current, _)| *current == number)
        else {
            return;
        };
        let now = self.now;
        let cut = self.cut_here(client, Way::Dial);
        if self.clients[client].black > now || cut == Some(false) {
            let session = &mut self.clients[client].session;
            session.handle_dial_failed(now, "black");
            return self.settle(client);
        }
        let link = match &dial {
            Dial::New => {
                let subprotocol = self.clients[client].subprotocol;
                Some(self.core.open(identity(), subprotocol, now))
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
            deaf: false,
            mute: false,
            ends: link.is_none(),
        });
        self.clients[client].session.handle_opened(now);
        if link.is_none() {
            let at = now + self.travel(client);
            let (line, code) = (number, Some(close::POLICY));
            self.at(at, What::DownEnd { client, line, code });
        }
        self.pump_hub();
        self.settle(client);
        if cut.is_some() {
            self.cut(client);
        }
    }

    /// The client gives its transport up.
    pub(super) fn leave(&mut self, client: usize, close: Option<Close>) {
        self.clients[client].dial = None;
        if let Some(line) = self.clients[client].line.take()
            && let Some(link) = line.link
        {
            // A goodbye does not get through a mute line.
            let code = close.and_then(|close| close.code).filter(|_| !line.mute);
            self.core.closed(link, code, self.now);
            self.pump_hub();
        }
    }

    /// Puts the frames that the session wants written on the line.
    pub(super) fn transmit(&mut self, client: usize) -> bool {
        let mut frames = Vec::new();
        let now = self.now;
        let Client {
            session,
            app,
            line,
            subprotocol,
            ..
        } = &mut self.clients[client];
        if line.is_none() {
            return false;
        }
        while let Some(transmit) = session.poll_transmit(now) {
            let mut bytes = Vec::new();
            codec::encode_upstream(*subprotocol, &frame(client, app, transmit), &mut bytes);
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
            let (number, mute) = (line.number, line.mute);
            if !mute {
                self.at(
                    at,
                    What::Up {
                        client,
                        line: number,
                        bytes,
                    },
                );
            }
        }
        any
    }
}

/// Whoever connects may join and publish, but not to the closed group.
fn identity() -> Identity {
    let roles = GROUPS.map(|group| format!("webpubsub.sendToGroup.{group}"));
    let roles = roles.iter().map(String::as_str);
    Identity {
        hub: "chat".into(),
        user: None,
        permissions: Permissions::from_roles(roles.chain(["webpubsub.joinLeaveGroup"])),
        remembered: Remembered::default(),
        groups: Vec::new(),
        token_lifetime: Duration::from_secs(7 * 24 * 3600),
    }
}

fn payload(subprotocol: crate::wire::Subprotocol, bytes: &[u8]) -> Payload<'_> {
    match subprotocol.is_binary() {
        true => Payload::Binary(bytes),
        false => Payload::Text(std::str::from_utf8(bytes).unwrap()),
    }
}
