//! The hub's shell: what the core wants sent, put on the lines.

use super::net::{What, World};
use crate::hub::core::End;

impl World {
    pub(super) fn pump_hub(&mut self) {
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
        self.wake_hub();
    }

    fn send_down(&mut self, client: usize, bytes: &[u8], end: Option<&End>) {
        let Some(line) = &mut self.clients[client].line else {
            return;
        };
        let number = line.number;
        if line.deaf {
            // Not even the end: that is what a lapse is for.
            return;
        }
        line.ends |= end.is_some();
        let mut whats: Vec<What> = messages(bytes)
            .into_iter()
            .map(|bytes| What::Down {
                client,
                line: number,
                bytes,
            })
            .collect();
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

/// The text and binary messages in a hub's bytes.
fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let [opcode, short, tail @ ..] = bytes {
        let (length, body) = match short {
            126 => (
                usize::from(u16::from_be_bytes([tail[0], tail[1]])),
                &tail[2..],
            ),
            short => (usize::from(*short), tail),
        };
        if matches!(opcode, 0x81 | 0x82) {
            messages.push(body[..length].to_vec());
        }
        bytes = &body[length..];
    }
    messages
}
