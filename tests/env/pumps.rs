//! A `MainThreadTaskRunner` on the environment's thread: it takes part in what the environment runs (ENV-2), and its own calls run in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, TestEnvironmentBuilder};
use overstrand::{CancelToken, JoinError, MainThreadTaskRunner, TaskTraits};

use crate::{AnyResult, panic_text};

const SECOND: Duration = Duration::from_secs(1);

/// One environment of each mode.
fn both_modes() -> [TestEnvironmentBuilder; 2] {
    [TestEnvironment::builder(), TestEnvironment::builder().baton()]
}

/// Notes what ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u32>>>);

impl Log {
    fn note(&self, number: u32) -> impl FnOnce() + Send + use<> {
        let log = Arc::clone(&self.0);
        move || log.lock().expect("no panic").push(number)
    }

    fn read(&self) -> Vec<u32> {
        self.0.lock().expect("no panic").clone()
    }
}

/// ENV-2: delayed tasks of the thread and of the pool run in the order of their due instants, each at its own.
#[test]
fn delays_of_thread_and_pool_end_in_order() {
    for builder in both_modes() {
        builder.workers(2).explore(0..60, |env| {
            let (main, log) = (MainThreadTaskRunner::new(), Log::default());
            let ui = main.runner();
            for second in [4, 2, 6] {
                ui.post_delayed_task(SECOND * second, log.note(second)).expect("open");
            }
            for second in [5, 1, 3] {
                env.pool().post_delayed_task(SECOND * second, log.note(second)).expect("open");
            }
            assert_eq!((env.next_delay(), main.next_delay()), (Some(SECOND), Some(SECOND * 2)));
            assert_eq!(env.pending().delayed, 6);
            env.advance(SECOND * 2);
            assert_eq!((log.read(), env.now(), env.next_delay()), (vec![1, 2], SECOND * 2, Some(SECOND)));
            env.run_until_no_tasks();
            assert_eq!((log.read(), env.now(), env.next_delay()), ((1..=6).collect(), SECOND * 6, None));
        });
    }
}

/// Work that goes to and fro ends in one call, and what is left is counted.
#[test]
fn thread_and_pool_run_until_idle_together() {
    for builder in both_modes() {
        builder.workers(2).explore(0..60, |env| {
            let (main, log) = (MainThreadTaskRunner::new(), Log::default());
            let (ui, pool) = (main.runner(), env.pool().clone());
            let (first, second, third, inner) = (log.note(1), log.note(2), log.note(3), main.runner());
            ui.post_task(move || {
                first();
                let back = move || {
                    second();
                    inner.post_task(third).expect("open");
                };
                pool.post_task(back).expect("open");
            })
            .expect("open");
            assert_eq!(env.pending().queued, 1);
            env.run_until_idle();
            assert_eq!((log.read(), env.pending()), (vec![1, 2, 3], overstrand::testing::Pending::default()));
        });
    }
}

/// ENV-3: the seed decides who goes first, the thread or the pool.
#[test]
fn seed_decides_who_goes_first() {
    for builder in both_modes() {
        let thread_first = AtomicUsize::new(0);
        builder.workers(1).explore(0..100, |env| {
            let (main, log) = (MainThreadTaskRunner::new(), Log::default());
            env.pool().post_task(log.note(1)).expect("open");
            main.runner().post_task(log.note(2)).expect("open");
            env.run_until_idle();
            thread_first.fetch_add(usize::from(log.read() == [2, 1]), Ordering::SeqCst);
        });
        let thread_first = thread_first.into_inner();
        assert!((5..95).contains(&thread_first), "{thread_first} of 100");
    }
}

/// A task of the pool may wait for one of the thread, which is another one; while the test's thread itself waits, nothing runs there.
#[test]
fn pool_waits_for_the_thread_but_not_while_the_thread_waits() {
    for builder in both_modes() {
        builder.workers(2).explore(0..60, |env| {
            let main = MainThreadTaskRunner::new();
            let (ui, sync) = (main.runner(), main.runner());
            let answer = env.pool().spawn(move || ui.spawn(|| 6 * 7).join());
            let borrowed = env.pool().spawn(move || sync.run_sync(|| 7));
            env.run_until_idle();
            assert!(matches!((answer.join(), borrowed.join()), (Ok(Ok(42)), Ok(Ok(7)))));
            let own = main.runner().spawn(|| ());
            assert!(matches!(own.join(), Err(JoinError::WouldDeadlock)));
        });
    }
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(1);
        let main = MainThreadTaskRunner::new();
        let ui = main.runner();
        let answer = env.pool().spawn(move || ui.spawn(|| ()).join().is_ok());
        drop(answer.join());
    });
    assert!(text.starts_with("deadlock") && text.contains("the test waits"), "{text}");
}

