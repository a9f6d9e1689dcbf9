//! Faults, carried out on one client. What happens when is the plan's (`chaos`).

use std::ops::Deref;
use std::time::Duration;

use crate::base::Time;
use crate::chaos::Injection;
use crate::scenario::{ChaosKind, Effect};
use crate::transport::{Control, Shape};
use crate::wire::close::{self, Close};

use super::body::Body;

/// Drops of one `flap`; a plan has up to five.
const FLAPS_MAX: usize = 16;
/// Network faults at work at once on one client; more do not hit.
const SHAPES_MAX: usize = 16;

/// The faults at work on one client. Most clients never have any: those pay a pointer.
#[derive(Debug, Default)]
pub(super) struct Faults(Option<Box<AtWork>>);

/// Each fault with its end.
#[derive(Debug, Default)]
pub(super) struct AtWork {
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
    /// New connections present an expired token until then.
    expired: Option<Time>,
    /// Dials are refused until then.
    refuse: Option<Time>,
    /// Handshakes never end until then.
    hang: Option<Time>,
    /// Drops to come, soonest last.
    flaps: Vec<Time>,
    /// What the network suffers, each until its time; at most [`SHAPES_MAX`].
    shapes: Vec<(Time, ChaosKind, Effect)>,
}

/// What happens to a dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DialFault {
    /// It fails at once.
    Fails(&'static str),
    /// It hangs for so long.
    Hangs(Duration),
}

static NOTHING: AtWork = AtWork {
    blackout: None,
    stall: None,
    half_open: None,
    no_sequence_ack: None,
    bad_token: false,
    expired: None,
    refuse: None,
    hang: None,
    flaps: Vec::new(),
    shapes: Vec::new(),
};

impl Deref for Faults {
    type Target = AtWork;

