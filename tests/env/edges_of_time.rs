//! Edges of the promises: order, time and place.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, JoinError, MainThreadTaskRunner, MissedTicks, Overflow, Priority, RejectReason, Schedule,
    SequencedTaskRunner, TaskTraits, ThreadPool, WaitError, current,
};

use crate::notes::{Log, note, seen, strand};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

// ---- sequences: priority ------------------------------------------------------------------------------------------------

/// PRI-4: a priority that is set lower holds for what is posted later, too.
#[test]
fn lowered_priority_holds_for_later_posts() {
    let env = TestEnvironment::builder().workers(1).build();
    let (seq, log) = (strand(&env), Log::default());
    seq.set_priority(Priority::BestEffort);
    seq.post_task(note(&log, "own")).expect("open");
    env.pool().post_task(note(&log, "other")).expect("open");
    env.run_until_idle();
    assert_eq!(seen(&log), ["other", "own"]);
}

/// SEQ-5, PRI-4: when the urgent task has run the sequence is no longer lifted, and yields before its next task.
#[test]
fn sequence_is_lifted_no_longer_than_its_urgent_task() {
    TestEnvironment::builder().workers(1).explore(0..50, |env| {
        let (seq, log) = (env.pool().create_sequenced_task_runner(TaskTraits::best_effort()), Log::default());
        seq.task().priority(Priority::UserBlocking).post(note(&log, "urgent")).expect("open");
        seq.post_task(note(&log, "own")).expect("open");
        env.pool().post_task(note(&log, "other")).expect("open");
        env.run_until_idle();
        assert_eq!(seen(&log), ["urgent", "other", "own"]);
    });
}

// ---- the runner of a main thread -----------------------------------------------------------------------------------------------

/// DLY-3, PRI-1: timers go on while the runner is busy: a delayed task becomes ready when it is due, though tasks post tasks without end.
#[test]
fn busy_main_thread_runs_its_delayed_tasks() {
    fn chain(runner: overstrand::SingleThreadTaskRunner, left: u32, log: Log) -> impl FnOnce() + Send + 'static {
        move || {
            let _ = CancelToken::new().wait_timeout(MILLI);
            match left {
                0 => log.lock().expect("no panic").push("end of the chain"),
                _ => runner.post_task(chain(runner.clone(), left - 1, log)).map_err(|_| "closed").expect("open"),
            }
        }
    }
    let _env = TestEnvironment::builder().baton().build();
    let (main, log) = (MainThreadTaskRunner::new(), Log::default());
    let ui = main.runner();
    let _late = ui.post_delayed_task(MILLI * 5, note(&log, "delayed")).expect("open");
    ui.post_task(chain(ui.clone(), 1_000, Arc::clone(&log))).map_err(|_| "closed").expect("open");
    main.run_until_idle();
    assert_eq!(seen(&log), ["delayed", "end of the chain"]);
}

/// "The pump returns after the task that it runs."
#[test]
fn pump_returns_after_the_task_that_quits() {
    let _env = TestEnvironment::with_seed(0);
    let (main, log) = (MainThreadTaskRunner::new(), Log::default());
    let (ui, quit) = (main.runner(), main.quit_handle());
    ui.post_task(move || quit.quit()).expect("open");
    ui.post_task(note(&log, "after")).expect("open");
    main.run_until_quit();
    assert_eq!(seen(&log), [""; 0]);
}

/// SEQ-9: a flush on the thread that would have to pump is an error, never a hang.
#[test]
fn flush_on_the_thread_that_pumps_is_an_error() {
    let _env = TestEnvironment::builder().baton().build();
    let main = MainThreadTaskRunner::new();
    let ui = main.runner();
    ui.post_task(|| ()).expect("open");
    assert_eq!(ui.flush(), Err(WaitError::WouldDeadlock));
}

