//! What happened to a client, told to the verifier and the counters. Decides nothing.

use std::rc::Rc;

use crate::base::{GroupId, Slot, Time};
use crate::metrics::{LatencyKind, Turn};
use crate::protocol::{Event, Operation, RecoveryFailure, Session};
use crate::verify;
use crate::wire::Downstream;
use crate::wire::close::Close;

use super::presence::Presence;
use super::publish::{Message, Numbering};
use super::shared::Shared;

/// A client's state as the gauges show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Disconnected,
    Connecting,
    Connected,
    Recovering,
    Stopped,
}

/// Everything of a client but its session and its socket. In the order of use.
#[repr(C)]
pub(super) struct Me {
    pub(super) shared: Rc<Shared>,
    pub(super) pool: usize,
    pub(super) slot: Slot,
    /// The address of its own connection, where somebody sends to it.
    replies: Option<GroupId>,
    /// When the next message of a closed loop is due.
    pub(super) next_publish: Option<Time>,
    pub(super) presence: Presence,
    pub(super) numbering: Numbering,
    pub(super) groups: Vec<GroupId>,
    // From here on: connections that come and go.
    /// First joins not answered yet; `None` until the first connection.
    pub(super) unjoined: Option<usize>,
    /// When the transport was lost, until the session is up again.
    lost_at: Option<Time>,
    pub(super) dialled_at: Time,
    phase: Phase,
    /// A fault of ours is at work on the transport.
    pub(super) injected: bool,
    /// The harness itself gave the transport up.
    gave_up: bool,
    first_dial_over: bool,
}

