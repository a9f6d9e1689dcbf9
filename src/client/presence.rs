//! Clients that leave a group for a while, and visitors that leave for good.
//!
//! Both say so to the hub first, so that the verifier has an answer to hold deliveries
//! against; a visitor ends its connection when every request has its outcome.

use std::sync::Arc;

use crate::base::{GroupId, Time};
use crate::protocol::{Operation, Session};

use super::events::Me;
use super::publish::Message;

/// Where a client stands with its groups, beside its first joins.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Whose turn it is to be left.
    turn: usize,
    /// The group that the client is away from: one at a time.
    away: Option<Away>,
    /// A visitor on its way out.
    leaving: bool,
}

#[derive(Debug)]
struct Away {
    group: GroupId,
    /// When to join again.
    until: Time,
    /// The leave has its outcome; only then a join may follow, or the two could change places.
    left: bool,
}

impl Presence {
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.away
            .as_ref()
            .filter(|away| away.left)
            .map(|away| away.until)
    }
}

impl Me {
    /// Leaves the next of the groups. Does nothing while away from one, before the first
    /// joins are through, or on the way out.
    pub(super) fn leave_a_group(&mut self, session: &mut Session<Message>, now: Time) {
        let shared = self.shared.clone();
        let Some(churn) = shared.scenario.pools[self.pool].churn else {
            return;
        };
        let here = self.is_ready() && self.presence.away.is_none() && !self.presence.leaving;
        if !here || self.groups.is_empty() || shared.load_over.get() {
            return;
        }
        let group = self.groups[self.presence.turn % self.groups.len()];
        let leave = Operation::Leave(shared.groups[group.index()].clone());
        if session.request(now, leave, true).is_ok() {
            self.presence.turn += 1;
            self.presence.away = Some(Away {
                group,
                until: now + churn.away,
                left: false,
            });
            self.clients(|clients| clients.leaves += 1);
        }
    }

    /// The hub's last word on a leave.
    pub(super) fn leave_settled(&mut self, group: &Arc<str>) {
        let id = self.shared.group_id(group);
        if let Some(away) = &mut self.presence.away
            && id == Some(away.group)
        {
            away.left = true;
        }
    }

    /// Joins the group again when its time has come.
    pub(super) fn return_to_group(&mut self, session: &mut Session<Message>, now: Time) {
        let back = |away: &mut Away| away.left && away.until <= now;
        if let Some(away) = self.presence.away.take_if(back)
            && !self.presence.leaving
        {
            self.join(session, away.group, now);
        }
    }