/// SHUT-1, SHUT-2: a delayed task that blocks the shutdown runs if its delay is over when the shutdown starts.
#[test]
fn ripe_task_of_a_main_thread_blocks_its_end() {
    let env = TestEnvironment::with_seed(0);
    let (main, log) = (MainThreadTaskRunner::new(), Log::default());
    let ui = main.create_runner("ui", TaskTraits::default().block_shutdown());
    let _ripe = ui.post_delayed_task(MILLI, note(&log, "ripe")).expect("open");
    env.advance(SECOND);
    drop(main);
    assert_eq!(seen(&log), ["ripe"]);
}

// ---- delays, series, futures, places ------------------------------------------------------------------------------------------

/// DLY-3: the delay manager runs no user code: the end of a capture that takes long delays no other's timers.
#[test]
fn discarded_delayed_task_delays_no_timer() {
    let env = TestEnvironment::builder().workers(2).baton().build();
    let (seq, log) = (strand(&env), Log::default());
    let slow = OnDrop(|| _ = CancelToken::new().wait_timeout(SECOND * 5));
    let _late = seq.post_delayed_task(SECOND, move || drop(slow)).expect("open");
    seq.close(Close::Discard);
    let _other = env.pool().post_delayed_task(SECOND * 2, note(&log, "other")).expect("open");
    env.advance(SECOND * 2);
    assert_eq!(seen(&log), ["other"]);
}

/// DLY-6: a tick that a full queue drops does not end the series silently.
#[test]
fn overflow_does_not_end_a_series() {
    let env = TestEnvironment::with_seed(0);
    let bounded = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::DropOldest).build().expect("valid");
    let ticker = bounded.post_repeating_task(SECOND, || ()).expect("open");
    let fence = env.pool().fence();
    env.advance(SECOND);
    bounded.post_task(|| ()).expect("accepted");
    drop(fence);
    env.advance(SECOND * 3);
    assert!(!ticker.is_stopped() && ticker.runs() >= 2, "{ticker:?}");
}

/// DLY-3, DLY-6: nor does a tick that is made up for and finds the queue full.
#[test]
fn full_queue_does_not_end_a_series() {
    let env = TestEnvironment::builder().baton().build();
    let bounded = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::Reject).build().expect("valid");
    let (own, mut is_first) = (bounded.clone(), true);
    let body = move || {
        if std::mem::take(&mut is_first) {
            let _ = CancelToken::new().wait_timeout(SECOND * 3);
            own.post_task(|| ()).expect("there is room");
        }
    };
    let schedule = Schedule::every(SECOND).missed(MissedTicks::Burst(2));
    let ticker = bounded.post_repeating_task(schedule, body).expect("open");
    env.advance(SECOND * 10);
    assert!(!ticker.is_stopped() && ticker.runs() >= 2, "{ticker:?}");
    ticker.stop();
}

/// HND-2: a future that waits for something when its pool ends is over, as "shutting the pool down drops the future" says.
#[test]
fn shutdown_ends_a_future_that_waits() {
    let env = TestEnvironment::builder().baton().build();
    let never = CancelToken::new();
    let waits = never.clone();
    let waiting = strand(&env).spawn_future(async move { waits.cancelled().await });
    env.run_until_idle();
    env.pool().shutdown().expect("outside");
    assert!(waiting.is_finished());
    assert!(waiting.join().is_err());
}

/// HND-2: a future that is refused says so, as every other task does.
#[test]
fn refused_future_says_that_it_was_refused() {
    let env = TestEnvironment::with_seed(0);
    let seq = strand(&env);
    env.pool().shutdown().expect("outside");
    assert!(matches!(seq.spawn_future(async {}).join(), Err(JoinError::Rejected(RejectReason::ShutDown))));
}

/// SEQ-10: "closing the runner … drops the future".
#[test]
fn close_ends_a_future_that_waits() {
    let env = TestEnvironment::builder().baton().build();
    let (seq, never) = (strand(&env), CancelToken::new());
    let waits = never.clone();
    let waiting = seq.spawn_future(async move { waits.cancelled().await });
    env.run_until_idle();
    seq.close(Close::Discard);
    env.run_until_idle();
    assert!(waiting.is_finished());
}

