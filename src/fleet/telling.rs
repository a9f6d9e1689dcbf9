//! How a fleet tells the others what its publishers did, and hears it of them.
//!
//! The facts themselves are the verifier's, their repetition is [`Exchange`]'s; here is who
//! drives it, and when it is over. Nothing of clients.

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;

use super::messages::{Report, Told};
use crate::base::Time;
use crate::client::{Road, Sabotage};
use crate::verify::{Exchange, ExchangeCounts, Facts, Letter, Party, Shard};

/// How often letters are exchanged once the last facts are taken.
pub(super) const CLOSING_EVERY: Duration = Duration::from_millis(50);
/// How many times then, until the facts that nobody acknowledged are given up: 5 s.
const CLOSING_ROUNDS: u32 = 100;

/// A fleet's end of the exchange of facts.
pub(super) struct Telling {
    exchange: Exchange<Arc<Facts>>,
    /// Rounds since the last facts were taken; `None`: there will be more.
    closing: Option<u32>,
    reports: u64,
    inwards: Road<Letter<Arc<Facts>>>,
    outwards: Road<Report>,
}

impl Telling {
    /// Of the fleet `index` among `fleets`: if there are others, the coordinator hears it too.
    pub(super) fn new(index: usize, fleets: usize, sabotage: Option<Sabotage>) -> Self {
        // Fleets are threads of this process: far fewer than 2^16.
        let party = |index| index as Party;
        let parties = if fleets > 1 { fleets + 1 } else { fleets };
        Telling {
            exchange: Exchange::new(party(index), (0..parties).map(party)),
            closing: None,
            reports: 0,
            inwards: Road::of_letters(sabotage),
            outwards: Road::of_reports(sabotage),
        }
    }

    /// Takes what is new of the shard's publishers, if there is room for it. What there is
    /// no room for stays with the shard and grows into the next facts.
    pub(super) fn take_new(&mut self, shard: &mut Shard, now: Time) {
        if self.closing.is_none()
            && self.exchange.has_room()
            && let Some(facts) = shard.take_facts(now)
        {
            self.exchange.push(Arc::new(facts));
        }
    }

    /// Takes the last facts: every publish has its outcome.
    pub(super) fn take_last(&mut self, shard: &mut Shard, now: Time) {
        if let Some(facts) = shard.take_facts(now) {
            self.exchange.push(Arc::new(facts));
        }
        self.closing = Some(0);
    }

    /// Whether the last facts are taken.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// The letters of this round.
    pub(super) fn round(&mut self) -> Vec<Letter<Arc<Facts>>> {
        if let Some(rounds) = &mut self.closing {
            *rounds += 1;
        }
        self.exchange.round()
    }

    /// Whether all others have the last facts.
    pub(super) fn told(&self) -> Told {
        match self.closing {
            None => Told::NotYet,
            Some(_) if self.exchange.is_settled() => Told::All,
            Some(rounds) if rounds > CLOSING_ROUNDS => Told::GaveUp,
            Some(_) => Told::NotYet,
        }
    }

    /// Another fleet's letter: its facts go to the shard, in order and once.
    pub(super) fn hear(&mut self, letter: Letter<Arc<Facts>>, shard: &mut Shard) {
        for letter in self.inwards.pass(letter) {
            for facts in self.exchange.take(letter) {
                shard.apply_facts(&facts);
            }
        }
    }

    /// Another fleet is gone.
    pub(super) fn forget(&mut self, fleet: usize) {
        self.exchange.forget(fleet as Party);
    }

    /// Numbers a report and sends it; false when it was not taken.
    pub(super) fn send(&mut self, mut report: Report, to: &Recipient<Report>) -> bool {
        self.reports += 1;
        report.number = self.reports;
        let mut arrive = self.outwards.pass(report).into_iter();
        arrive.all(|report| to.try_send(report).is_ok())
    }

    /// What the exchange has done and had to bear.
    pub(super) fn counts(&self) -> ExchangeCounts {
        self.exchange.counts()
    }
}
