//! When clients have their turns. A client is no task: one task of the arbiter, the pump,
//! gives a turn to whoever was woken by its socket, and alarms and publishes give it
//! directly. A task for each would be cold memory thrice over: its header, its place in the
//! queue, and its state, touched before the client is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::FutureExt as _;
use tokio::task::unconstrained;

use super::actor::Shell;
use super::shared::Shared;
use crate::base::Slot;
use crate::transport::{Poller, Ready};

/// Turns that the pump gives in one go; then sockets are looked at again.
pub(super) const PUMPED_MAX: usize = 64;
/// Turns after which those who had them write: what one wants to send waits for no more.
const ROUND: usize = 16;

/// The clients of an arbiter as those see them who give turns.
pub(super) struct Roster {
    first: u32,
    clients: RefCell<Vec<Weak<Shell>>>,
    woken: Arc<Woken>,
}

/// Whoever was woken, each once: never more than there are clients.
#[derive(Default)]
struct Woken(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    clients: VecDeque<u32>,
    /// The pump, while it waits.
    pump: Option<Waker>,
}

/// Wakes one client, from any thread.
pub(super) struct Bell {
    client: u32,
    /// It waits for its turn.
    rung: AtomicBool,
    woken: Arc<Woken>,
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and a list of numbers is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who wait, once there are any: at most `max`.
    fn poll(&self, cx: &mut Context<'_>, max: usize, into: &mut Vec<u32>) -> Poll<()> {
        let mut waiting = self.lock();
        if waiting.clients.is_empty() {
            waiting.pump = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = waiting.clients.len().min(max);
        into.extend(waiting.clients.drain(..count));
        Poll::Ready(())
    }
}

impl Bell {
    /// From now on it can be woken again.
    pub(super) fn heard(&self) {
        // What was rung before is seen in the turn that follows: a plain store could become
        // visible after what that turn reads.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut waiting = self.woken.lock();
        waiting.clients.push_back(self.client);
        let pump = waiting.pump.take();
        drop(waiting);
        if let Some(pump) = pump {
            pump.wake();
        }
    }
}

impl Roster {
    /// Whether nobody waits for a turn, and the pump sleeps.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        let waiting = self.woken.lock();
        waiting.clients.is_empty() && waiting.pump.is_some()
    }

    /// For the slots from `first` on.
    pub(super) fn new(first: u32) -> Self {
        Roster {
            first,
            clients: RefCell::default(),
            woken: Arc::default(),
        }
    }

    /// What wakes the client of this slot.
    pub(super) fn bell(&self, slot: Slot) -> Arc<Bell> {
        Arc::new(Bell {
            client: self.number(slot),
            rung: AtomicBool::new(false),
            woken: self.woken.clone(),
        })
    }

    /// From now on the client of this slot is `shell`.
    pub(super) fn enter(&self, slot: Slot, shell: &Rc<Shell>) {
        let at = slot.0.saturating_sub(self.first) as usize;
        let mut clients = self.clients.borrow_mut();
        if clients.len() <= at {
            clients.resize_with(at + 1, Weak::new);
        }
        clients[at] = Rc::downgrade(shell);
    }

    /// The client of this slot is gone; not even its memory is kept.
    pub(super) fn leave(&self, slot: Slot, shell: &Rc<Shell>) {
        let at = slot.0.saturating_sub(self.first) as usize;
        if let Some(client) = self.clients.borrow_mut().get_mut(at)
            && client.as_ptr() == Rc::as_ptr(shell)
        {
            *client = Weak::new();
        }
    }

    /// What the client of this slot is called here.
    pub(super) fn number(&self, slot: Slot) -> u32 {
        slot.0.saturating_sub(self.first)
    }

    fn find(&self, client: u32) -> Option<Rc<Shell>> {
        self.clients.borrow().get(client as usize)?.upgrade()
    }
}

