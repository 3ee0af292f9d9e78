//! The core's promises over many seeds. `OVERSTRAND_SEEDS` says how many, instead of the numbers here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, StrandHistory, TestEnvironment, check_conservation};
use overstrand::{
    Close, JoinError, Priority, RejectReason, SequencedTaskRunner, ShutdownBehavior, TaskHandle, TaskTraits, sometimes,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

const PRIORITIES: [Priority; 3] = [Priority::BestEffort, Priority::UserVisible, Priority::UserBlocking];

fn traits_with(behavior: ShutdownBehavior) -> TaskTraits {
    let traits = TaskTraits::default();
    match behavior {
        ShutdownBehavior::ContinueOnShutdown => traits.continue_on_shutdown(),
        ShutdownBehavior::SkipOnShutdown => traits.skip_on_shutdown(),
        ShutdownBehavior::BlockShutdown => traits.block_shutdown(),
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("OVERSTRAND_SEEDS").ok().and_then(|text| text.parse().ok());
    0..asked.unwrap_or(default)
}

/// Small lots for a scenario, by the seed of its environment.
struct Lots(u64);

impl Lots {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 >> 33) % bound
    }
}

/// Counts its own end, whichever it is.
struct End(Arc<AtomicU64>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Mixed {
    strands: Vec<(SequencedTaskRunner, StrandHistory)>,
    ends: Arc<AtomicU64>,
    ran: Arc<AtomicU64>,
    must_run: Arc<AtomicU64>,
    accepted: u64,
    blocking: u64,
    handles: Vec<TaskHandle<()>>,
}

impl Mixed {
    fn new(env: &TestEnvironment) -> Self {
        let traits = [TaskTraits::default(), TaskTraits::best_effort(), TaskTraits::user_blocking()];
        let strands = traits.map(|traits| (env.pool().create_sequenced_task_runner(traits), StrandHistory::new()));
        Self { strands: strands.into(), ..Self::default() }
    }

    /// Posts something somewhere.
    fn act(&mut self, env: &TestEnvironment, lots: &mut Lots) {
        let (strand, history) = self.strands[lots.below(3) as usize].clone();
        let (end, ran) = (End(Arc::clone(&self.ends)), Arc::clone(&self.ran));
        let is_blocking = lots.below(6) == 0;
        let behavior = if is_blocking { ShutdownBehavior::BlockShutdown } else { ShutdownBehavior::SkipOnShutdown };
        let must_run = Arc::clone(&self.must_run);
        let again = strand.clone();
        let posts_again = lots.below(8) == 0;
        let task = move || {
            ran.fetch_add(1, Ordering::SeqCst);
            if is_blocking {
                must_run.fetch_add(1, Ordering::SeqCst);
            }
            if posts_again {
                let _ = again.post_task(|| ());
            }
            drop(end);
        };
        let traits = traits_with(behavior);
        let accepted = match lots.below(5) {
            0 => {
                let (post, run) = history.post();
                self.handles.push(strand.task().traits(traits).spawn(move || run.during(task)));
                post.accepted();
                true
            }
            1 => {
                let delay = Duration::from_millis(lots.below(2_000));
                let (end, ran) = (End(Arc::clone(&self.ends)), Arc::clone(&self.ran));
                drop(task);
                self.accepted += 1;
                let late = move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    drop(end);
                };
                match env.pool().post_delayed_task(delay, late) {
                    Ok(handle) => {
                        if lots.below(3) == 0 {
                            handle.cancel();
                        }
                        return;
                    }
                    Err(rejected) => panic!("{rejected}"),
                }
            }
            _ => {
                let (post, run) = history.post();
                let posted =
                    strand.task().traits(traits).priority(Priority::UserVisible).post(move || run.during(task));
                posted.map(|()| post.accepted()).is_ok()
            }
        };
        assert!(accepted);
        self.accepted += 1;
        self.blocking += u64::from(is_blocking);
    }
}

/// Everything at once: strands, priorities, delays, cancels, panics, shutdown.
#[test]
fn mixed_scenario_keeps_every_promise() {
    let faults = Faults::none().panics(0.02).cancels(0.02);
    TestEnvironment::builder().faults(faults).workers(3).allow_panics().explore(seeds(20_000), |env| {
        let mut lots = Lots(env.seed() ^ 0x9E37);
        let mut mixed = Mixed::new(env);
        for _ in 0..30 {
            mixed.act(env, &mut lots);
            match lots.below(10) {
                0 => env.run_until_idle(),
                1 => env.advance(Duration::from_millis(lots.below(500))),
                2 => {
                    let urgent = PRIORITIES[lots.below(3) as usize];
                    mixed.strands[lots.below(3) as usize].0.set_priority(urgent);
                }
                3 => {
                    let which = lots.below(1 + mixed.handles.len() as u64) as usize;
                    if let Some(handle) = mixed.handles.get(which) {
                        handle.cancel();
                    }
                }
                _ => {}
            }
        }
        if lots.below(2) == 0 {
            env.pool().flush().expect("no shutdown yet");
        }
        let report = env.pool().shutdown().expect("outside");
        let stats = env.pool().stats();
        check_conservation(stats).expect("the pool's counters add up");
        assert_eq!((stats.queued, stats.delayed, stats.running), (0, 0, 0), "{stats:?}");
        for (strand, history) in &mixed.strands {
            check_conservation(strand.stats()).expect("the strand's counters add up");
            history.check().expect("the strand's promises are kept");
        }
        assert!(report.stragglers.is_empty());
        let (ran, must_run) = (mixed.ran.load(Ordering::SeqCst), mixed.must_run.load(Ordering::SeqCst));
        sometimes!(ran < mixed.accepted, "shutdown drops something");
        sometimes!(ran + 3 >= mixed.accepted, "nearly everything runs");
        assert!(must_run <= mixed.blocking);
        drop(std::mem::take(&mut mixed.handles));
        drop(std::mem::take(&mut mixed.strands));
        let ended = mixed.ends.load(Ordering::SeqCst);
        assert!(ended >= mixed.accepted, "{ended} ends of {}", mixed.accepted);
    });
}

