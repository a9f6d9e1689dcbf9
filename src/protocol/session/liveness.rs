//! Silence: when to ask for a sign of life, and when a transport counts as dead.

use crate::base::Time;
use crate::protocol::config::Liveness;

/// What was heard and asked on one transport.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A `ping` is to be written.
    pub(super) ping: bool,
    heard: Time,
    /// Asked since then, with no frame after it.
    asked: Option<Time>,
    next_beat: Time,
    next_look: Time,
}

impl Watch {
    /// A transport opened.
    pub(super) fn opened(&mut self, now: Time, policy: &Liveness) {
        *self = Watch {
            heard: now,
            ..Watch::default()
        };
        if let Liveness::Beat { every, look, .. } = policy {
            self.next_beat = now + *every;
            self.next_look = now + *look;
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Time) {
        self.heard = now;
        self.asked = None;
    }

    /// When [`Watch::is_dead`] next has something to do.
    pub(super) fn due(&self, policy: &Liveness) -> Option<Time> {
        match policy {
            Liveness::Trust => None,
            Liveness::Probe { after, within } => Some(match self.asked {
                Some(asked) => asked + *within,
                None => self.heard + *after,
            }),
            Liveness::Beat { .. } => Some(self.next_beat.min(self.next_look)),
        }
    }

    /// Asks when it is time to, and tells whether the silence was too long.
    pub(super) fn is_dead(&mut self, now: Time, policy: &Liveness) -> bool {
        match policy {
            Liveness::Trust => false,
            Liveness::Probe { after, within } => match self.asked {
                Some(asked) => asked + *within <= now,
                None => {
                    if self.heard + *after <= now {
                        self.asked = Some(now);
                        self.ping = true;
                    }
                    false
                }
            },
            Liveness::Beat {
                every,
                silence,
                look,
            } => {
                if self.next_beat <= now {
                    self.ping = true;
                    self.next_beat = now + *every;
                }
                let looked = self.next_look <= now;
                if looked {
                    self.next_look = now + *look;
                }
                looked && now.since(self.heard) > *silence
            }
        }
    }

    pub(super) fn take_ping(&mut self) -> bool {
        std::mem::take(&mut self.ping)
    }
}