impl Me {
    pub(super) fn new(shared: Rc<Shared>, slot: Slot) -> Self {
        let pool = shared.scenario.pool_of(slot);
        let groups = shared.scenario.groups_of(slot);
        shared.stats.borrow_mut().pools[pool]
            .connections
            .disconnected += 1;
        Me {
            slot,
            pool,
            groups,
            replies: shared.audiences.connection(slot),
            numbering: Numbering::new(&shared.scenario, slot),
            phase: Phase::Disconnected,
            unjoined: None,
            lost_at: None,
            dialled_at: Time::ZERO,
            presence: Presence::default(),
            next_publish: None,
            injected: false,
            gave_up: false,
            first_dial_over: false,
            shared,
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        let mut stats = self.shared.stats.borrow_mut();
        let gauges = &mut stats.pools[self.pool].connections;
        let gauge = |phase| match phase {
            Phase::Disconnected => 0,
            Phase::Connecting => 1,
            Phase::Connected => 2,
            Phase::Recovering => 3,
            Phase::Stopped => 4,
        };
        let cells = [
            &mut gauges.disconnected,
            &mut gauges.connecting,
            &mut gauges.connected,
            &mut gauges.recovering,
            &mut gauges.stopped,
        ];
        *cells[gauge(self.phase)] -= 1;
        *cells[gauge(phase)] += 1;
        self.phase = phase;
    }

    /// The first attempt at a connection began; see [`Shared::connecting`].
    pub(super) fn first_dial_begins(&self) {
        self.shared.connecting.set(self.shared.connecting.get() + 1);
    }

    fn first_dial_ends(&mut self) {
        if !self.first_dial_over {
            self.first_dial_over = true;
            self.shared
                .connecting
                .set(self.shared.connecting.get().saturating_sub(1));
        }
    }

    /// Whether frames that came should be answered as if the client had one more to join.
    pub(super) fn is_ready(&self) -> bool {
        self.unjoined == Some(0)
    }

    pub(super) fn record(&self, kind: LatencyKind, micros: u64) {
        self.shared.stats.borrow_mut().pools[self.pool]
            .latency
            .record(kind, micros);
    }

    // ---- frames -----------------------------------------------------------------------

    /// A data message came.
    pub(super) fn data(&self, message: &crate::wire::DataMessage<'_>, fresh: bool, now: Time) {
        let now = match self.shared.sabotage {
            None => now,
            Some(sabotage) => {
                let (struck, start) = (self.shared.struck.get(), self.shared.load_start.get());
                match sabotage.stamp(struck, start, now) {
                    Some(stamp) => stamp,
                    None => return self.shared.struck.set(true),
                }
            }
        };
        self.numbering.tell_receipt(&self.shared, self.slot);
        let verdict = self
            .shared
            .shard
            .borrow_mut()
            .frame(self.slot, message, now);
        let mut stats = self.shared.stats.borrow_mut();
        let pool = &mut stats.pools[self.pool];
        if !fresh {
            pool.delivery.replays += 1;
            return;
        }
        pool.delivery.messages += 1;
        pool.delivery.bytes += message.data.as_bytes().len() as u64;
        if let Some(identity) = verdict.identity {
            let near = now.as_micros();
            // What a client sent to its own connection is the reply to an event.
            let reply = identity.publisher == self.slot && self.replies == Some(identity.group);
            let kind = match reply {
                true => LatencyKind::Reply,
                false => LatencyKind::Delivery,
            };
            pool.latency
                .record(kind, near.saturating_sub(identity.unwrap_intended(near)));
        }
    }

    /// Notes what a frame says beside what the session makes of it.
    pub(super) fn note(&self, frame: &Downstream<'_>) {
        if let Downstream::Unknown { kind } = frame {
            tracing::debug!(slot = %self.slot, %kind, "frame of a kind unknown here");
        }
    }

    // ---- events -----------------------------------------------------------------------

    pub(super) fn event(
        &mut self,
        session: &mut Session<Message>,
        event: Event<Message>,
        now: Time,
    ) {
        tracing::trace!(slot = %self.slot, event = event_name(&event), "session");
        self.numbering.tell_receipt(&self.shared, self.slot);
        match event {
            Event::Connected {
                connection_id,
                epoch,
                ..
            } => self.connected(session, &connection_id, epoch, now),
            Event::TransportLost(close) => self.transport_lost(&close, now),
            Event::RecoveryOpened { transport } => {
                self.shared
                    .shard
                    .borrow_mut()
                    .recovery_opened(self.slot, transport, now);
            }
            Event::RecoveryNamed { connection_id } => {
                self.shared.shard.borrow_mut().recovered_connection_id(
                    self.slot,
                    &connection_id,
                    now,
                );
            }
            Event::RecoveryConfirmed => {
                self.shared
                    .shard
                    .borrow_mut()
                    .recovery_confirmed(self.slot, now);
                self.set_phase(Phase::Connected);
                self.clients(|clients| clients.recoveries += 1);
                self.turn(Turn::Recovered, now);
                if let Some(lost) = self.lost_at.take() {
                    self.record(LatencyKind::Recovery, now.micros_since(lost));
                }
            }
            Event::RecoveryFailed(failure) => self.recovery_failed(failure, now),
            Event::NotRecoverable(close) => {
                let end = match close.code {
                    Some(crate::wire::close::NORMAL) => verify::ConnectionEnd::CleanClose,
                    _ => verify::ConnectionEnd::NotRecoverable,
                };
                self.turn(Turn::SessionOver, now);
                self.ended(end, now);
            }
            Event::ConnectFailed(error) => {
                self.first_dial_ends();
                self.set_phase(Phase::Disconnected);
                self.clients(|clients| clients.connect_failures += 1);
                tracing::debug!(slot = %self.slot, %error, "connect failed");
                self.shared.notes.borrow_mut().push(error);
            }
            Event::RejoinDone { .. } => {
                self.turn(Turn::Rejoined, now);
                if let Some(lost) = self.lost_at.take() {
                    self.record(LatencyKind::Reconnect, now.micros_since(lost));
                }
            }
            Event::RejoinFailed { group, error } => {
                self.clients(|clients| clients.rejoin_failures += 1);
                self.turn(Turn::JoinRefused, now);
                tracing::debug!(slot = %self.slot, %group, %error, "rejoin failed");
            }
            Event::Answered {
                operation,
                ack_id,
                answer,
            } => self.answered(&operation, ack_id, answer, now),
            Event::Settled(settled) => self.settled(session, settled, now),
            // No longer the client's business, but the verifier's all the same.
            Event::LateAck(ack_id) => self
                .shared
                .shard
                .borrow_mut()
                .request_answered(self.slot, ack_id, now),
            Event::UnsolicitedAck(ack_id) => self
                .shared
                .shard
                .borrow_mut()
                .unsolicited_ack(self.slot, ack_id, now),
            Event::BadFrame(error) => {
                self.gave_up = true;
                self.clients(|clients| clients.bad_frames += 1);
                self.shared
                    .notes
                    .borrow_mut()
                    .push(format!("unreadable frame at slot {}: {error}", self.slot));
            }
            Event::IdleTimeout => self.gave_up = true,
            Event::DisconnectNotice(reason) => {
                tracing::debug!(slot = %self.slot, ?reason, "hub says goodbye")
            }
            // A pool's client opens no stream and invokes nothing.
            Event::Newer(_) => {}
            Event::Stopped => {
                self.first_dial_ends();
                if self.presence.is_leaving() {
                    self.turn(Turn::Left, now);
                    self.departed(now);
                } else {
                    self.turn(Turn::Stopped, now);
                    // By its policy it does not come back: nobody need wait for it.
                    self.gone();
                }
                self.set_phase(Phase::Stopped);
            }
        }
    }

    /// A turn in this client's story.
    pub(super) fn turn(&self, turn: Turn, now: Time) {
        let mut moments = self.shared.moments.borrow_mut();
        moments.push(now, self.slot, turn);
    }

    pub(super) fn clients(&self, count: impl FnOnce(&mut crate::metrics::ClientCounts)) {
        count(&mut self.shared.stats.borrow_mut().pools[self.pool].clients);
    }

    fn connected(
        &mut self,
        session: &mut Session<Message>,
        connection_id: &str,
        epoch: u16,
        now: Time,
    ) {
        self.first_dial_ends();
        // A server that looks the connection up later than the verifier's stamp must find it.
        let known = self
            .shared
            .directory
            .enter(self.slot, connection_id)
            .then(|| self.shared.clock.now());
        let mut shard = self.shared.shard.borrow_mut();
        shard.connected(self.slot, epoch, connection_id, known.unwrap_or(now));
        drop(shard);
        self.set_phase(Phase::Connected);
        self.clients(|clients| {
            clients.connects += 1;
            clients.reconnects += u64::from(epoch > 0);
        });
        if epoch > 0 {
            self.turn(Turn::Reconnected, now);
        }
        self.record(LatencyKind::Connect, now.micros_since(self.dialled_at));
        if epoch == 0 {
            self.shared
                .ever_connected
                .set(self.shared.ever_connected.get() + 1);
            self.unjoined = Some(self.groups.len());
            for group in &self.groups {
                self.join(session, *group, now);
            }
            self.check_ready();
        }
    }

    pub(super) fn join(&self, session: &mut Session<Message>, group: GroupId, now: Time) {
        let name = self.shared.groups[group.index()].clone();
        // A new session has room for its joins; the check of the scenario bounds them.
        if session.request(now, Operation::Join(name), true).is_err() {
            self.shared.notes.borrow_mut().push(format!(
                "slot {} has too many groups to join at once",
                self.slot
            ));
        }
    }

    pub(super) fn check_ready(&self) {
        // Nobody waits for visitors.
        let visitor = self.shared.scenario.pools[self.pool].sessions.is_some();
        if self.is_ready() && !visitor {
            self.shared.ready.set(self.shared.ready.get() + 1);
        }
    }

    fn transport_lost(&mut self, close: &Close, now: Time) {
        let cause = match (self.injected, self.gave_up) {
            (true, _) => verify::LossCause::Injected,
            (false, true) => verify::LossCause::Harness,
            (false, false) => verify::LossCause::Hub,
        };
        (self.injected, self.gave_up) = (false, false);
        let turn = match cause {
            verify::LossCause::Injected => Turn::LostInjected,
            verify::LossCause::Hub => Turn::LostHub,
            verify::LossCause::Harness => Turn::LostHarness,
        };
        self.turn(turn, now);
        self.shared
            .shard
            .borrow_mut()
            .transport_lost(self.slot, cause, close.code, now);
        self.lost_at = Some(now);
        self.set_phase(Phase::Recovering);
        self.clients(|clients| {
            clients.disconnects += 1;
            match cause {
                verify::LossCause::Injected => clients.disconnects_injected += 1,
                verify::LossCause::Hub => clients.disconnects_hub += 1,
                verify::LossCause::Harness => clients.disconnects_harness += 1,
            }
        });
    }

    /// Counts a client that was connected once and will not be again.
    fn gone(&self) {
        if self.unjoined.is_some() {
            self.shared.departed.set(self.shared.departed.get() + 1);
        }
    }

    /// A visitor has gone; what is left of its memberships ends here.
    fn departed(&self, now: Time) {
        self.gone();
        self.shared.shard.borrow_mut().connection_ended(
            self.slot,
            verify::ConnectionEnd::CleanClose,
            now,
        );
    }

    fn recovery_failed(&mut self, failure: RecoveryFailure, now: Time) {
        self.clients(|clients| clients.recovery_failures += 1);
        let turn = match failure {
            RecoveryFailure::Refused => Turn::RecoveryRefused,
            RecoveryFailure::WindowPassed => Turn::RecoveryGivenUp,
        };
        self.turn(turn, now);
        let forgotten = self
            .lost_at
            .is_some_and(|lost| self.shared.restarted_about(lost, now));
        let end = match failure {
            RecoveryFailure::Refused if forgotten => verify::ConnectionEnd::HubRestart,
            RecoveryFailure::Refused => verify::ConnectionEnd::Refused,
            RecoveryFailure::WindowPassed => verify::ConnectionEnd::WindowPassed,
        };
        if end == verify::ConnectionEnd::Refused {
            self.shared
                .shard
                .borrow_mut()
                .recovery_refused(self.slot, now);
        }
        self.ended(end, now);
    }

    fn ended(&mut self, end: verify::ConnectionEnd, now: Time) {
        self.shared
            .shard
            .borrow_mut()
            .connection_ended(self.slot, end, now);
        self.set_phase(Phase::Connecting);
    }
}

fn event_name(event: &Event<Message>) -> &'static str {
    match event {
        Event::Connected { .. } => "connected",
        Event::DisconnectNotice(_) => "disconnect notice",
        Event::TransportLost(_) => "transport lost",
        Event::RecoveryOpened { .. } => "recovery opened",
        Event::RecoveryNamed { .. } => "recovery named",
        Event::RecoveryConfirmed => "recovery confirmed",
        Event::RecoveryFailed(_) => "recovery failed",
        Event::NotRecoverable(_) => "not recoverable",
        Event::ConnectFailed(_) => "connect failed",
        Event::RejoinDone { .. } => "rejoin done",
        Event::RejoinFailed { .. } => "rejoin failed",
        Event::Answered { .. } => "answered",
        Event::Settled(_) => "settled",
        Event::LateAck(_) => "late ack",
        Event::UnsolicitedAck(_) => "unsolicited ack",
        Event::BadFrame(_) => "bad frame",
        Event::IdleTimeout => "idle timeout",
        Event::Newer(_) => "stream or invocation",
        Event::Stopped => "stopped",
    }
}
