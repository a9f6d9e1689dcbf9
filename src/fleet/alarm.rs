//! The alarm of a fleet's schedule: when to look at the agenda again.
//!
//! The runtime's timer counts in milliseconds and rounds up, so with it alone a publish leaves
//! up to a millisecond after its intended time, and that is in every latency. While the
//! schedule is sparse a timer of the kernel wakes the fleet on time; the runtime's is set
//! beside it and is what rings in a dense schedule, where the kernel gives no timer, and under
//! a paused clock. An idle processor takes its time to wake up, so the kernel's timer rings as
//! much earlier as it was late of late, and the rest is waited out in turns of the event loop,
//! in which sockets are read as ever. What is due is not decided here.

use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

use crate::base::{Clock, Time};

/// The schedule is sparse when nothing is due for so long: 250 wake-ups a second at most come
/// from the kernel's timer. What is due sooner shares the runtime's milliseconds with its
/// neighbours: at 1,000 publishes a second a wake-up for each would cost half as much CPU
/// again, here, in the hub, and in the clients that hear them.
const SPARSE: Duration = Duration::from_millis(4);

/// How much earlier than the work the kernel's timer rings at most. So a sparse schedule
/// waits awake for 7.5 % of the time at the very worst.
const LEAD_MAX: Duration = Duration::from_micros(300);
/// Added to what a ring was late.
const MARGIN: Duration = Duration::from_micros(10);
/// Turns of the fleet that are waited awake after a ring, at most: each takes some tenths of a
/// microsecond (the runtime looks at the sockets after 61 of them), and a clock that stands
/// still must not be waited for.
const AWAKE_TURNS_MAX: u32 = 5_000;

/// A timer of the kernel, as the runtime takes it.
#[derive(Debug)]
struct Kernel(TimerFd);

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Wakes the fleet for a time that moves, and perhaps before it.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// None where the kernel has none to give.
    kernel: Option<AsyncFd<Kernel>>,
    /// What the runtime's timer is set to, and what the kernel's is set for if that is far.
    armed: Time,
    /// When the kernel's timer is to ring.
    rings_at: Time,
    /// How much before the work that is.
    lead: Duration,
    /// Turns that are still waited awake.
    awake_turns: u32,
}

impl Alarm {
    /// An alarm that is not set. To be made in the runtime that it wakes.
    pub(super) fn new() -> Self {
        let kernel = kernel_timer();
        if let Err(error) = &kernel {
            tracing::debug!(%error, "no timer of the kernel: publishes leave up to 1 ms late");
        }
        Alarm {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            kernel: kernel.ok(),
            armed: Time::MAX,
            rings_at: Time::MAX,
            lead: Duration::ZERO,
            awake_turns: 0,
        }
    }

