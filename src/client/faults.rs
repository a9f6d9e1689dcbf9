//! Faults, carried out on one client. What happens when is the plan's (`chaos`).

use crate::base::Time;
use crate::chaos::Injection;
use crate::scenario::ChaosKind;
use crate::transport::Control;
use crate::wire::close::{self, Close};

use super::actor::Client;

/// Drops of one `flap`; a plan has up to five.
const FLAPS_MAX: usize = 16;

/// The faults at work on one client now, each with its end.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Every dial fails until then.
    blackout: Option<Time>,
    /// Reads stop until then.
    stall: Option<Time>,
    /// Nothing moves until then; [`Time::MAX`]: until the client notices.
    half_open: Option<Time>,
    /// Sequence acks are withheld until then.
    no_sequence_ack: Option<Time>,
    /// The next new connection presents an expired token.
    bad_token: bool,
    /// Drops to come, soonest last.
    flaps: Vec<Time>,
}

impl Faults {
    pub(super) fn deadline(&self) -> Option<Time> {
        [
            self.blackout,
            self.stall,
            self.half_open,
            self.no_sequence_ack,
            self.flaps.last().copied(),
        ]
        .into_iter()
        .flatten()
        .filter(|time| *time != Time::MAX)
        .min()
    }

    pub(super) fn blocked(&self, now: Time) -> bool {
        self.blackout.is_some_and(|until| now < until)
    }

    /// Whether the transport is half-open; asked when it is given up, which ends the fault.
    pub(super) fn take_half_open(&mut self) -> bool {
        self.half_open.take().is_some()
    }

    pub(super) fn take_bad_token(&mut self) -> bool {
        std::mem::take(&mut self.bad_token)
    }
}

impl Client {
    /// Carries out a fault that is due, and counts it if it hit anything.
    pub(super) fn inject(&mut self, injection: &Injection, now: Time) {
        let until = injection.lasts.map_or(Time::MAX, |lasts| now + lasts);
        let hit = match injection.kind {
            ChaosKind::Close => self.tear(Tear::Close, now),
            ChaosKind::Drop => self.tear(Tear::Fin, now),
            ChaosKind::Reset | ChaosKind::Storm => self.tear(Tear::Reset, now),
            ChaosKind::Flap => {
                self.faults.flaps = injection
                    .drops
                    .iter()
                    .rev()
                    .map(|after| now + *after)
                    .take(FLAPS_MAX)
                    .collect();
                self.faults_due(now);
                true
            }
            ChaosKind::Blackout => {
                self.faults.blackout = Some(until);
                self.tear(Tear::Reset, now);
                true
            }
            ChaosKind::HalfOpen => {
                let hit = self.with_control(|control| control.black_hole(true));
                self.faults.half_open = hit.then_some(until);
                hit
            }
            ChaosKind::Stall => {
                let hit = self.with_control(|control| control.freeze_reads(true));
                self.faults.stall = hit.then_some(until);
                hit
            }
            ChaosKind::NoSequenceAck => {
                self.faults.no_sequence_ack = Some(until);
                self.session.withhold_sequence_acks(true);
                true
            }
            ChaosKind::BadToken => {
                self.faults.bad_token = true;
                true
            }
            // The coordinator restarts the hub; clients only feel it.
            ChaosKind::HubRestart => false,
        };
        if hit {
            self.me.shared.stats.borrow_mut().chaos[injection.kind as usize] += 1;
        }
    }

    /// Ends the faults whose time is over.
    pub(super) fn faults_due(&mut self, now: Time) {
        let over = |until: &mut Option<Time>| until.take_if(|until| *until <= now).is_some();
        over(&mut self.faults.blackout);
        if over(&mut self.faults.stall) {
            self.with_control(|control| control.freeze_reads(false));
            self.me.injected = false;
        }
        if over(&mut self.faults.half_open) {
            // What was written meanwhile is lost, so the stream cannot go on: as a middlebox
            // does when its path is back, the connection is reset.
            self.tear(Tear::Reset, now);
        }
        if over(&mut self.faults.no_sequence_ack) {
            self.session.withhold_sequence_acks(false);
        }
        while self.faults.flaps.last().is_some_and(|at| *at <= now) {
            self.faults.flaps.pop();
            self.tear(Tear::Reset, now);
        }
    }

    /// Acts on the raw connection. Returns whether there is one.
    fn with_control(&mut self, act: impl FnOnce(&Control)) -> bool {
        let Some(socket) = &self.link.socket else {
            return false;
        };
        self.me.injected = true;
        act(socket.control());
        true
    }

    /// Ends the transport, or the dial of one. Returns whether there was either.
    fn tear(&mut self, tear: Tear, now: Time) -> bool {
        let Some(mut socket) = self.link.socket.take() else {
            let dialling = self.link.give_up_dial();
            if dialling {
                self.session.handle_dial_failed(now, "injected");
            }
            return dialling;
        };
        match tear {
            Tear::Fin => {}
            Tear::Reset => socket.control().reset(),
            Tear::Close => {
                // 1001 keeps the session, where 1000 would end it.
                socket.queue_close(&Close::with_code(close::GOING_AWAY, "injected"));
                let _ = socket
                    .poll_flush(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            }
        }
        drop(socket);
        self.faults.stall = None;
        self.faults.half_open = None;
        self.me.injected = true;
        self.session
            .handle_closed(now, Close::without_frame("injected"));
        true
    }
}

/// How a transport is ended.
#[derive(Clone, Copy, Debug)]
enum Tear {
    Close,
    Fin,
    Reset,
}
