//! The one timer of a client, whatever moves it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::base::{Clock, Time};

/// Wakes a task at a time that moves; makes its timer when it is first needed.
#[derive(Debug, Default)]
pub struct Alarm(Option<(Time, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Whether `time` has come; otherwise wakes the task then, or earlier once.
    pub fn poll(
        &mut self,
        time: Option<Time>,
        clock: &Clock,
        now: Time,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(time) = time else { return false };
        if time <= now {
            return true;
        }
        let instant = clock.instant(time);
        let (armed, sleep) = self
            .0
            .get_or_insert_with(|| (time, Box::pin(tokio::time::sleep_until(instant))));
        // An earlier alarm stays: it wakes us, and the later one is set then. Most deadlines
        // move away with every frame, and would cost a timer operation each.
        if *armed > time || *armed <= now {
            *armed = time;
            sleep.as_mut().reset(instant);
        }
        while let Poll::Ready(()) = sleep.as_mut().poll(cx) {
            if *armed == time {
                return true;
            }
            *armed = time;
            sleep.as_mut().reset(instant);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Waits until `alarm` says that `time` has come.
    async fn rings(alarm: &mut Alarm, clock: &Clock, time: Time) {
        poll_fn(|cx| {
            if alarm.poll(Some(time), clock, clock.now(), cx) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_is_met_where_it_is_and_not_where_it_was() {
        let clock = Clock::start();
        let mut alarm = Alarm::default();
        let far = clock.now() + Duration::from_secs(3600);
        let once = |alarm: &mut Alarm, time| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            alarm.poll(time, &clock, clock.now(), &mut cx)
        };
        assert!(!once(&mut alarm, None), "no deadline, no alarm");
        assert!(!once(&mut alarm, Some(far)));
        // Nearer than armed: or a client would sleep for an hour.
        let near = clock.now() + Duration::from_millis(5);
        rings(&mut alarm, &clock, near).await;
        assert!(clock.now() >= near);
        // Further than armed: the old alarm passes without a ring.
        let first = clock.now() + Duration::from_millis(1);
        assert!(!once(&mut alarm, Some(first)));
        let second = clock.now() + Duration::from_millis(20);
        rings(&mut alarm, &clock, second).await;
        assert!(clock.now() >= second);
        assert!(once(&mut alarm, Some(first)), "a time that is over");
    }
}
