//! The core on a virtual clock: what a client sees, and what the hub counts.

mod accounts;
mod connection_faults;
mod dialects;
mod faults;
mod protocol;
mod streams;
mod upstream;

use std::time::Duration;

use serde_json::Value;

use super::{Core, End, Identity, Key, Permissions, Settings};
use crate::base::{Seed, Time};
use crate::hub::config::{EventHandler, SystemEvents};
use crate::hub::core::recovery::RecoveryRefused;
use crate::wire::{Subprotocol, json};

/// A hub core with a clock that only tests move.
struct World {
    core: Core,
    now: Time,
}

/// One client's end: what it was sent.
struct Seen {
    frames: Vec<Value>,
    end: Option<End>,
}

impl World {
    fn new() -> Self {
        Self::with(&[], EventHandler::Echo)
    }

    fn faulty(fault: &str) -> Self {
        Self::with(&[fault], EventHandler::Echo)
    }

    fn with(faults: &[&str], handler: EventHandler) -> Self {
        Self::made(faults, handler, None)
    }

    /// Events go upstream.
    fn handled() -> Self {
        Self::made(&[], EventHandler::None, Some(SystemEvents::default()))
    }

    fn made(faults: &[&str], handler: EventHandler, upstream: Option<SystemEvents>) -> Self {
        World {
            core: Core::new(Settings {
                seed: Seed(7),
                id_seed: Seed(7),
                faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
                recovery_window: Duration::from_secs(30),
                handler,
                upstream,
                access_key: None,
                start: Time::ZERO,
            }),
            now: Time::ZERO,
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.core.handle_timeout(self.now);
    }

    fn open_as(
        &mut self,
        subprotocol: Subprotocol,
        user: Option<&str>,
        roles: Option<&[&str]>,
    ) -> Key {
        let permissions = roles.map_or_else(Permissions::all, |roles| {
            Permissions::from_roles(roles.iter().copied())
        });
        let identity = Identity {
            hub: "Chat".into(),
            user: user.map(Into::into),
            permissions,
            remembered: crate::hub::core::Remembered::default(),
            groups: Vec::new(),
            token_lifetime: Duration::from_secs(100),
        };
        self.core.open(identity, subprotocol, self.now)
    }

    /// A reliable client with all roles that has read its `connected` frame.
    fn client(&mut self) -> Key {
        let link = self.open_as(Subprotocol::JsonReliable, Some("u1"), None);
        self.read(link);
        link
    }

    /// The same, and member of `g`.
    fn member(&mut self) -> Key {
        let link = self.client();
        self.send(link, r#"{"type":"joinGroup","group":"g"}"#);
        link
    }

    /// Sends a frame.
    fn send(&mut self, link: Key, frame: &str) {
        let now = self.now;
        self.core
            .frame(link, json::decode_request(frame).unwrap(), now);
    }

    /// Publishes `text` to `g` with an ackId.
    fn publish(&mut self, link: Key, ack_id: u64, text: &str) {
        self.send(link, &format!(r#"{{"type":"sendToGroup","group":"g","ackId":{ack_id},"dataType":"text","data":"{text}"}}"#));
    }

    fn read_all(&mut self, link: Key) -> Seen {
        let mut bytes = Vec::new();
        let end = self.core.drain(link, &mut bytes, usize::MAX, self.now);
        let mut frames = Vec::new();
        let mut rest = bytes.as_slice();
        while let [opcode, short, tail @ ..] = rest {
            let (length, body) = match short {
                126 => (
                    usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                    &tail[2..],
                ),
                127 => (
                    usize::try_from(u64::from_be_bytes(*tail.first_chunk().unwrap())).unwrap(),
                    &tail[8..],
                ),
                short => (usize::from(*short), tail),
            };
            if *opcode == 0x81 {
                frames.push(serde_json::from_slice(&body[..length]).unwrap());
            }
            rest = &body[length..];
        }
        Seen { frames, end }
    }

    fn read(&mut self, link: Key) -> Vec<Value> {
        self.read_all(link).frames
    }

    /// The data messages since the last look, as `id:payload`.
    fn data(&mut self, link: Key) -> Vec<String> {
        self.read(link)
            .iter()
            .filter(|frame| frame["type"] == "message")
            .map(shown)
            .collect()
    }

    /// The acks since the last look, as `ackId` or `ackId:error`.
    fn acks(&mut self, link: Key) -> Vec<String> {
        self.read(link)
            .iter()
            .filter(|frame| frame["type"] == "ack")
            .map(|ack| {
                assert_eq!(ack["success"], ack["error"].is_null());
                match ack["error"]["name"].as_str() {
                    Some(name) => format!("{}:{name}", ack["ackId"]),
                    None => ack["ackId"].to_string(),
                }
            })
            .collect()
    }

    /// connectionId and token of a fresh session that is member of `g`.
    fn recoverable(&mut self) -> (Key, String, String) {
        let link = self.open_as(Subprotocol::JsonReliable, None, None);
        let connected = self.read(link).remove(0);
        self.send(link, r#"{"type":"joinGroup","group":"g"}"#);
        let text = |name: &str| connected[name].as_str().unwrap().to_owned();
        (link, text("connectionId"), text("reconnectionToken"))
    }

    fn drop_link(&mut self, link: Key) {
        let now = self.now;
        self.core.closed(link, None, now);
    }

    fn recover(&mut self, id: &str, token: &str) -> Result<Key, RecoveryRefused> {
        let now = self.now;
        self.core.recover(id, token, now)
    }
}

fn shown(message: &Value) -> String {
    let data = message["data"]
        .as_str()
        .map_or_else(|| message["data"].to_string(), Into::into);
    match message["sequenceId"].as_u64() {
        Some(id) => format!("{id}:{data}"),
        None => data,
    }
}
