//! The whole pool under seeded schedules: real threads of the model, real queues (the twin), no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::scheduler::{PctScheduler, RandomScheduler, UrwRandomScheduler};
use shuttle::{Config, Runner};

use crate::pool::core::{Core, Settings};
use crate::pool::observe::Hooks;
use crate::pool::{ThreadPool, staff};
use crate::task::traits::TaskTraits;
use crate::time::{ManualClock, Moment};
use crate::{CancelToken, Close, JoinError, WaitError};

/// Schedules per strategy and scenario.
fn iterations() -> usize {
    std::env::var("OVERSTRAND_MODEL_ITERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

/// Runs a scenario under every strategy. Random alone is known to miss lost wake-ups that PCT finds at once.
pub(super) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let run = |name: &str, go: &dyn Fn(Arc<dyn Fn() + Send + Sync>)| {
        eprintln!("strategy {name}");
        go(Arc::clone(&scenario) as Arc<dyn Fn() + Send + Sync>);
    };
    let config = || {
        let mut config = Config::new();
        config.stack_size = 0x20_000;
        config
    };
    let many = iterations();
    for depth in [2, 3, 5] {
        run("pct", &|f| {
            Runner::new(PctScheduler::new(depth, many), config()).run(move || f());
        });
    }
    run("urw", &|f| {
        Runner::new(UrwRandomScheduler::new(many), config()).run(move || f());
    });
    run("random", &|f| {
        Runner::new(RandomScheduler::new(many), config()).run(move || f());
    });
}

pub(super) fn pool(workers: usize) -> ThreadPool {
    let settings = Settings {
        name: "model".into(),
        workers,
        best_effort_max: workers.saturating_sub(1).max(1),
        threads_max: workers + 3,
        stack_size: None,
        bound: None,
        stall_threshold: std::time::Duration::from_secs(10),
        may_block_threshold: std::time::Duration::from_millis(10),
        recent_tasks: 0,
        hooks: Hooks::default(),
    };
    let core = Core::new(settings, Arc::new(ManualClock::new(Moment::ORIGIN))).share();
    staff::start(&core).expect("a model has threads");
    ThreadPool::own(core)
}

pub(super) fn assert_adds_up(pool: &ThreadPool) {
    let stats = pool.stats();
    assert_eq!(stats.posted, stats.ran + stats.queued + stats.delayed + stats.running + stats.dropped, "{stats:?}");
}

/// SEQ-1, SEQ-2, and no lost wake-up: the scenario in which a strand goes idle while a post comes.
#[test]
fn shuttle_strand_runs_everything_in_order() {
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let next = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let (strand, inside, next) = (strand.clone(), Arc::clone(&inside), Arc::clone(&next));
                shuttle::thread::spawn(move || {
                    for number in 0..3 {
                        let (inside, next) = (Arc::clone(&inside), Arc::clone(&next));
                        let task = move || {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                            assert_eq!(next[producer].fetch_add(1, Ordering::SeqCst), number, "out of order");
                            inside.fetch_sub(1, Ordering::SeqCst);
                        };
                        strand.post_task(task).expect("open");
                    }
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
        strand.flush().expect("nothing is dropped");
        assert!(next.iter().all(|count| count.load(Ordering::SeqCst) == 3));
        let report = pool.shutdown().expect("outside");
        assert_eq!((report.ran, report.dropped), (6, 0));
    });
}

/// HND-3: waiting inside tasks, with work posted by the waiting task itself.
#[test]
fn shuttle_tasks_that_wait_for_tasks_end() {
    explore(|| {
        let pool = pool(1);
        let inner = pool.clone();
        let sum = pool.spawn(move || {
            let (left, right) = (inner.spawn(|| 1), inner.spawn(|| 2));
            left.join().expect("runs") + right.join().expect("runs")
        });
        assert_eq!(sum.join().expect("runs"), 3);
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// SEQ-9: a flush has seen the end of its thread's own post, also while another post is half done.
#[test]
fn shuttle_flush_of_a_strand_waits_for_the_own_post() {
    explore(|| {
        let pool = pool(1);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let other = {
            let strand = strand.clone();
            shuttle::thread::spawn(move || strand.post_task(|| ()).expect("open"))
        };
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        strand.post_task(move || counted.store(1, Ordering::SeqCst)).expect("open");
        strand.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::SeqCst), 1, "the flush ended before the post");
        other.join().expect("no panic");
        let report = pool.shutdown().expect("outside");
        assert_eq!(report.ran + report.dropped, 2);
    });
}

/// CTL-2: a flush that ends has seen the end of what was posted before it and of what those tasks posted, whoever posts meanwhile; and it
/// ends although the worker that ran the last task is one too many by then.
#[test]
fn shuttle_flush_waits_for_what_tasks_post() {
    explore(|| {
        let pool = pool(1);
        let ran = Arc::new(AtomicUsize::new(0));
        let other = {
            let (pool, ran) = (pool.clone(), Arc::clone(&ran));
            shuttle::thread::spawn(move || {
                pool.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("open");
                drop(pool);
            })
        };
        let (inner, counted) = (pool.clone(), Arc::clone(&ran));
        let task = move || {
            let own = Arc::clone(&counted);
            inner.spawn(move || _ = own.fetch_add(10, Ordering::SeqCst)).join().expect("runs");
            inner.post_task(move || _ = counted.fetch_add(10, Ordering::SeqCst)).expect("open");
        };
        pool.post_task(task).expect("open");
        pool.flush().expect("nothing is dropped");
        assert!(ran.load(Ordering::SeqCst) >= 20, "a task of a task was not waited for");
        other.join().expect("no panic");
        pool.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::SeqCst), 21);
        assert_eq!(pool.shutdown().expect("outside").ran, 4);
    });
}

