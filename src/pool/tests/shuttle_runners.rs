//! The family of runners under seeded schedules of the whole pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::shuttle::{assert_adds_up, explore, pool};
use crate::task::traits::TaskTraits;
use crate::{Barrier, Close, JoinError, Priority, SequenceBound, ThreadMode, join_all};

/// A parallel runner: posters, a limit that changes, a flush that is a barrier; everything runs once and nothing is stranded.
#[test]
fn shuttle_parallel_runner_runs_everything_within_its_limit() {
    explore(|| {
        let pool = pool(2);
        let limited = pool.create_parallel_task_runner(TaskTraits::default(), 1).expect("valid");
        let (inside, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let poster = {
            let (limited, inside, ran) = (limited.clone(), Arc::clone(&inside), Arc::clone(&ran));
            shuttle::thread::spawn(move || {
                for _ in 0..3 {
                    let (inside, ran) = (Arc::clone(&inside), Arc::clone(&ran));
                    let task = move || {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2, "more than the highest limit");
                        ran.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    };
                    limited.post_task(task).expect("open");
                }
            })
        };
        limited.set_max_concurrency(2).expect("valid");
        limited.flush().expect("nothing is dropped");
        limited.set_max_concurrency(1).expect("valid");
        poster.join().expect("no panic");
        limited.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::SeqCst), 3);
        assert_eq!(pool.shutdown().expect("outside").dropped, 0);
    });
}

/// The thread of a runner, shared by two: it finds everything, ends with the pool, and is joined.
#[test]
fn shuttle_thread_of_runners_finds_everything() {
    explore(|| {
        let pool = pool(1);
        let make =
            || pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Shared).expect("a thread");
        let runners = [make(), make()];
        let posters: Vec<_> = runners
            .iter()
            .map(|runner| {
                let runner = runner.clone();
                shuttle::thread::spawn(move || {
                    runner.spawn(|| shuttle::thread::current().id()).join().expect("it runs")
                })
            })
            .collect();
        let ids: Vec<_> = posters.into_iter().map(|poster| poster.join().expect("no panic")).collect();
        assert_eq!(ids[0], ids[1], "one thread");
        drop(runners);
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// A synchronous call beside posts and another call: never two at once, and nothing is left.
#[test]
fn shuttle_calls_and_posts_exclude_each_other() {
    explore(|| {
        let pool = pool(1);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let enter = |inside: &AtomicUsize| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        let other = {
            let (strand, inside) = (strand.clone(), Arc::clone(&inside));
            shuttle::thread::spawn(move || strand.run_sync(|| enter(&inside)).expect("open"))
        };
        let posted = Arc::clone(&inside);
        strand.post_task(move || enter(&posted)).expect("open");
        strand.run_sync(|| enter(&inside)).expect("open");
        other.join().expect("no panic");
        strand.flush().expect("nothing is dropped");
        assert_eq!((strand.stats().ran, strand.stats().queued), (3, 0));
        pool.shutdown().expect("outside");
    });
}

/// Owned state: built, called and dropped on its sequence, whatever the order of handles and calls.
#[test]
fn shuttle_owned_state_is_dropped_after_its_calls() {
    struct Owned(Arc<AtomicUsize>);
    impl Drop for Owned {
        fn drop(&mut self) {
            self.0.fetch_add(100, Ordering::SeqCst);
        }
    }
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        let bound = SequenceBound::with(&strand, move || Owned(counter));
        let other = bound.clone();
        let caller = shuttle::thread::spawn(move || other.call(|owned| owned.0.fetch_add(1, Ordering::SeqCst)).join());
        let called = bound.call(|owned| owned.0.fetch_add(1, Ordering::SeqCst));
        drop(bound);
        assert!(called.join().is_ok_and(|before| before < 2), "dropped before a call");
        assert!(caller.join().expect("no panic").is_ok_and(|before| before < 2), "dropped before a call");
        strand.flush().expect("nothing is dropped");
        assert_eq!(seen.load(Ordering::SeqCst), 102);
        pool.shutdown().expect("outside");
    });
}

/// A scope and a job in a pool whose only worker is inside them: both end, with the caller's help.
#[test]
fn shuttle_scope_and_job_end() {
    explore(|| {
        let pool = pool(1);
        let inner = pool.clone();
        let done = pool.spawn(move || {
            let count = AtomicUsize::new(0);
            inner.scope(|s| (0..3).for_each(|_| s.post_task(|| _ = count.fetch_add(1, Ordering::SeqCst))));
            let left = Arc::new(AtomicUsize::new(3));
            let (asked, body) = (Arc::clone(&left), Arc::clone(&left));
            let take =
                move || body.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let job = inner.post_job(
                TaskTraits::default(),
                move |workers| asked.load(Ordering::SeqCst) + workers,
                move |_| while take() {},
            );
            job.join().expect("no panic");
            (count.load(Ordering::SeqCst), left.load(Ordering::SeqCst))
        });
        assert_eq!(done.join().expect("it runs"), (3, 0));
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// The same for a parallel runner.
#[test]
fn shuttle_pauses_of_a_parallel_runner_strand_nothing() {
    explore(|| {
        let pool = pool(2);
        let limited = pool.create_parallel_task_runner(TaskTraits::default(), 1).expect("valid");
        let pauser = {
            let limited = limited.clone();
            shuttle::thread::spawn(move || drop(limited.pause()))
        };
        let posted = [(); 2].map(|()| limited.spawn(|| ()));
        posted.into_iter().for_each(|posted| posted.join().expect("it runs"));
        pauser.join().expect("no panic");
        let held = limited.pause();
        let waits = limited.spawn(|| ());
        pool.shutdown().expect("outside");
        let joined = waits.join();
        assert!(matches!(joined, Err(JoinError::ShutDown)), "{joined:?}");
        drop(held);
    });
}

/// A pause that comes and goes beside posts strands nothing; one that is held ends with the shutdown.
#[test]
fn shuttle_pauses_strand_nothing() {
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let pauser = {
            let strand = strand.clone();
            shuttle::thread::spawn(move || drop(strand.pause()))
        };
        let posted = [(); 2].map(|()| strand.spawn(|| ()));
        posted.into_iter().for_each(|posted| posted.join().expect("it runs"));
        pauser.join().expect("no panic");
        let held = strand.pause();
        let waits = strand.spawn(|| ());
        pool.shutdown().expect("outside");
        let joined = waits.join();
        assert!(matches!(joined, Err(JoinError::ShutDown)), "{joined:?}");
        drop(held);
    });
}

/// Fan-in: the last hit calls once, all results arrive in order, a close beside it leaves nobody waiting. PRI-5: an urgent task that waits lends what it has.
#[test]
fn shuttle_fan_in_and_lent_priority_end() {
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::best_effort());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let barrier = Barrier::new(2, &strand, move || _ = counted.fetch_add(1, Ordering::SeqCst));
        let hits = [(); 2].map(|()| {
            let barrier = barrier.clone();
            pool.spawn(move || barrier.hit())
        });
        let slow = strand.spawn(|| 7);
        let urgent = pool.task().priority(Priority::UserBlocking).spawn(move || slow.join());
        let hit = join_all(hits).join().expect("all end");
        assert!(hit.into_iter().all(|hit| hit.is_ok()));
        assert!(urgent.join().expect("it runs").is_ok_and(|seven| seven == 7));
        strand.flush().expect("nothing is dropped");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        strand.close(Close::Discard);
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}
