//! DLY-1, DLY-2, DLY-4, DLY-5 and DLY-6 on every kind of runner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::{CancelToken, MissedTicks, RejectReason, RepeatingTaskHandle, Schedule};

use super::notes::{Log, MILLI, SECOND};
use super::stage::{Stage, Trial};

const NANO: Duration = Duration::from_nanos(1);

/// DLY-1: never early, and with nothing else to do at its instant; the delay counts from the post; zero is an ordinary post.
#[test]
fn delayed_task_runs_at_its_instant() {
    Trial::plain().run(|stage| {
        let (clock, log) = (Arc::new(AtomicU32::new(0)), Log::new());
        let post = |delay: u32| {
            let (due, clock, log) = (clock.load(Ordering::SeqCst) + delay, Arc::clone(&clock), log.clone());
            let note = move || log.push((due, clock.load(Ordering::SeqCst)));
            stage.runner.post_delayed(MILLI * delay, note).expect("open");
        };
        for _ in 0..10 {
            [5, 0, 1, 7, 3].into_iter().for_each(post);
            // Zero is an ordinary post: it needs no time.
            stage.settle();
            clock.fetch_add(1, Ordering::SeqCst);
            stage.advance(MILLI);
        }
        (0..7).for_each(|_| {
            clock.fetch_add(1, Ordering::SeqCst);
            stage.advance(MILLI);
        });
        let seen = log.seen();
        assert_eq!(seen.len(), 50);
        assert!(seen.iter().all(|(due, at)| due == at), "{seen:?}");
    });
}

/// DLY-1: not a nanosecond early, however short or long it is.
#[test]
fn delay_is_kept_to_the_nanosecond() {
    Trial::plain().run(|stage| {
        for delay in [NANO, NANO * 2, MILLI, SECOND, SECOND * 3_600 * 24 * 365] {
            let handle = stage.runner.post_delayed(delay, || ()).expect("open");
            stage.advance(delay - NANO);
            assert!(handle.is_pending());
            stage.advance(NANO);
            assert!(!handle.is_pending());
        }
    });
}

/// DLY-1: the delay counts from the post, not from when the runner is free.
#[test]
fn delay_goes_by_while_the_runner_is_busy() {
    Trial::baton().of(|kind| !kind.is_pumped).run(|stage| {
        let busy = |_| {
            stage.runner.spawn(|| {
                let _ = CancelToken::new().wait_timeout(SECOND * 2);
            })
        };
        let busy: Vec<_> = (0..if stage.kind.is_fifo { 1 } else { 2 }).map(busy).collect();
        stage.env.run_until_idle();
        let late = stage.runner.post_delayed(SECOND, || ()).expect("open");
        stage.env.advance(SECOND);
        assert_eq!(late.is_pending(), !stage.kind.is_pool, "others wait for their turn");
        stage.env.advance(SECOND);
        assert!(!late.is_pending() && busy.iter().all(overstrand::TaskHandle::is_finished));
    });
}

/// DLY-2: before the start a cancel is final, says so once, and frees the closure at once, in its delay and when it waits for its turn after that. (The fence that makes it wait does
/// not hold the thread of a pump.)
#[test]
fn cancelled_delay_never_runs_and_frees_its_closure() {
    Trial::plain().of(|kind| !kind.is_pumped).run(|stage| {
        let (owned, log) = (Arc::new(()), Log::new());
        let post = || {
            let (kept, note) = (Arc::clone(&owned), log.noting(()));
            let task = move || {
                note();
                drop(kept);
            };
            stage.runner.post_delayed(SECOND, task).expect("open")
        };
        let (early, late, runs) = (post(), post(), post());
        assert!(early.is_pending() && early.cancel() && !early.is_pending());
        assert_eq!((Arc::strong_count(&owned), early.cancel()), (3, false));
        stage.settle();
        let fence = stage.env.pool().fence();
        stage.env.advance(SECOND);
        let next = post();
        assert!(late.is_pending() && late.cancel(), "its delay is over, its turn has not come");
        assert_eq!((Arc::strong_count(&owned), late.cancel()), (3, false));
        drop(fence);
        stage.settle();
        assert!(!runs.is_pending() && !runs.cancel(), "too late, and it says so");
        stage.advance(SECOND);
        assert!(!next.is_pending(), "the cancel touched no other timer");
        let stats = stage.stats();
        assert_eq!((log.len(), stats.ran, stats.dropped, stats.delayed, stats.queued), (2, 2, 2, 0, 0), "{stats:?}");
        assert_eq!(Arc::strong_count(&owned), 1);
    });
}