/// POST-9, POST-7: a poster that waits for room gets it, or hears of the shutdown; nobody is forgotten.
#[test]
fn shuttle_posters_that_wait_for_room_go_on() {
    explore(|| {
        let pool = pool(1);
        let strand = crate::SequencedTaskRunner::builder(&pool)
            .capacity(1, crate::Overflow::Block)
            .build()
            .expect("a capacity above zero");
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let strand = strand.clone();
                shuttle::thread::spawn(move || (0..2).filter(|_| strand.post_task(|| ()).is_ok()).count())
            })
            .collect();
        let _ = strand.post_task(|| ());
        pool.shutdown().expect("outside");
        let accepted: usize = posters.into_iter().map(|poster| poster.join().expect("no panic")).sum();
        let stats = strand.stats();
        assert!(stats.posted >= accepted as u64 && stats.queued == 0, "{stats:?}");
        assert_adds_up(&pool);
    });
}

/// POST-9: dropping the oldest goes on beside the drainer, and each task has one end.
#[test]
fn shuttle_full_queue_drops_the_oldest_once() {
    explore(|| {
        let pool = pool(1);
        let strand = crate::SequencedTaskRunner::builder(&pool)
            .capacity(1, crate::Overflow::DropOldest)
            .build()
            .expect("a capacity above zero");
        let ends = Arc::new(AtomicUsize::new(0));
        struct End(Arc<AtomicUsize>);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let (strand, ends) = (strand.clone(), Arc::clone(&ends));
                shuttle::thread::spawn(move || {
                    for _ in 0..2 {
                        let end = End(Arc::clone(&ends));
                        strand.post_task(move || drop(end)).expect("the newest is accepted");
                    }
                })
            })
            .collect();
        posters.into_iter().for_each(|poster| poster.join().expect("no panic"));
        strand.flush().expect("what overflowed is over");
        assert_eq!(ends.load(Ordering::SeqCst), 4);
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// The first task blocks, outside of anything that the pool knows of, until the second has run: both workers must be up.
#[test]
fn shuttle_each_post_finds_a_free_worker() {
    explore(|| {
        let pool = pool(2);
        let (tell, told) = shuttle::sync::mpsc::channel();
        pool.post_task(move || told.recv().expect("the other task runs")).expect("open");
        pool.post_task(move || tell.send(()).expect("somebody listens")).expect("open");
        pool.flush().expect("nothing is dropped");
        assert_eq!(pool.shutdown().expect("outside").ran, 2);
    });
}

/// The same for what a worker posts: it blocks until another worker has run it. Model of defect Z7.
#[test]
fn shuttle_tasks_of_one_worker_find_another() {
    explore(|| {
        let pool = pool(2);
        let inner = pool.clone();
        let outer = pool.spawn(move || {
            let (tell, told) = shuttle::sync::mpsc::channel();
            inner.post_task(move || tell.send(()).expect("somebody listens")).expect("open");
            told.recv().expect("another worker runs it");
        });
        outer.join().expect("it runs");
        assert_eq!(pool.shutdown().expect("outside").ran, 2);
    });
}

/// SHUT-1, SHUT-2, POST-2: every accepted task has one end, whatever races with shutdown.
#[test]
fn shuttle_accepted_tasks_have_one_end() {
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let ends = Arc::new(AtomicUsize::new(0));
        let must_run = Arc::new(AtomicUsize::new(0));
        struct End(Arc<AtomicUsize>);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let poster = {
            let (pool, strand, ends, must_run) =
                (pool.clone(), strand.clone(), Arc::clone(&ends), Arc::clone(&must_run));
            shuttle::thread::spawn(move || {
                let mut accepted = 0;
                let mut blocking = 0;
                for traits in [TaskTraits::default(), TaskTraits::default().continue_on_shutdown()] {
                    let end = End(Arc::clone(&ends));
                    accepted +=
                        usize::from(pool.post_task_with(traits, move || drop(end)).map_err(std::mem::forget).is_ok());
                }
                let end = End(Arc::clone(&ends));
                accepted += usize::from(strand.post_task(move || drop(end)).map_err(std::mem::forget).is_ok());
                let (end, ran) = (End(Arc::clone(&ends)), must_run);
                let task = move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    drop(end);
                };
                if pool.post_task_with(TaskTraits::default().block_shutdown(), task).map_err(std::mem::forget).is_ok() {
                    accepted += 1;
                    blocking += 1;
                }
                (accepted, blocking)
            })
        };
        let report = pool.shutdown().expect("outside");
        let (accepted, blocking) = poster.join().expect("no panic");
        pool.shutdown().expect("outside");
        // Nobody waits for a running `ContinueOnShutdown` task, but here.
        let core = pool.core();
        core.ended.wait_until(|| (core.staff.live() == 0).then_some(()), crate::park::Wait::on("the threads"));
        assert_eq!(ends.load(Ordering::SeqCst), accepted, "{report:?}");
        assert_eq!(must_run.load(Ordering::SeqCst), blocking);
        assert_adds_up(&pool);
    });
}