/// Gives turns to those whose connections are ready and to those who are woken, for as long
/// as there are any.
pub(super) async fn pump(shared: Weak<Shared>, mut poller: Option<Rc<Poller>>) {
    let Some(woken) = shared.upgrade().map(|shared| shared.roster.woken.clone()) else {
        return;
    };
    let mut clients = Vec::new();
    let mut ready = Vec::new();
    let mut shells: Vec<(Rc<Shell>, Option<Ready>)> = Vec::new();
    loop {
        let mut turns = 0;
        while turns < PUMPED_MAX {
            poll_fn(|cx| {
                let said = poller.as_ref().map(|poller| poller.poll(cx, &mut ready));
                if let Some(Poll::Ready(Err(error))) = &said {
                    poller = None;
                    if let Some(shared) = shared.upgrade() {
                        shared.is_deaf(error);
                    }
                }
                let woken = woken.poll(cx, PUMPED_MAX - turns, &mut clients);
                if ready.is_empty() {
                    woken
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            turns += clients.len() + ready.len();
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let roster = &shared.roster;
            // One that is gone needs none.
            let find = |(client, ready)| Some((roster.find(client)?, ready));
            let readies = ready
                .drain(..)
                .map(|ready: Ready| (ready.client, Some(ready)));
            let woken = clients.drain(..).map(|client| (client, None));
            shells.extend(readies.chain(woken).filter_map(find));
            for round in shells.chunks(ROUND) {
                warm(round.iter().map(|(shell, _)| shell));
                for (shell, ready) in round {
                    match ready {
                        Some(ready) => shell.ready(*ready),
                        None => shell.hear(),
                    }
                }
                round.iter().for_each(|(shell, _)| shell.flush());
            }
            shells.clear();
        }
        // There may be more: let sockets be read first.
        tokio::task::yield_now().await;
    }
}

/// Has the memory of all of them fetched before the first has its turn. Each of thousands of
/// clients is cold memory, hundreds of nanoseconds away; in a loop that does nothing else the
/// waits overlap, and in the turns themselves they do not.
fn warm<'s>(shells: impl Iterator<Item = &'s Rc<Shell>> + Clone) {
    shells.clone().for_each(|shell| shell.touch_body());
    shells.for_each(|shell| shell.touch_verifier());
}

/// Turns that clients take in the task of somebody else, who is at it anyway.
#[derive(Default)]
pub struct Turns(Vec<Rc<Shell>>);

impl Turns {
    /// So many in one go; the rest are woken, and sockets are read in between.
    pub(super) const MAX: usize = 32;

    /// This client is to have a turn.
    pub(super) fn add(&mut self, shell: Rc<Shell>) {
        if self.0.len() < Self::MAX {
            self.0.push(shell);
        } else {
            shell.wake();
        }
    }

    /// They have their turns.
    pub fn take(&mut self) {
        // The runtime's budget for the task that this is called in is not meant for so many.
        let turns = unconstrained(async {
            for round in self.0.chunks(ROUND) {
                warm(round.iter());
                round.iter().for_each(Shell::turn);
                round.iter().for_each(|shell| shell.flush());
            }
            self.0.clear();
        });
        let taken = turns.now_or_never();
        debug_assert!(taken.is_some(), "nothing is waited for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_bell_that_is_rung_again_before_it_is_heard_counts_once() {
        let roster = Roster::new(7);
        let bell = roster.bell(Slot(9));
        let waker = Waker::from(bell.clone());
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut woken = Vec::new();
        poll_fn(|cx| roster.woken.poll(cx, 9, &mut woken)).await;
        assert!(roster.woken.lock().clients.is_empty());
        waker.wake_by_ref();
        assert!(roster.woken.lock().clients.is_empty(), "not heard yet");
        bell.heard();
        waker.wake_by_ref();
        poll_fn(|cx| roster.woken.poll(cx, 9, &mut woken)).await;
        assert_eq!(woken, [2, 2]);
    }
}
