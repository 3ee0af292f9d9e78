//! The counters: they add up in every snapshot (I55), of pool and runner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overstrand::{Overflow, PoolStats, RunnerStats, SequencedTaskRunner};

use crate::pool;

fn assert_pool_adds_up(stats: PoolStats) {
    assert_eq!(stats.posted, stats.ran + stats.queued + stats.delayed + stats.running + stats.dropped, "{stats:?}");
    assert!(stats.panicked <= stats.ran && stats.running <= 70, "{stats:?}");
}

fn assert_runner_adds_up(stats: RunnerStats) {
    assert_eq!(stats.posted, stats.ran + stats.queued + stats.delayed + stats.running + stats.dropped, "{stats:?}");
    assert!(stats.running <= 1 && stats.panicked <= stats.ran, "{stats:?}");
}

/// Sampled all the while threads post, delay, cancel, overflow and panic.
#[test]
fn counters_add_up_at_any_time() {
    let pool = pool(2);
    let strand = SequencedTaskRunner::builder(&pool).capacity(64, Overflow::Reject).build().expect("valid");
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|threads| {
        for poster in 0..3 {
            let (pool, strand) = (&pool, &strand);
            threads.spawn(move || {
                for number in 0..3_000_u32 {
                    let _ = strand.post_task(|| ());
                    let _ = pool.post_task(move || assert!(number % 100 != 0 || poster != 0, "on purpose"));
                    if let Ok(timer) = strand.post_delayed_task(Duration::from_micros(u64::from(number % 50)), || ()) {
                        if number % 3 == 0 {
                            timer.cancel();
                        }
                    }
                }
            });
        }
        let (pool, strand, over) = (&pool, &strand, &over);
        let sampler = threads.spawn(move || {
            let mut samples = 0;
            while !over.load(Ordering::Relaxed) {
                assert_pool_adds_up(pool.stats());
                assert_runner_adds_up(strand.stats());
                samples += 1;
            }
            samples
        });
        crate::wait_until(|| {
            let stats = pool.stats();
            stats.posted + stats.rejected == 3 * 3 * 3_000 && stats.delayed + stats.queued + stats.running == 0
        });
        over.store(true, Ordering::Relaxed);
        assert!(sampler.join().expect("they add up") > 0);
    });
    pool.shutdown().expect("outside");
    let (all, own) = (pool.stats(), strand.stats());
    assert_pool_adds_up(all);
    assert_runner_adds_up(own);
    assert_eq!((all.queued, all.delayed, all.running), (0, 0, 0));
    assert_eq!(all.panicked, 30);
}

/// What an idle pool does not do: nothing is woken while nothing is posted.
#[test]
fn idle_pool_is_not_woken() {
    let pool = pool(4);
    pool.spawn(|| ()).join().expect("runs");
    let before = pool.stats().wake_ups;
    for _ in 0..100 {
        std::thread::yield_now();
    }
    assert_eq!(pool.stats().wake_ups, before);
}