/// DLY-2, HND-1: cancel or run, never both, and the handle always answers.
#[test]
fn shuttle_cancel_or_run() {
    explore(|| {
        let pool = pool(1);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let handle = pool.spawn(move || counted.fetch_add(1, Ordering::SeqCst));
        let was_cancelled = handle.cancel();
        match handle.join() {
            Ok(_) => assert!(!was_cancelled),
            Err(JoinError::Cancelled) => assert!(was_cancelled),
            Err(other) => panic!("{other}"),
        }
        pool.flush().expect("nothing is dropped by shutdown");
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(!was_cancelled));
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// SHUT-5: the last handle goes away inside a task.
#[test]
fn shuttle_last_handle_dropped_in_a_task() {
    explore(|| {
        let pool = pool(2);
        let core = Arc::clone(pool.core());
        let inner = pool.clone();
        pool.post_task(move || drop(inner)).expect("open");
        drop(pool);
        core.ended.wait_until(|| (core.staff.live() == 0).then_some(()), crate::park::Wait::on("the threads"));
    });
}

/// SEQ-10, DLY-2: a delayed post and a token's signal beside a discarding close: nothing stays armed, whoever comes first.
#[test]
fn shuttle_discarding_close_leaves_nothing_armed() {
    explore(|| {
        let pool = pool(1);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let (token, owned) = (CancelToken::new(), Arc::new(()));
        let (poster, bound, kept) = (strand.clone(), token.clone(), Arc::clone(&owned));
        let poster = shuttle::thread::spawn(move || {
            let (first, second) = (Arc::clone(&kept), kept);
            let hour = Duration::from_secs(3_600);
            let _ = poster.task().delay(hour).cancel_with(&bound).post(move || drop(first));
            let _ = poster.post_delayed_task(hour, move || drop(second));
        });
        let canceller = shuttle::thread::spawn(move || token.cancel());
        strand.close(Close::Discard);
        poster.join().expect("no panic");
        canceller.join().expect("no panic");
        assert_eq!((strand.stats().delayed, pool.stats().delayed, Arc::strong_count(&owned)), (0, 0, 1));
        assert_adds_up(&pool);
        pool.shutdown().expect("outside");
    });
}

/// SEQ-9, SEQ-10: a wait ends, whatever happens to the sequence meanwhile.
#[test]
fn shuttle_waits_end_when_the_sequence_is_closed() {
    explore(|| {
        let pool = pool(1);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let ran = Arc::clone(&ran);
            strand.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("open");
        }
        let closer = {
            let strand = strand.clone();
            shuttle::thread::spawn(move || strand.close(Close::Discard))
        };
        let flushed = strand.flush();
        let expected = if ran.load(Ordering::SeqCst) == 2 { Ok(()) } else { Err(WaitError::Closed) };
        assert_eq!(flushed, expected);
        closer.join().expect("no panic");
        assert!(strand.post_task(|| ()).is_err());
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}

/// PRI-4: a ticket that became stale is dropped, and nothing is stranded.
#[test]
fn shuttle_lifting_a_sequence_strands_nothing() {
    explore(|| {
        let pool = pool(2);
        let strand = pool.create_sequenced_task_runner(TaskTraits::best_effort());
        let ran = Arc::new(AtomicUsize::new(0));
        let poster = {
            let (strand, ran) = (strand.clone(), Arc::clone(&ran));
            shuttle::thread::spawn(move || {
                for priority in [crate::Priority::UserBlocking, crate::Priority::UserVisible] {
                    let ran = Arc::clone(&ran);
                    let count = move || _ = ran.fetch_add(1, Ordering::SeqCst);
                    strand.task().priority(priority).post(count).expect("open");
                }
            })
        };
        for _ in 0..2 {
            let ran = Arc::clone(&ran);
            strand.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("open");
        }
        strand.set_priority(crate::Priority::UserVisible);
        poster.join().expect("no panic");
        strand.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::SeqCst), 4);
        pool.shutdown().expect("outside");
        assert_adds_up(&pool);
    });
}
