//! How futures end that nobody wakes any more: with their runner, or with their pool.

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, JoinError, Overflow, ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner,
    TaskHandle, TaskTraits, ThreadMode, ThreadPool,
};

use crate::AnyResult;

/// Counts its drops, and those that are not where they should be.
struct Owned {
    drops: Arc<[AtomicUsize; 2]>,
    is_at_home: Box<dyn Fn() -> bool + Send>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.drops[usize::from(!(self.is_at_home)())].fetch_add(1, Ordering::SeqCst);
    }
}

/// What futures leave behind: their drops, and their wakers.
#[derive(Clone, Default)]
struct Traces {
    drops: Arc<[AtomicUsize; 2]>,
    wakers: Arc<Mutex<Vec<Waker>>>,
}

impl Traces {
    /// Never ready; somebody keeps its waker.
    fn never<H>(&self, is_at_home: H) -> impl Future<Output = ()> + Send + use<H>
    where
        H: Fn() -> bool + Send + 'static,
    {
        let (owned, wakers) =
            (Owned { drops: Arc::clone(&self.drops), is_at_home: Box::new(is_at_home) }, Arc::clone(&self.wakers));
        poll_fn(move |context| {
            let _owned = &owned;
            wakers.lock().expect("no panic").push(context.waker().clone());
            Poll::Pending
        })
    }

    /// Drops at home and elsewhere.
    fn drops(&self) -> [usize; 2] {
        [0, 1].map(|at| self.drops[at].load(Ordering::SeqCst))
    }
}

struct Runners {
    strand: SequencedTaskRunner,
    thread: SingleThreadTaskRunner,
    limited: ParallelTaskRunner,
}

impl Runners {
    fn of(pool: &ThreadPool, traits: TaskTraits) -> Self {
        Self {
            strand: pool.create_sequenced_task_runner(traits),
            thread: pool.create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread"),
            limited: pool.create_parallel_task_runner(traits, 2).expect("valid"),
        }
    }

    fn spawn_never(&self, traces: &Traces) -> Vec<TaskHandle<()>> {
        let (strand, thread, limited) = (self.strand.clone(), self.thread.clone(), self.limited.clone());
        vec![
            self.strand.spawn_future(traces.never(move || strand.is_current())),
            self.thread.spawn_future(traces.never(move || thread.is_current())),
            self.limited.spawn_future(traces.never(move || limited.is_current())),
            self.strand.spawn_future(pending()),
            self.limited.spawn_future(pending()),
        ]
    }

    fn close(&self, how: Close) {
        self.strand.close(how);
        self.thread.close(how);
        self.limited.close(how);
    }
}

fn explore(f: impl Fn(&TestEnvironment)) {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, &f);
    }
}

/// SEQ-10: what a closed runner drops includes its futures, on the runner; those of others live.
#[test]
fn discarding_runner_ends_its_futures() {
    explore(|env| {
        let (traces, others) = (Traces::default(), Traces::default());
        let (closed, open) =
            (Runners::of(env.pool(), TaskTraits::default()), Runners::of(env.pool(), TaskTraits::default()));
        let handles = closed.spawn_never(&traces);
        let others_left = open.spawn_never(&others);
        env.run_until_idle();
        closed.close(Close::Discard);
        for handle in handles {
            assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        }
        assert_eq!(traces.drops(), [3, 0]);
        env.run_until_idle();
        assert!(others_left.iter().all(|handle| !handle.is_finished()));
        assert_eq!(others.drops(), [0, 0]);
    });
}

/// SHUT-1: shutdown drops them on their runners, detached ones too, and each counts as one dropped task.
#[test]
fn shutdown_ends_pending_futures() {
    explore(|env| {
        let traces = Traces::default();
        let runners = Runners::of(env.pool(), TaskTraits::default());
        let mut handles = runners.spawn_never(&traces);
        let pool = env.pool().clone();
        handles.push(env.pool().spawn_future(traces.never(move || pool.is_current())));
        let strand = runners.strand.clone();
        drop(runners.strand.spawn_future(traces.never(move || strand.is_current())));
        env.run_until_idle();
        let polls = env.pool().stats().ran;
        let report = env.pool().shutdown().expect("outside");
        assert_eq!((report.ran, report.dropped), (polls, 7));
        assert_eq!(traces.drops().iter().sum::<usize>(), 5);
        for handle in handles {
            assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
        }
        let wakers = std::mem::take(&mut *traces.wakers.lock().expect("no panic"));
        wakers.into_iter().for_each(Waker::wake);
        let stats = env.pool().stats();
        assert_eq!((stats.posted, stats.rejected), (stats.ran + stats.dropped, 0));
    });
}

/// A future of a strand is dropped inside the strand even while the pool shuts down.
#[test]
fn shutdown_drops_a_future_on_its_strand() {
    explore(|env| {
        let traces = Traces::default();
        let runners = Runners::of(env.pool(), TaskTraits::default());
        let _handles = runners.spawn_never(&traces);
        env.run_until_idle();
        env.pool().shutdown().expect("outside");
        assert_eq!(traces.drops(), [3, 0]);
    });
}