    fn deref(&self) -> &AtWork {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Faults {
    /// To add to them.
    fn at_work(&mut self) -> &mut AtWork {
        self.0.get_or_insert_default()
    }

    /// Whether the transport is half-open; asked when it is given up, which ends the fault.
    pub(super) fn take_half_open(&mut self) -> bool {
        self.0
            .as_mut()
            .is_some_and(|faults| faults.half_open.take().is_some())
    }

    /// Whether the next new connection presents an expired token.
    pub(super) fn take_bad_token(&mut self, now: Time) -> bool {
        self.0.as_mut().is_some_and(|faults| {
            let expired = faults.expired.is_some_and(|until| now < until);
            std::mem::take(&mut faults.bad_token) || expired
        })
    }

    /// Lets every fault end by `now`. Returns whether dials were hanging.
    fn end_all(&mut self, now: Time) -> bool {
        let Some(faults) = &mut self.0 else {
            return false;
        };
        let hanging = faults.hang.is_some();
        for until in [
            &mut faults.blackout,
            &mut faults.stall,
            &mut faults.half_open,
            &mut faults.no_sequence_ack,
            &mut faults.expired,
            &mut faults.refuse,
            &mut faults.hang,
        ] {
            *until = until.map(|until| until.min(now));
        }
        for (until, ..) in &mut faults.shapes {
            *until = (*until).min(now);
        }
        faults.flaps.clear();
        faults.bad_token = false;
        hanging
    }

    /// The transport that these were at work on is gone.
    fn transport_gone(&mut self) {
        if let Some(faults) = &mut self.0 {
            faults.stall = None;
            faults.half_open = None;
        }
    }
}

impl AtWork {
    pub(super) fn deadline(&self) -> Option<Time> {
        [
            self.blackout,
            self.stall,
            self.half_open,
            self.no_sequence_ack,
            self.expired,
            self.refuse,
            self.hang,
            self.flaps.last().copied(),
            self.shapes.iter().map(|(until, ..)| *until).min(),
        ]
        .into_iter()
        .flatten()
        .filter(|time| *time != Time::MAX)
        .min()
    }

    /// What happens to a dial that starts now.
    pub(super) fn dial_fault(&self, now: Time) -> Option<DialFault> {
        let on = |until: Option<Time>| until.filter(|until| now < *until);
        if on(self.blackout).is_some() {
            return Some(DialFault::Fails("blackout"));
        }
        if on(self.refuse).is_some() {
            return Some(DialFault::Fails("connection refused (injected)"));
        }
        on(self.hang).map(|until| DialFault::Hangs(until - now))
    }

    /// Whether a new connection must be shaped.
    pub(super) fn shapes_anything(&self) -> bool {
        !self.shapes.is_empty()
    }

    /// The network as all faults at work together make it: the longest delay, the narrowest
    /// pipe, the smallest pieces.
    fn shape(&self) -> Shape {
        let mut shape = Shape::default();
        let least = |was: Option<u64>, rate| Some(was.map_or(rate, |was: u64| was.min(rate)));
        for (_, kind, effect) in &self.shapes {
            match *effect {
                Effect::Delay { delay, jitter } => {
                    shape.delay = shape.delay.max(delay);
                    shape.jitter = shape.jitter.max(jitter);
                }
                Effect::BytesPerSecond(rate) => {
                    shape.read_rate = least(shape.read_rate, rate);
                    if *kind == ChaosKind::Throttle {
                        shape.write_rate = least(shape.write_rate, rate);
                    }
                }
                Effect::Pieces(size) => {
                    let size = size as usize;
                    shape.piece = Some(shape.piece.map_or(size, |was| was.min(size)));
                }
                Effect::Plain => {}
            }
        }
        shape
    }
}

impl Body {
    /// Carries out a fault that is due, and counts it if it hit anything.
    pub(super) fn inject(&mut self, injection: &Injection, now: Time) {
        let until = injection.lasts.map_or(Time::MAX, |lasts| now + lasts);
        let hit = match injection.kind {
            ChaosKind::Close => self.tear(Tear::Close, now),
            ChaosKind::Drop => self.tear(Tear::Fin, now),
            ChaosKind::Reset | ChaosKind::Storm => self.tear(Tear::Reset, now),
            ChaosKind::Flap => {
                self.faults.at_work().flaps = injection
                    .drops
                    .iter()
                    .rev()
                    .map(|after| now + *after)
                    .take(FLAPS_MAX)
                    .collect();
                self.faults_due(now);
                true
            }
            ChaosKind::Blackout | ChaosKind::RecoverLate => {
                let blackout = &mut self.faults.at_work().blackout;
                *blackout = (*blackout).max(Some(until));
                self.tear(Tear::Reset, now);
                true
            }
            ChaosKind::HalfOpen => {
                let hit = self.with_control(|control| control.black_hole(true));
                self.faults.at_work().half_open = hit.then_some(until);
                hit
            }
            ChaosKind::Stall => {
                let hit = self.with_control(|control| control.freeze_reads(true));
                self.faults.at_work().stall = hit.then_some(until);
                if hit {
                    self.tell_disturbed(until, now);
                }
                hit
            }
            ChaosKind::NoSequenceAck => {
                self.faults.at_work().no_sequence_ack = Some(until);
                self.session.withhold_sequence_acks(true);
                true
            }
            ChaosKind::BadToken => {
                self.faults.at_work().bad_token = true;
                true
            }
            ChaosKind::MidFrame => self.tear(Tear::MidFrame, now),
            ChaosKind::Refuse => {
                let refuse = &mut self.faults.at_work().refuse;
                *refuse = (*refuse).max(Some(until));
                true
            }
            ChaosKind::HandshakeHang => {
                let hang = &mut self.faults.at_work().hang;
                *hang = (*hang).max(Some(until));
                self.tear(Tear::Reset, now);
                true
            }
            ChaosKind::ExpireTokens => {
                let expired = &mut self.faults.at_work().expired;
                *expired = (*expired).max(Some(until));
                self.tear(Tear::Bye, now);
                true
            }
            ChaosKind::Latency
            | ChaosKind::Throttle
            | ChaosKind::Slice
            | ChaosKind::SlowConsumer => {
                let room = self.faults.shapes.len() < SHAPES_MAX;
                if room {
                    let shape = (until, injection.kind, injection.effect);
                    self.faults.at_work().shapes.push(shape);
                    self.reshape();
                    if let Some(later) = lateness(injection.effect) {
                        self.tell_disturbed(until + later, now);
                    }
                }
                room
            }
            // The coordinator restarts the hub; clients only feel it.
            ChaosKind::HubRestart => false,
        };
        if hit {
            self.me.shared.stats.borrow_mut().chaos[injection.kind as usize] += 1;
        }
    }

    /// Tells the verifier until when what is read may be late by our own doing. A half-open
    /// transport needs no telling: nothing is read from it any more.
    fn tell_disturbed(&self, until: Time, now: Time) {
        let shard = &self.me.shared.shard;
        shard.borrow_mut().disturbed(self.me.slot, until, now);
    }

    /// Ends every fault at work.
    pub(super) fn heal(&mut self, now: Time) {
        let hanging = self.faults.end_all(now);
        self.faults_due(now);
        if hanging && self.link.give_up_dial() {
            self.session
                .handle_dial_failed(now, "the injected hang is over");
        }
    }

    /// Ends the faults whose time is over.
    pub(super) fn faults_due(&mut self, now: Time) {
        let Some(faults) = &mut self.faults.0 else {
            return;
        };
        let over = |until: &mut Option<Time>| until.take_if(|until| *until <= now).is_some();
        over(&mut faults.blackout);
        over(&mut faults.refuse);
        over(&mut faults.hang);
        over(&mut faults.expired);
        let shapes = faults.shapes.len();
        faults.shapes.retain(|(until, ..)| *until > now);
        let reshape = faults.shapes.len() < shapes;
        let stalled = over(&mut faults.stall);
        let half_open = over(&mut faults.half_open);
        let no_sequence_ack = over(&mut faults.no_sequence_ack);
        let drops = faults.flaps.iter().filter(|at| **at <= now).count();
        faults.flaps.truncate(faults.flaps.len() - drops);
        if reshape {
            self.reshape();
        }
        if stalled {
            self.with_control(|control| control.freeze_reads(false));
            self.me.injected = false;
        }
        if half_open {
            // What was written meanwhile is lost, so the stream cannot go on: as a middlebox
            // does when its path is back, the connection is reset.
            self.tear(Tear::Reset, now);
        }
        if no_sequence_ack {
            self.session.withhold_sequence_acks(false);
        }
        for _ in 0..drops {
            self.tear(Tear::Reset, now);
        }
    }

    /// Gives the connection the network that the faults at work make; a new one, too.
    pub(super) fn reshape(&mut self) {
        let shape = self.faults.shape();
        let Some(socket) = &self.link.socket else {
            return;
        };
        let seed = self.me.shared.scenario.seed;
        let draws =
            (!shape.jitter.is_zero()).then(|| seed.draws("jitter", u64::from(self.me.slot.0)));
        socket.control().shape(shape, draws);
        // A connection that the hub gives up because of it is lost by our doing.
        self.me.injected = shape != Shape::default();
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
            Tear::MidFrame => socket
                .cut_inside_frame(&mut std::task::Context::from_waker(std::task::Waker::noop())),
            Tear::Bye => {
                socket.queue_close(&Close::with_code(close::NORMAL, "injected"));
                let _ = socket
                    .poll_flush(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            }
            Tear::Close => {
                // 1001 keeps the session, where 1000 would end it.
                socket.queue_close(&Close::with_code(close::GOING_AWAY, "injected"));
                let _ = socket
                    .poll_flush(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            }
        }
        drop(socket);
        self.faults.transport_gone();
        self.me.injected = true;
        let close = match tear {
            // The hub heard 1000; to the client it is as a hub that throws it out, so that
            // nothing is recovered on either side.
            Tear::Bye => Close::with_code(close::POLICY, "injected"),
            _ => Close::without_frame("injected"),
        };
        self.session.handle_closed(now, close);
        true
    }
}

/// How long after its end a fault of the network may still hold back what is read; `None`
/// for those that hold back nothing.
fn lateness(effect: Effect) -> Option<Duration> {
    match effect {
        Effect::Delay { delay, jitter } => Some(delay + jitter),
        Effect::BytesPerSecond(_) => Some(Duration::ZERO),
        Effect::Pieces(_) | Effect::Plain => None,
    }
}

/// How a transport is ended.
#[derive(Clone, Copy, Debug)]
enum Tear {
    /// Inside a frame, then FIN.
    MidFrame,
    /// A close frame that ends the session.
    Bye,
    /// A close frame that keeps the session.
    Close,
    Fin,
    Reset,
}