/// What repeats on the thread runs at its instants, and ends.
#[test]
fn repeating_task_of_the_thread_runs_at_its_instants() {
    for builder in both_modes() {
        builder.explore(0..20, |env| {
            let (main, ran) = (MainThreadTaskRunner::new(), Arc::new(AtomicUsize::new(0)));
            let count = Arc::clone(&ran);
            let tick = move || _ = count.fetch_add(1, Ordering::SeqCst);
            let ticks = main.runner().post_repeating_task(SECOND, tick).expect("open");
            for expected in 1..=5 {
                env.advance(SECOND);
                assert_eq!(ran.load(Ordering::SeqCst), expected);
            }
            ticks.stop();
            env.run_until_no_tasks();
            assert_eq!((ran.load(Ordering::SeqCst), ticks.runs()), (5, 5));
        });
    }
}

/// The pump's own calls move virtual time as any wait does, and run no more than they say.
#[test]
fn calls_of_the_pump_run_in_virtual_time() {
    for builder in both_modes() {
        builder.explore(0..40, |env| {
            let (main, log) = (MainThreadTaskRunner::new(), Log::default());
            for second in [1, 2, 3, 9] {
                main.runner().post_delayed_task(SECOND * second, log.note(second)).expect("open");
            }
            main.run_for(Duration::from_millis(2500));
            assert_eq!((log.read(), env.now()), (vec![1, 2], Duration::from_millis(2500)));
            let token = CancelToken::new();
            let signal = token.clone();
            env.pool().post_delayed_task(SECOND * 4, move || signal.cancel()).expect("open");
            let mut answer = env.pool().spawn_future(async move {
                token.cancelled().await;
                42
            });
            assert_eq!(main.run_until(&mut answer).expect("it runs"), 42);
            assert_eq!((log.read(), env.now()), (vec![1, 2, 3], Duration::from_millis(6500)));
            assert!(matches!(main.run_until(&mut answer), Err(JoinError::Taken)));
            main.quit_handle().quit();
            main.run_for(SECOND);
            main.run_until_quit();
            assert_eq!(
                (env.now(), main.next_delay()),
                (Duration::from_millis(7500), Some(Duration::from_millis(1500)))
            );
            env.run_until_no_tasks();
            assert_eq!(log.read(), [1, 2, 3, 9]);
        });
    }
}

/// DLY-1: a pump that waits hears of a delay that another thread posts meanwhile, and ends it in time.
#[test]
fn waiting_pump_hears_of_a_delay() {
    for builder in both_modes() {
        builder.explore(0..40, |env| {
            let main = MainThreadTaskRunner::new();
            let (ui, quit) = (main.runner(), main.quit_handle());
            env.pool().post_task(move || _ = ui.post_delayed_task(SECOND, move || quit.quit())).expect("open");
            main.run_until_quit();
            assert_eq!(env.now(), SECOND);
        });
    }
}

/// A panic of a task of the thread that nobody is told of fails the test, as one of the pool does.
#[test]
fn forgotten_panic_of_the_thread_fails_the_test() {
    for builder in both_modes() {
        let text = panic_text(move || {
            let env = builder.build();
            let main = MainThreadTaskRunner::new();
            main.runner().post_task(|| panic!("on the thread")).expect("open");
            env.run_until_idle();
        });
        assert!(text.contains("nobody was told of") && text.contains("on the thread"), "{text}");
    }
}

/// In tasks of the thread the global pool is the environment's; a pump that comes and goes leaves nothing behind; two share the thread.
#[test]
fn pumps_come_and_go() -> AnyResult {
    for builder in both_modes() {
        let env = builder.workers(1).build();
        for _ in 0..3 {
            let (one, two, told) = (MainThreadTaskRunner::new(), MainThreadTaskRunner::new(), Log::default());
            let inside = told.note(1);
            one.runner().post_task(move || _ = overstrand::global().post_task(inside))?;
            two.create_runner("two", TaskTraits::best_effort()).post_delayed_task(SECOND, told.note(2))?;
            env.run_until_no_tasks();
            assert_eq!(told.read(), [1, 2]);
            two.runner().post_delayed_task(SECOND, || ())?;
        }
        assert_eq!(env.pending().delayed, 0);
    }
    Ok(())
}

/// The owner is told of work while nobody pumps, whatever moves the time.
#[test]
fn owner_is_told_of_work_in_virtual_time() -> AnyResult {
    for builder in both_modes() {
        let env = builder.workers(1).build();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let on_work = move || _ = count.fetch_add(1, Ordering::SeqCst);
        let main = MainThreadTaskRunner::builder().name("ui").on_work(on_work).build()?;
        let told = || told.load(Ordering::SeqCst);
        let ui = main.runner();
        let from_the_pool = main.runner();
        env.pool().spawn(move || from_the_pool.post_task(|| ()).is_ok()).join()?;
        assert_eq!(told(), 1);
        let inner = main.runner();
        ui.post_task(move || _ = inner.post_task(|| ()))?;
        main.run_until_idle();
        assert_eq!((told(), ui.stats().ran), (1, 3));
        ui.post_delayed_task(SECOND, || ())?;
        env.advance(SECOND);
        assert_eq!((told() > 1, ui.stats().ran, ui.name()), (true, 4, Some("ui")));
    }
    Ok(())
}