/// SEQ-10: `close(Drain)` lets futures finish, and a full queue keeps no poll out.
#[test]
fn drained_runner_lets_futures_finish() {
    explore(|env| {
        let small = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::Reject).build().expect("valid");
        let token = CancelToken::new();
        let wait = |token: &CancelToken| {
            let token = token.clone();
            async move {
                token.cancelled().await;
                7
            }
        };
        let runners = Runners::of(env.pool(), TaskTraits::default());
        let mut handles = vec![
            runners.strand.spawn_future(wait(&token)),
            runners.thread.spawn_future(wait(&token)),
            runners.limited.spawn_future(wait(&token)),
        ];
        for _ in 0..2 {
            handles.push(small.spawn_future(wait(&token)));
            env.run_until_idle();
        }
        runners.close(Close::Drain);
        let pause = small.pause();
        small.post_task(|| ()).expect("there is room");
        token.cancel();
        pause.resume();
        for handle in handles {
            assert_eq!(handle.join().expect("it is let finish"), 7);
        }
    });
}

/// SHUT-2: what blocks shutdown may still be polled until that is complete; what is pending then is dropped.
#[test]
fn blocking_future_ends_with_the_completion() {
    explore(|env| {
        let traits = TaskTraits::default().block_shutdown();
        let (traces, runners) = (Traces::default(), Runners::of(env.pool(), traits));
        let (last, strand) = (CancelToken::new(), runners.strand.clone());
        let waits = last.clone();
        let woken = runners.strand.spawn_future(async move {
            waits.cancelled().await;
            strand.is_current()
        });
        let handles = runners.spawn_never(&traces);
        env.run_until_idle();
        runners.limited.post_task(move || last.cancel()).expect("open");
        env.pool().shutdown().expect("outside");
        assert!(woken.join().expect("it was woken in time"));
        for handle in handles {
            assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
        }
        assert_eq!(traces.drops().iter().sum::<usize>(), 3);
    });
}

/// A poll that runs is finished first, and if the future is ready then, its value counts.
#[test]
fn running_poll_is_finished_first() {
    TestEnvironment::builder().workers(2).baton().explore(0..60, |env| {
        for is_ready in [true, false] {
            let runners = Runners::of(env.pool(), TaskTraits::default().may_block());
            let (begun, gate) = (CancelToken::new(), CancelToken::new());
            let (begins, waits, traces) = (begun.clone(), gate.clone(), Traces::default());
            let never = traces.never(|| true);
            let handle = runners.limited.spawn_future(async move {
                begins.cancel();
                waits.wait();
                if !is_ready {
                    never.await;
                }
                7
            });
            begun.wait();
            runners.limited.close(Close::Discard);
            env.pool().post_task(move || gate.cancel()).expect("open");
            match handle.join() {
                Ok(7) if is_ready => {}
                Err(JoinError::Cancelled) if !is_ready => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

/// POST-6: a destructor that panics, and a task that forgets its waker.
#[test]
fn panicking_destructor_is_contained() -> AnyResult {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let env = TestEnvironment::builder().allow_panics().build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let bad = |is_ready: bool| {
        let bad = Bad;
        async move {
            let _bad = bad;
            if !is_ready {
                pending::<()>().await;
            }
        }
    };
    assert!(strand.spawn_future(bad(true)).join().is_err());
    let (cancelled, closed) = (strand.spawn_future(bad(false)), strand.spawn_future(bad(false)));
    env.run_until_idle();
    assert!(cancelled.cancel());
    assert!(matches!(cancelled.join(), Err(JoinError::Cancelled)));
    strand.close(Close::Discard);
    assert!(matches!(closed.join(), Err(JoinError::Cancelled)));
    let left = env.pool().spawn_future(bad(false));
    env.run_until_idle();
    env.pool().shutdown()?;
    assert!(matches!(left.join(), Err(JoinError::ShutDown)));
    Ok(())
}

/// A future that no waker knows any more, and nobody waits for, is dropped at once; the list of the pool does not keep it.
#[test]
fn forgotten_future_is_dropped() {
    explore(|env| {
        let traces = Traces::default();
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let own = strand.clone();
        drop(strand.spawn_future(traces.never(move || own.is_current())));
        env.run_until_idle();
        assert_eq!(traces.drops(), [0, 0]);
        traces.wakers.lock().expect("no panic").clear();
        env.run_until_idle();
        assert_eq!(traces.drops(), [1, 0]);
    });
}

/// A future that awaits a token which nobody can signal any more leaks nothing: it is dropped at once when its handle is gone, else with its runner.
#[test]
fn future_of_an_unreachable_token_is_dropped() {
    explore(|env| {
        let (detached, held) = (Traces::default(), Traces::default());
        let runners = Runners::of(env.pool(), TaskTraits::default());
        let (first, second) = (runners.strand.clone(), runners.strand.clone());
        let token = CancelToken::new();
        let awaits = |traces: &Traces, own: SequencedTaskRunner| {
            let (token, owned) = (token.child(), traces.never(move || own.is_current()));
            async move {
                token.cancelled().await;
                owned.await;
            }
        };
        let holds = |traces: &Traces, own: SequencedTaskRunner| {
            let (signal, owned) = (token.cancelled(), traces.never(move || own.is_current()));
            async move {
                signal.await;
                owned.await;
            }
        };
        let still_held = runners.strand.spawn_future(holds(&held, second));
        drop(runners.strand.spawn_future(holds(&detached, first.clone())));
        let own_token = runners.strand.spawn_future(awaits(&held, first));
        env.run_until_idle();
        drop(token);
        env.run_until_idle();
        assert_eq!((detached.drops(), held.drops()), ([1, 0], [0, 0]));
        assert!(!still_held.is_finished());
        runners.strand.close(Close::Discard);
        assert!(matches!(still_held.join(), Err(JoinError::Cancelled)));
        assert!(matches!(own_token.join(), Err(JoinError::Cancelled)));
        assert_eq!(held.drops(), [2, 0]);
    });
}