/// F21: a task that waits for its own handle is told, also where there is no sequence.
#[test]
fn task_that_joins_itself_is_told() {
    let env = TestEnvironment::builder().baton().build();
    let slot: Arc<Mutex<Option<overstrand::TaskHandle<bool>>>> = Arc::default();
    let own = Arc::clone(&slot);
    let begins = CancelToken::new();
    let waits = begins.clone();
    let answer = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&answer);
    let task = move || {
        waits.wait();
        let handle = own.lock().expect("no panic").take().expect("it was put there");
        told.store(matches!(handle.join(), Err(JoinError::WouldDeadlock)), Ordering::SeqCst);
        true
    };
    *slot.lock().expect("no panic") = Some(env.pool().spawn(task));
    begins.cancel();
    env.run_until_idle();
    assert!(answer.load(Ordering::SeqCst));
}

/// POST-3: a task knows its post site: that of a callback's task is not inside this crate.
#[test]
fn task_of_a_wrapped_callback_knows_its_site() {
    let env = TestEnvironment::with_seed(0);
    let file = Arc::new(Mutex::new(None));
    let told = Arc::clone(&file);
    let callback = strand(&env).wrap(move |()| *told.lock().expect("no panic") = current::location());
    callback(());
    drop(callback);
    env.run_until_idle();
    let site = file.lock().expect("no panic").take().expect("it ran");
    assert_eq!(site.file(), file!());
}

/// POST-3: "`None` outside of tasks": the end of a discarded task's captures is not inside the task before it.
#[test]
fn end_of_a_discarded_task_has_no_others_site() {
    let env = TestEnvironment::with_seed(0);
    let (seq, site) = (strand(&env), Arc::new(Mutex::new(None)));
    let (own, told) = (seq.clone(), Arc::clone(&site));
    let first = line!() + 1;
    seq.post_task(move || own.close(Close::Discard)).expect("open");
    let looks = OnDrop(move || *told.lock().expect("no panic") = current::location().map(|site| site.line()));
    seq.post_task(move || drop(looks)).expect("open");
    env.run_until_idle();
    assert_ne!(*site.lock().expect("no panic"), Some(first));
}

/// CTL-3: "Called for each post that is refused": also for one whose token was signalled before.
#[test]
fn post_with_a_signalled_token_is_a_counted_refusal() {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let hook = move |_: &overstrand::RejectionReport| _ = counted.fetch_add(1, Ordering::SeqCst);
    let env = TestEnvironment::builder().pool(|pool| pool.on_rejected(hook)).build();
    let (seq, token) = (strand(&env), CancelToken::new());
    token.cancel();
    assert!(seq.task().cancel_with(&token).post(|| ()).is_err());
    assert_eq!((seq.stats().rejected, told.load(Ordering::SeqCst)), (1, 1));
}

/// POST-8, POST-9: a poster that waits for room hears of the shutdown when it starts, not when what runs is over.
#[test]
fn shutdown_ends_the_wait_for_room() {
    let pool = ThreadPool::builder().workers(2).build().expect("threads");
    let bounded = SequencedTaskRunner::builder(&pool).capacity(1, Overflow::Block).build().expect("valid");
    let (go, started) = (CancelToken::new(), CancelToken::new());
    let (waits, starts) = (go.clone(), started.clone());
    let run = move || {
        starts.cancel();
        waits.wait();
    };
    bounded.post_task(run).expect("open");
    started.wait();
    bounded.post_task(|| ()).expect("there is room");
    let (tell, told) = mpsc::channel();
    let poster = std::thread::spawn(move || {
        let _ = tell.send(Ok(()));
        let _ = tell.send(bounded.post_task(|| ()).map_err(|rejected| rejected.reason()));
    });
    assert_eq!(told.recv(), Ok(Ok(())));
    let report = pool.shutdown_timeout(MILLI * 300).expect("outside");
    assert_eq!(report.stragglers.len(), 1);
    let answer = told.recv_timeout(SECOND);
    go.cancel();
    let _ = poster.join();
    assert_eq!(answer, Ok(Err(RejectReason::ShutDown)));
}