    /// A visitor's time is over: it leaves its groups; see [`Presence::is_leaving`].
    pub(super) fn depart(&mut self, session: &mut Session<Message>, now: Time) {
        self.presence.leaving = true;
        self.next_publish = None;
        if session.epoch().is_none() {
            // It never got in: nothing to leave, and nothing to wait for.
            session.abandon_requests();
            return;
        }
        let away = self.presence.away.take().map(|away| away.group);
        for group in self.groups.iter().filter(|group| Some(**group) != away) {
            let leave = Operation::Leave(self.shared.groups[group.index()].clone());
            // Bounded by the requests that a session takes; a group not left ends with the
            // connection.
            if session.request(now, leave, true).is_ok() {
                self.clients(|clients| clients.leaves += 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::base::{AckId, Clock, Slot};
    use crate::client::{Shared, SharedConfig};
    use crate::protocol::{Output, Transmit};
    use crate::scenario::{self, Overrides};
    use crate::transport::{Target, TlsOptions};
    use crate::verify::{self, Shard};
    use crate::wire::Downstream;
    use crate::wire::downstream::{Ack, Connected};

    /// A client in two groups that leaves one for two seconds, with a hub that answers when
    /// it is told to.
    struct Bench {
        shared: Rc<Shared>,
        me: Me,
        session: Session<Message>,
        now: Time,
        /// What was asked of the hub, and not answered yet.
        asked: VecDeque<(String, AckId)>,
    }

    impl Bench {
        fn new() -> Self {
            let text = "seed: 1\npools:\n  a: {clients: 1, groups: {count: 2, join: 2}, churn: {every: 30s, away: 2s}}\n";
            let scenario = scenario::parse(text, "t.yaml", &Overrides::default(), &|_| None)
                .unwrap_or_else(|wrong| panic!("{wrong}"));
            let plan = verify::Plan {
                run: 1,
                promise: verify::Promise::Reference,
                mode: verify::Mode::Full,
                memory_budget: 1 << 20,
                drain: scenario.drain,
                late_after: scenario.drain,
                ack_within: verify::ACK_WITHIN,
                exclusive: true,
                groups: scenario
                    .groups
                    .iter()
                    .map(|name| name.as_str().into())
                    .collect(),
                audiences: Vec::new(),
                slots: vec![verify::SlotPlan {
                    reliable: true,
                    ..verify::SlotPlan::default()
                }],
            };
            let target = Target::from_endpoint("http://127.0.0.1:9", "h", None).unwrap();
            let config = SharedConfig {
                clock: Clock::start(),
                scenario: Arc::new(scenario),
                run: 1,
                target: Arc::new(target),
                tls: TlsOptions::default(),
                sources: None,
                directory: Arc::default(),
                sabotage: None,
            };
            let shared = Shared::new(config, Shard::new(Arc::new(plan), 0..1)).unwrap();
            let me = Me::new(shared.clone(), Slot(0));
            let config = Arc::new(shared.scenario.pools[0].client.session.clone());
            let mut bench = Bench {
                session: Session::new(config, shared.scenario.seed),
                shared,
                me,
                now: Time::from_secs(1),
                asked: VecDeque::new(),
            };
            bench.me.first_dial_begins();
            bench.session.start();
            bench.listen();
            bench.session.handle_opened(bench.now);
            bench.hear(Downstream::Connected(Connected {
                connection_id: "c".into(),
                user_id: None,
                reconnection_token: Some("t".into()),
            }));
            bench
        }

        fn hear(&mut self, frame: Downstream<'_>) {
            self.session.handle_frame(self.now, frame);
            self.listen();
        }

        /// Events go to the client, requests to the hub.
        fn listen(&mut self) {
            while let Some(output) = self.session.poll_output() {
                // There is no link here: dials and closes go nowhere.
                if let Output::Event(event) = output {
                    self.me.event(&mut self.session, event, self.now);
                }
            }
            while let Some(transmit) = self.session.poll_transmit(self.now) {
                let Transmit::Request {
                    operation,
                    transmission,
                } = transmit
                else {
                    continue;
                };
                let what = match operation {
                    Operation::Join(group) => format!("join {group}"),
                    Operation::Leave(group) => format!("leave {group}"),
                    _ => "else".to_owned(),
                };
                let id = transmission.ack_id.expect("asked with an ackId");
                self.asked.push_back((what, id));
            }
        }

        /// The hub answers the oldest request with success; says which it was.
        fn answer(&mut self) -> String {
            let (what, ack_id) = self.asked.pop_front().expect("nothing was asked");
            self.hear(Downstream::Ack(Ack {
                ack_id,
                success: true,
                error: None,
            }));
            what
        }

        fn leave_one(&mut self) {
            self.me.leave_a_group(&mut self.session, self.now);
            self.listen();
        }

        fn come_back(&mut self) {
            self.me.return_to_group(&mut self.session, self.now);
            self.listen();
        }

        fn leaves(&self) -> u64 {
            self.shared.stats.borrow().pools[0].clients.leaves
        }
    }

    #[actix_rt::test]
    async fn nobody_leaves_before_the_first_joins_are_through() {
        // A leave that overtook its join would leave the client a member for good.
        let mut bench = Bench::new();
        assert_eq!(bench.answer(), "join group-0");
        bench.leave_one();
        assert_eq!(bench.leaves(), 0);
        assert_eq!(bench.answer(), "join group-1");
        bench.leave_one();
        assert_eq!(bench.answer(), "leave group-0");
        assert_eq!(bench.leaves(), 1);
    }

    #[actix_rt::test]
    async fn a_client_is_back_after_its_time_and_only_after_the_leave_was_answered() {
        let mut bench = Bench::new();
        bench.answer();
        bench.answer();
        bench.leave_one();
        bench.now += Duration::from_secs(5);
        // The answer is late: a join now could change places with the leave.
        assert_eq!(bench.me.presence.deadline(), None);
        bench.come_back();
        assert_eq!(bench.asked.len(), 1);
        bench.answer();
        assert!(
            bench
                .me
                .presence
                .deadline()
                .is_some_and(|at| at <= bench.now)
        );
        bench.come_back();
        assert_eq!(bench.answer(), "join group-0");
        // The other group's turn; and one at a time.
        bench.leave_one();
        bench.leave_one();
        assert_eq!(bench.answer(), "leave group-1");
        assert!(bench.asked.is_empty());
        bench.come_back();
        assert!(bench.asked.is_empty(), "it is away for two seconds");
    }

    #[actix_rt::test]
    async fn a_run_whose_load_is_over_sees_no_more_leaves() {
        // What is drained must not go on changing.
        let mut bench = Bench::new();
        bench.answer();
        bench.answer();
        bench.shared.load_over.set(true);
        bench.leave_one();
        assert!(bench.asked.is_empty());
    }

    #[actix_rt::test]
    async fn a_visitor_leaves_every_group_that_it_is_in_and_joins_none_any_more() {
        let mut bench = Bench::new();
        bench.answer();
        bench.answer();
        bench.leave_one();
        bench.answer();
        bench.me.depart(&mut bench.session, bench.now);
        bench.listen();
        assert!(bench.me.presence.is_leaving());
        assert_eq!(bench.answer(), "leave group-1");
        bench.now += Duration::from_secs(9);
        bench.come_back();
        bench.leave_one();
        assert!(bench.asked.is_empty());
        assert_eq!(bench.session.outstanding(), 0);
    }
}