/// SHUT-1, SHUT-2: the matrix {Continue, Skip, Block} x {queued, running, delayed, posted during, posted after}.
#[test]
fn shutdown_matrix_holds_for_every_seed() {
    for behavior in
        [ShutdownBehavior::ContinueOnShutdown, ShutdownBehavior::SkipOnShutdown, ShutdownBehavior::BlockShutdown]
    {
        TestEnvironment::builder().workers(2).baton().explore(seeds(60), |env| {
            let traits = traits_with(behavior);
            let blocks = behavior == ShutdownBehavior::BlockShutdown;
            let pool = env.pool();
            let release = overstrand::CancelToken::new();
            let waits = release.clone();
            let running = pool.task().traits(traits).spawn(move || waits.wait());
            env.run_until_idle();
            let strand = pool.create_sequenced_task_runner(traits);
            let hold = overstrand::CancelToken::new();
            let held = hold.clone();
            let first = strand.task().traits(traits.block_shutdown()).spawn(move || held.wait());
            env.run_until_idle();
            let queued = strand.spawn(|| ());
            let delayed = strand.task().delay(SECOND).post_delayed(|| ()).expect("open");
            let report = pool.shutdown_timeout(SECOND * 2).expect("outside");
            assert_eq!(report.stragglers.len(), 2, "{report:?}");
            assert!(!delayed.is_pending());
            let during = pool.task().traits(traits).spawn(|| ());
            release.cancel();
            hold.cancel();
            let report = pool.shutdown().expect("outside");
            let continues = behavior == ShutdownBehavior::ContinueOnShutdown;
            assert!(continues || report.stragglers.is_empty(), "{report:?}");
            assert!(first.join().is_ok());
            assert!(running.join().is_ok(), "what runs is never dropped");
            let outcome = |result: Result<(), JoinError>| match result {
                Ok(()) => "ran",
                Err(JoinError::ShutDown) => "dropped",
                Err(JoinError::Rejected(RejectReason::ShutDown)) => "rejected",
                Err(other) => panic!("{other}"),
            };
            assert_eq!(outcome(queued.join()), if blocks { "ran" } else { "dropped" });
            assert_eq!(outcome(during.join()), if blocks { "ran" } else { "rejected" });
            let after = pool.task().traits(traits).spawn(|| ());
            assert_eq!(outcome(after.join()), "rejected");
        });
    }
}

/// SEQ-2, DLY-1, DLY-5: due order, ties in post order, never early; whatever the seed does.
#[test]
fn delayed_tasks_of_a_strand_run_in_due_order() {
    TestEnvironment::builder().workers(3).explore(seeds(300), |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut lots = Lots(env.seed());
        let mut expected = Vec::new();
        for number in 0..20_u64 {
            let delay = Duration::from_millis(lots.below(6) * 100);
            expected.push((delay, number));
            let seen = Arc::clone(&seen);
            let note = move || seen.lock().expect("no panic").push(number);
            strand.post_delayed_task(delay, note).expect("open");
        }
        expected.sort();
        env.advance(SECOND);
        let expected: Vec<_> = expected.into_iter().map(|(_, number)| number).collect();
        assert_eq!(*seen.lock().expect("no panic"), expected);
    });
}