    /// Whether `time` has come; otherwise the task is woken then, and perhaps before. Less
    /// than [`SPARSE`] ahead it may be woken a millisecond later.
    pub(super) fn poll(
        &mut self,
        time: Time,
        clock: &Clock,
        now: Time,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        // Also when it rang so late that the work is done and `time` is another.
        if self.hears_kernel(cx) && self.rings_at <= now {
            self.ring_was_heard(self.rings_at, now);
        }
        if time != self.armed {
            self.armed = time;
            self.sleep.as_mut().reset(clock.instant(time));
            self.set_kernel(time, now);
        }
        if let Some(turns) = self.awake_turns.checked_sub(1)
            && now < time
        {
            self.awake_turns = turns;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.sleep.as_mut().poll(cx)
    }

    fn ring_was_heard(&mut self, rings_at: Time, now: Time) {
        let late = now.since(rings_at);
        self.lead = (late + MARGIN).max(self.lead * 7 / 8).min(LEAD_MAX);
        self.rings_at = Time::MAX;
        self.awake_turns = AWAKE_TURNS_MAX;
    }

    fn set_kernel(&mut self, time: Time, now: Time) {
        (self.rings_at, self.awake_turns) = (Time::MAX, 0);
        let pause = time.since(now);
        let Some(kernel) = self.kernel.as_ref().filter(|_| pause >= SPARSE) else {
            return;
        };
        let pause = pause.saturating_sub(self.lead);
        match kernel.get_ref().ring_in(pause) {
            Ok(()) => self.rings_at = now + pause,
            Err(error) => {
                tracing::debug!(%error, "the timer of the kernel cannot be set");
                self.kernel = None;
            }
        }
    }

    /// Whether the kernel's timer has rung, perhaps for an earlier setting; the task is woken
    /// by the next ring.
    fn hears_kernel(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(kernel) = &self.kernel else {
            return false;
        };
        let mut has_rung = false;
        while let Poll::Ready(ready) = kernel.poll_read_ready(cx) {
            match ready {
                Ok(mut ready) => ready.clear_ready(),
                // The runtime ends; nothing is due any more.
                Err(_) => return false,
            }
            has_rung = true;
        }
        has_rung
    }
}

impl Kernel {
    /// Rings once after `pause`; an earlier setting is void, rung or not.
    fn ring_in(&self, pause: Duration) -> nix::Result<()> {
        // Not zero, which would switch it off.
        let pause = TimeSpec::from_duration(pause);
        self.0
            .set(Expiration::OneShot(pause), TimerSetTimeFlags::empty())
    }
}

#[expect(
    deprecated,
    reason = "its like is unsafe for the sake of types whose descriptor changes; ours stays the same while it lives"
)]
fn kernel_timer() -> std::io::Result<AsyncFd<Kernel>> {
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
    AsyncFd::with_interest(Kernel(timer), Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Rings for `time`, as the fleet's driver waits: until the clock says so.
    async fn rings(alarm: &mut Alarm, clock: &Clock, time: Time) -> Time {
        poll_fn(|cx| {
            let now = clock.now();
            if time <= now {
                return Poll::Ready(now);
            }
            match alarm.poll(time, clock, now, cx) {
                Poll::Ready(()) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn an_hour_ahead() -> (Clock, Time, Time) {
        let clock = Clock::start();
        let now = clock.now();
        (clock, now, now + Duration::from_secs(3600))
    }

    /// Without the runtime's timer beside it a paused clock would never move on.
    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_rules_it() {
        let clock = Clock::start();
        let mut alarm = Alarm::new();
        let hour = clock.now() + Duration::from_secs(3600);
        assert!(rings(&mut alarm, &clock, hour).await >= hour);
        let sooner = hour + Duration::from_millis(5);
        assert!(rings(&mut alarm, &clock, sooner).await >= sooner);
    }

    /// The kernel's timer alone must wake the task: it is what makes the echo of an idle
    /// client fast. The runtime's timer is taken out of the way.
    #[tokio::test]
    async fn the_timer_of_the_kernel_wakes_the_task() {
        let clock = Clock::start();
        let mut alarm = Alarm::new();
        assert!(alarm.kernel.is_some(), "this kernel has timers");
        let far = clock.instant(clock.now() + Duration::from_secs(3600));
        for _ in 0..20 {
            let time = clock.now() + SPARSE + Duration::from_millis(1);
            let rung = poll_fn(|cx| {
                let now = clock.now();
                if time <= now {
                    return Poll::Ready(now);
                }
                let polled = alarm.poll(time, &clock, now, cx);
                assert!(polled.is_pending());
                alarm.sleep.as_mut().reset(far);
                let _ = alarm.sleep.as_mut().poll(cx);
                Poll::Pending
            })
            .await;
            assert!(rung >= time);
        }
        assert!(alarm.lead >= MARGIN, "its rings are heard and measured");
        assert!(alarm.lead <= LEAD_MAX);
    }

    /// A ring that was on its way when the timer was set anew is not for the new time.
    #[tokio::test]
    async fn a_stale_ring_is_not_heard() {
        let (clock, now, time) = an_hour_ahead();
        let mut alarm = Alarm::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(alarm.poll(time, &clock, now, &mut cx).is_pending());
        let kernel = alarm.kernel.as_ref().expect("this kernel has timers");
        kernel.get_ref().ring_in(Duration::from_micros(1)).unwrap();
        drop(kernel.readable().await.unwrap());
        assert!(alarm.poll(time, &clock, now, &mut cx).is_pending());
        assert_eq!((alarm.lead, alarm.awake_turns), (Duration::ZERO, 0));
        assert!(alarm.rings_at > now);
    }

    /// Rings that are late make the next ones earlier, within the bound.
    #[tokio::test]
    async fn a_late_ring_is_made_up_for() {
        let mut alarm = Alarm::new();
        // The processor slept long.
        let (rung_at, due) = (Time::from_micros(10_000), Time::from_micros(90_000));
        for (late, lead) in [(100, 110), (5_000, 300), (0, 262)] {
            alarm.ring_was_heard(rung_at, rung_at + Duration::from_micros(late));
            assert_eq!(alarm.lead.as_micros(), lead);
            assert_eq!(alarm.awake_turns, AWAKE_TURNS_MAX);
            alarm.set_kernel(due, rung_at);
            let ahead = due.since(alarm.rings_at);
            assert!(ahead.abs_diff(alarm.lead) <= Duration::from_micros(1));
            assert_eq!(
                alarm.awake_turns, 0,
                "the next work is not waited for awake"
            );
        }
    }

    /// What waits awake gives up in the end: a clock may stand still.
    #[tokio::test]
    async fn waiting_awake_ends() {
        let (clock, now, time) = an_hour_ahead();
        let mut alarm = Alarm::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(alarm.poll(time, &clock, now, &mut cx).is_pending());
        alarm.ring_was_heard(now, now);
        let mut turns = 0;
        while alarm.awake_turns > 0 {
            assert!(alarm.poll(time, &clock, now, &mut cx).is_pending());
            turns += 1;
        }
        assert_eq!(turns, AWAKE_TURNS_MAX);
        assert!(alarm.poll(time, &clock, now, &mut cx).is_pending());
    }

    /// Ten thousand publishes a second must not be ten thousand wake-ups.
    #[tokio::test]
    async fn a_dense_schedule_does_not_set_the_timer_of_the_kernel() {
        let clock = Clock::start();
        let mut alarm = Alarm::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let now = clock.now() + Duration::from_secs(3600);
        let mut is_set = |pause| {
            assert!(alarm.poll(now + pause, &clock, now, &mut cx).is_pending());
            let kernel = alarm.kernel.as_ref().expect("this kernel has timers");
            kernel.get_ref().0.get().unwrap().is_some()
        };
        assert!(!is_set(Duration::from_micros(100)));
        assert!(!is_set(SPARSE - Duration::from_micros(1)));
        assert!(is_set(Duration::from_secs(3600)));
    }
}
