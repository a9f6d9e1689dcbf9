//! What a message that did not come is: owed and lost, permitted, or out of reach.

use super::*;

/// One missing (message, receiver) pair that is laid to the hub.
pub(super) struct Loss {
    pub(super) slot: Slot,
    pub(super) epoch: u16,
    pub(super) stream: StreamId,
    pub(super) seq: u32,
    pub(super) kind: Option<Violation>,
    pub(super) recovery: Option<u16>,
    /// A plain loss at the end of its pair, to a connection that is still there.
    pub(super) may_stall: bool,
}

/// What a missing message is, if it was acked.
pub(super) enum What {
    Outside,
    Edge,
    Permitted(Permitted),
    /// In the window at this place.
    Lost(usize, Lost),
}

#[derive(Clone, Copy)]
pub(super) enum Lost {
    Plain,
    AtJoin,
    AtLeave,
    Unreliable,
}

impl Oracle<'_> {
    /// Connections (slot, epoch) that fell silent with what they are owed.
    pub(super) fn stalled(&self) -> HashSet<(Slot, u16)> {
        let mut spans: HashMap<(Slot, u16), (u64, u64)> = HashMap::new();
        for loss in self.losses.iter().filter(|l| l.may_stall) {
            let at = self.settled_at(loss.stream, loss.seq);
            let span = spans.entry((loss.slot, loss.epoch)).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
        }
        spans
            .into_iter()
            .filter(|((slot, epoch), (first, last))| {
                let frames = self.history.frames[slot].iter();
                let data = frames.filter(|f| f.epoch == *epoch).map(|f| f.at).max();
                data.unwrap_or(0) <= *first && last - first >= 2_000_000
            })
            .map(|(connection, _)| connection)
            .collect()
    }

    pub(super) fn missing(
        &mut self,
        slot: Slot,
        stream: StreamId,
        windows: &[Window],
        seq: u32,
        message: &Message,
        firsts: &[Arrived],
    ) {
        let what = self.what(stream, windows, seq, message, slot, firsts);
        match (what, message.fate) {
            (What::Outside, _) => self.verdict.delivery.outside += 1,
            (_, Fate::Unknown) => self.permit(Permitted::PublishUnknown),
            (_, Fate::Failed | Fate::Forbidden) => self.permit(Permitted::PublishFailed),
            (_, Fate::FireAndForget) => self.permit(Permitted::FireAndForget),
            (What::Edge, Fate::Ok) => {
                self.verdict.delivery.edge += 1;
                self.permit(Permitted::AtMembershipEdge);
            }
            (What::Permitted(why), Fate::Ok) => self.permit(why),
            (What::Lost(at, lost), Fate::Ok) => {
                let latest = at + 1 == windows.len();
                let overtaken = firsts.iter().any(|a| a.frame.identity.seq > seq);
                self.lost(slot, stream, &windows[at], (latest, overtaken), seq, lost);
            }
        }
    }

    /// What a message that did not come is, if it was acked.
    pub(super) fn what(
        &self,
        stream: StreamId,
        windows: &[Window],
        seq: u32,
        message: &Message,
        slot: Slot,
        firsts: &[Arrived],
    ) -> What {
        let owner = self.owner(stream, windows, seq);
        let from = owner.map_or(0, |at| at + 1);
        let edge = windows[from..].iter().any(|w| self.may(stream, w, seq));
        let owner = owner.map(|at| (at, &windows[at]));
        let how = owner.map(|(_, w)| match w.ended {
            Some((_, end)) => Some(end),
            None => w.leave_invoked.map(|_| End::Left),
        });
        let outside = match (owner, how) {
            (Some((_, w)), Some(Some(End::Left | End::Refused))) => {
                let ended = w.ended.and_then(|(at, _)| self.after(stream, at));
                seq > self.ceiling(stream, w) && ended.is_some_and(|(invoked, _)| seq > invoked)
            }
            (None, _) => true,
            _ => false,
        };
        if outside && !edge {
            return What::Outside;
        }
        let Some((at, window)) = owner.filter(|_| !outside) else {
            return What::Edge;
        };
        let here = || firsts.iter().filter(|a| a.window == at);
        let later = || here().filter(|a| a.frame.identity.seq > seq);
        let overtaken = later().map(|a| a.frame.at).min();
        let latest = at + 1 == windows.len();
        // A repeated transmission may have been executed long after its successors: it does
        // not show that the membership was visible before them. On several nodes it may be
        // visible to one connection of the publisher only.
        let shown = here()
            .filter(|a| a.frame.identity.attempt == 1)
            .rfind(|a| overtaken.is_none_or(|first| a.frame.at < first))
            .map(|a| a.frame.identity.epoch);
        let head = (overtaken.is_some() || latest)
            && match self.promise {
                Promise::Reference => shown.is_none(),
                Promise::Published => shown != Some(message.epoch),
            };
        // A message overtaken in another window only has no place in this one's order.
        let overtaken_elsewhere =
            overtaken.is_none() && firsts.iter().any(|a| a.frame.identity.seq > seq);
        let head = head && !overtaken_elsewhere;
        let retried = message.causes.len() > 1;
        let proven = !retried && later().any(|a| a.must && a.frame.identity.epoch == message.epoch);
        let grace = window
            .joined
            .and_then(|joined| self.after(stream, joined + GRACE_US))
            .map_or(u32::MAX, |(invoked, _)| invoked + 1);
        let reliable = self.history.reliable[slot.0 as usize];
        let interior = if head && seq < grace {
            Lost::AtJoin
        } else if reliable || self.promise == Promise::Reference {
            Lost::Plain
        } else {
            Lost::Unreliable
        };
        let lost = match how.flatten() {
            None => interior,
            Some(_) if proven => interior,
            Some(End::Left | End::Refused) if seq <= self.ceiling(stream, window) => Lost::AtLeave,
            Some(End::Left | End::Refused) => return What::Edge,
            Some(End::Gap) => return What::Permitted(Permitted::LostInReconnectGap),
            Some(End::Unreliable) => return What::Permitted(Permitted::LostUnreliable),
        };
        What::Lost(at, lost)
    }

    fn lost(
        &mut self,
        slot: Slot,
        stream: StreamId,
        window: &Window,
        (latest, overtaken): (bool, bool),
        seq: u32,
        lost: Lost,
    ) {
        let reference = self.promise == Promise::Reference;
        let kind = match lost {
            Lost::Plain => Some(Violation::Lost),
            Lost::AtJoin if reference => Some(Violation::LostAtJoin),
            Lost::AtLeave if reference => Some(Violation::LostAtLeave),
            _ => None,
        };
        if kind.is_some() {
            self.verdict.delivery.expected += 1;
            self.verdict.delivery.verified += 1;
            self.verdict.delivery.lost += 1;
        } else {
            self.verdict.delivery.unknown += 1;
            let label = match lost {
                Lost::AtJoin => Unknown::LostAtJoin,
                Lost::AtLeave => Unknown::LostAtLeave,
                _ => Unknown::LostUnreliableConnected,
            };
            self.verdict.unknown.add(label, 1);
        }
        let none = Vec::new();
        let recoveries = self.history.recoveries.get(&slot).unwrap_or(&none);
        let open = latest && window.ended.is_none() && window.leave_invoked.is_none();
        let silent = |since: u64| {
            open && since > window.join_invoked
                && !self.heard(slot, window.epoch, stream.group, since)
        };
        let recovery = (recoveries.iter().rev())
            .filter(|r| r.epoch == window.epoch)
            .find(|r| {
                let from = self.before(stream, r.lost_at).0;
                let to = self.after(stream, r.confirmed_at).map_or(u32::MAX, |c| c.0);
                seq > from && (seq <= to || silent(r.confirmed_at))
            })
            .map(|r| r.transport);
        self.losses.push(Loss {
            slot,
            epoch: window.epoch,
            stream,
            seq,
            kind,
            recovery,
            may_stall: kind == Some(Violation::Lost) && recovery.is_none() && open && !overtaken,
        });
    }

    /// A fresh frame of the group that was sent since came on the connection: replays say
    /// nothing of what happens after them.
    fn heard(&self, slot: Slot, epoch: u16, group: GroupId, since: u64) -> bool {
        let frames = &self.history.frames[&slot];
        let mut high = 0;
        frames.iter().filter(|f| f.epoch == epoch).any(|f| {
            let fresh = f.id == 0 || f.id > high;
            high = high.max(f.id);
            let sent = f.identity.unwrap_intended(f.at) + f.identity.lag_us;
            fresh && sent > since && f.identity.group == group
        })
    }
}