/// DLY-2: a delay of zero can be cancelled until it starts, too; from inside the task it is too late.
#[test]
fn cancel_decides_against_the_start() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        let now = stage.runner.post_delayed(Duration::ZERO, log.noting("never")).expect("open");
        assert!(now.cancel());
        let slot = Arc::new(std::sync::Mutex::new(None));
        let (own, told) = (Arc::clone(&slot), log.clone());
        let task = move || {
            let handle: overstrand::DelayedTaskHandle = own.lock().expect("no panic").take().expect("it was put there");
            told.push(if handle.cancel() || handle.is_pending() { "cancelled" } else { "too late" });
        };
        *slot.lock().expect("no panic") = Some(stage.runner.post_delayed(SECOND, task).expect("open"));
        stage.advance(SECOND);
        assert_eq!(log.seen(), ["too late"]);
    });
}

/// DLY-2: a handle that is dropped detaches.
#[test]
fn dropped_handle_of_a_delay_detaches() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        drop(stage.runner.post_delayed(SECOND, log.noting(())).expect("open"));
        stage.advance(SECOND);
        assert_eq!(log.len(), 1);
    });
}

/// DLY-4: any duration is legal; what is due at the end of time never runs, and nothing is kept waiting by it.
#[test]
fn any_duration_is_legal() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        let far = [
            Duration::MAX,
            Duration::MAX - NANO,
            Duration::from_secs(u64::MAX),
            Duration::from_nanos(u64::MAX),
            Duration::from_nanos(1 << 63),
            Duration::from_millis(u64::MAX),
        ];
        let armed: Vec<_> = far.map(|delay| stage.runner.post_delayed(delay, log.noting(1)).expect("open")).into();
        for delay in [1 << 31, 1 << 32, (1_u64 << 31) - 1, (1 << 32) + 1].map(Duration::from_nanos) {
            stage.runner.post_delayed(delay, log.noting(0)).expect("open");
        }
        stage.advance(SECOND * 5);
        assert_eq!(log.seen(), [0; 4]);
        stage.advance(SECOND * 3_600 * 24 * 365 * 100);
        assert!(log.len() == 4 && armed.iter().all(overstrand::DelayedTaskHandle::is_pending));
        assert_eq!(stage.stats().delayed, 6);
        assert!(armed[0].cancel());
        stage.shut_down();
        assert!(armed.iter().all(|handle| !handle.is_pending()));
        assert_eq!((stage.stats().dropped, stage.stats().delayed, log.len()), (6, 0, 4));
    });
}

/// DLY-5: a delayed task never keeps a shutdown waiting, and is gone with it.
#[test]
fn delay_keeps_no_shutdown_waiting() {
    Trial::baton().run(|stage| {
        let owned = Arc::new(());
        let kept = Arc::clone(&owned);
        let late = stage.runner.post_delayed(SECOND, move || drop(kept)).expect("open");
        stage.shut_down();
        assert_eq!((stage.env.now(), Arc::strong_count(&owned), late.is_pending()), (Duration::ZERO, 1, false));
        assert!(!late.cancel());
    });
}

/// Lets a second go by, the given number of times.
fn seconds(stage: &Stage<'_>, seconds: u32) {
    (0..seconds).for_each(|_| stage.advance(SECOND));
}

/// DLY-6: one tick at each instant of the rhythm, whichever runner it is on; a stop is final and frees the body at once.
#[test]
fn series_ticks_until_it_is_stopped() {
    Trial::plain().own_type().run(|stage| {
        let (owned, log) = (Arc::new(()), Log::new());
        let (kept, told, runner) = (Arc::clone(&owned), log.clone(), stage.runner.clone());
        let body = move || {
            let _kept = &kept;
            told.push(runner.is_current());
        };
        let ticker = stage.own.repeat(SECOND, body).expect("open");
        stage.advance(SECOND - NANO);
        assert_eq!(ticker.runs(), 0);
        stage.advance(NANO);
        seconds(stage, 4);
        assert_eq!((ticker.runs(), log.seen()), (5, vec![true; 5]));
        ticker.stop();
        assert_eq!((ticker.is_stopped(), Arc::strong_count(&owned)), (true, 1));
        ticker.stop();
        seconds(stage, 3);
        assert_eq!((ticker.runs(), stage.stats().delayed), (5, 0));
    });
}