/// DLY-2: a timer that is ripe has given its place in the wheel to another; cancelling its task must not touch that one. Test of defect Z12.
#[test]
fn cancel_of_a_ripe_timer_leaves_others_alone() {
    TestEnvironment::builder().workers(1).baton().explore(seeds(50), |env| {
        let go = overstrand::CancelToken::new();
        let waits = go.clone();
        // One best-effort task at a time: what is ripe has to wait for this one.
        let held = env.pool().task().priority(Priority::BestEffort).spawn(move || waits.wait());
        env.run_until_idle();
        let ran = Arc::new(AtomicUsize::new(0));
        let post = |delay| {
            let ran = Arc::clone(&ran);
            let count = move || _ = ran.fetch_add(1, Ordering::SeqCst);
            env.pool().task().priority(Priority::BestEffort).delay(delay).post_delayed(count).expect("open")
        };
        let ripe = post(SECOND);
        env.advance(SECOND);
        let later = post(SECOND);
        assert!(ripe.is_pending() && ripe.cancel());
        go.cancel();
        env.advance(SECOND);
        assert!(held.join().is_ok() && !later.is_pending());
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

/// PRI-2: while a best-effort task waits and its worker is allowed to run it, at most 60 picks of that worker go elsewhere.
#[test]
fn best_effort_work_waits_for_60_picks_at_most() {
    TestEnvironment::builder().workers(1).explore(seeds(100), |env| {
        let urgent = Arc::new(AtomicUsize::new(0));
        let at = Arc::new(AtomicUsize::new(usize::MAX));
        fn flood(pool: &overstrand::ThreadPool, urgent: &Arc<AtomicUsize>, left: u32) {
            let (own, counted) = (pool.clone(), Arc::clone(urgent));
            let task = move || {
                counted.fetch_add(1, Ordering::SeqCst);
                if left > 0 {
                    flood(&own, &counted, left - 1);
                }
            };
            pool.post_task_with(Priority::UserBlocking.into(), task).expect("open");
        }
        flood(env.pool(), &urgent, 200);
        let (seen, counted) = (Arc::clone(&at), Arc::clone(&urgent));
        let late = move || seen.store(counted.load(Ordering::SeqCst), Ordering::SeqCst);
        env.pool().post_task_with(Priority::BestEffort.into(), late).expect("open");
        env.run_until_no_tasks();
        let at = at.load(Ordering::SeqCst);
        assert!(at <= 60, "{at} urgent tasks went first");
        assert_eq!(urgent.load(Ordering::SeqCst), 201);
    });
}

/// SEQ-5: a strand yields before its next task when more urgent work waits and no worker is free for it.
#[test]
fn strand_yields_to_urgent_work() {
    TestEnvironment::builder().workers(1).explore(seeds(200), |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..5 {
            let (seen, pool) = (Arc::clone(&seen), env.pool().clone());
            let task = move || {
                seen.lock().expect("no panic").push(format!("slow {number}"));
                if number == 1 {
                    let urgent = Arc::clone(&seen);
                    let note = move || urgent.lock().expect("no panic").push("urgent".to_owned());
                    pool.post_task_with(Priority::UserBlocking.into(), note).expect("open");
                }
            };
            strand.post_task(task).expect("open");
        }
        env.run_until_no_tasks();
        let order = seen.lock().expect("no panic").join(" ");
        assert_eq!(order, "slow 0 slow 1 urgent slow 2 slow 3 slow 4");
    });
}

/// The idle protocol: each post is run though nothing else happens; a worker that sleeps beside queued work would fail the environment.
#[test]
fn every_post_finds_a_worker() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(3);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(seeds(100), |env| {
            for round in 1..=5 {
                let pool = env.pool().clone();
                let outer = env.pool().spawn(move || (pool.spawn(|| 1), pool.spawn(|| 2)));
                let (one, two) = outer.join().expect("it runs");
                assert_eq!(one.join().expect("it runs") + two.join().expect("it runs"), 3);
                env.run_until_idle();
                assert_eq!(env.pool().stats().ran, round * 3);
            }
        });
    }
}

/// SEQ-9, SEQ-10: waits end, whatever happens to the sequence, and say what happened.
#[test]
fn waits_for_a_closed_strand_say_what_happened() {
    TestEnvironment::builder().workers(2).baton().explore(seeds(100), |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let ran = Arc::clone(&ran);
            strand.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("open");
        }
        let closer = strand.clone();
        let how = if env.seed() % 2 == 0 { Close::Drain } else { Close::Discard };
        let closed = env.pool().spawn(move || closer.close(how));
        let flushed = strand.flush();
        let all_ran = ran.load(Ordering::SeqCst) == 4;
        assert_eq!(flushed.is_ok(), all_ran, "{flushed:?}");
        sometimes!(!all_ran, "a discard drops something");
        closed.join().expect("it runs");
        assert_eq!(strand.stats().queued, 0, "{:?}", strand.stats());
    });
}

/// A virtual day with 1,000 tickers, one tick a minute each.
#[test]
fn a_virtual_day_of_a_thousand_tickers() -> AnyResult {
    fn tick(strand: &SequencedTaskRunner, ticks: &Arc<AtomicUsize>) {
        let (own, counted) = (strand.clone(), Arc::clone(ticks));
        let again = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            tick(&own, &counted);
        };
        let _ = strand.post_delayed_task(SECOND * 60, again);
    }
    let env = TestEnvironment::with_seed(1);
    let ticks = Arc::new(AtomicUsize::new(0));
    // Unoptimised, an hour is long enough to be seen; the gate runs the whole day optimised.
    let minutes = if cfg!(debug_assertions) { 60 } else { 24 * 60 };
    for _ in 0..1_000 {
        tick(&env.pool().create_sequenced_task_runner(TaskTraits::default()), &ticks);
    }
    env.advance(SECOND * 60 * minutes);
    assert_eq!(ticks.load(Ordering::SeqCst), 1_000 * minutes as usize);
    Ok(())
}