/// DLY-6: stopping from inside ends it with that tick, and frees the body when the tick is over.
#[test]
fn series_can_be_stopped_from_inside() {
    Trial::plain().own_type().run(|stage| {
        let (owned, slot) = (Arc::new(()), Arc::new(std::sync::Mutex::new(None::<RepeatingTaskHandle>)));
        let (kept, own) = (Arc::clone(&owned), Arc::clone(&slot));
        let body = move || {
            let _kept = &kept;
            if let Some(ticker) = &*own.lock().expect("no panic") {
                ticker.stop();
            }
        };
        let ticker = stage.own.repeat(SECOND, body).expect("open");
        seconds(stage, 1);
        *slot.lock().expect("no panic") = Some(ticker.clone());
        seconds(stage, 3);
        assert_eq!((ticker.runs(), ticker.is_stopped()), (2, true));
        drop(slot);
        assert_eq!(Arc::strong_count(&owned), 1);
    });
}

/// DLY-6: it never overlaps itself, and what becomes of missed ticks is said by the policy.
#[test]
fn late_series_follows_its_policy() {
    let every = Schedule::every(MILLI * 10);
    let expected = [
        (every.clone(), vec![10, 40, 50, 60]),
        (every.clone().missed(MissedTicks::Delay), vec![10, 45, 55]),
        (every.clone().missed(MissedTicks::Burst(5)), vec![10, 35, 35, 40, 50, 60]),
        (every.initial_delay(Duration::ZERO), vec![0, 30, 40, 50, 60]),
        (Schedule::fixed_delay(MILLI * 10), vec![10, 45, 55]),
    ];
    for (schedule, expected) in expected {
        Trial::baton().own_type().of(|kind| !kind.is_pumped).run(|stage| {
            let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (clock, log, mut is_first) = (Arc::new(AtomicU32::new(0)), Log::new(), true);
            let (at, told, outermost) = (Arc::clone(&clock), log.clone(), Arc::clone(&most));
            let body = move || {
                outermost.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                told.push(at.load(Ordering::SeqCst));
                if std::mem::take(&mut is_first) {
                    let _ = CancelToken::new().wait_timeout(MILLI * 25);
                }
                inside.fetch_sub(1, Ordering::SeqCst);
            };
            let ticker = stage.own.repeat(schedule.clone(), body).expect("open");
            stage.env.run_until_idle();
            for millis in 1..=60 {
                clock.store(millis, Ordering::SeqCst);
                stage.env.advance(MILLI);
            }
            ticker.stop();
            assert_eq!((log.seen(), most.load(Ordering::SeqCst)), (expected.clone(), 1), "{schedule:?}");
        });
    }
}

/// DLY-6: a close and a shutdown end the series, drop the body, and refuse a new one, whose body comes back.
#[test]
fn end_of_the_runner_ends_the_series() {
    Trial::plain().own_type().run(|stage| {
        let owned = Arc::new(());
        let kept = Arc::clone(&owned);
        let ticker = stage.own.repeat(SECOND, move || drop(Arc::clone(&kept))).expect("open");
        seconds(stage, 2);
        let reason = if stage.kind.is_closable && stage.env.seed() % 2 == 0 {
            stage.own.close(overstrand::Close::Drain);
            // What is armed was accepted, so it runs once more.
            seconds(stage, 2);
            assert_eq!(ticker.runs(), 3);
            RejectReason::Closed
        } else {
            stage.shut_down();
            assert_eq!(ticker.runs(), 2);
            RejectReason::ShutDown
        };
        assert_eq!((ticker.is_stopped(), Arc::strong_count(&owned)), (true, 1));
        let calls = Log::new();
        let told = calls.clone();
        let refused = stage.own.repeat(SECOND, move || told.push(())).expect_err("it has ended");
        assert_eq!((refused.reason(), calls.len()), (reason, 0));
        refused.into_task()();
        assert_eq!(calls.len(), 1);
    });
}
