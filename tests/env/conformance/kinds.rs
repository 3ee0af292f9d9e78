//! The kinds of runners, as a table, and the ways to reach them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::check_conservation;
use overstrand::{
    BoxedTask, Close, DelayedTaskHandle, MainThreadTaskRunner, Overflow, ParallelTaskRunner, Priority, Rejected,
    RepeatingTaskHandle, RunnerStats, Schedule, SequencedTaskRunner, SingleThreadTaskRunner, TaskHandle, TaskRunner,
    TaskTraits, ThreadMode, ThreadPool, WaitError,
};

/// A runner by its own type.
#[derive(Clone, Debug)]
pub(super) enum Own {
    Pool(ThreadPool),
    Parallel(ParallelTaskRunner),
    Sequenced(SequencedTaskRunner),
    Single(SingleThreadTaskRunner),
}

impl Own {
    /// The counters; the wake-ups and steals of a pool are left out.
    pub(super) fn stats(&self) -> Stats {
        let of_runner = |stats: RunnerStats| {
            check_conservation(stats).expect("the runner's counters add up");
            let RunnerStats { posted, ran, queued, delayed, running, dropped, rejected, panicked, .. } = stats;
            Stats { posted, ran, queued, delayed, running, dropped, rejected, panicked }
        };
        match self {
            Self::Pool(pool) => {
                let stats = pool.stats();
                check_conservation(stats).expect("the pool's counters add up");
                Stats {
                    posted: stats.posted,
                    ran: stats.ran,
                    queued: stats.queued,
                    delayed: stats.delayed,
                    running: stats.running,
                    dropped: stats.dropped,
                    rejected: stats.rejected,
                    panicked: stats.panicked,
                }
            }
            Self::Parallel(runner) => of_runner(runner.stats()),
            Self::Sequenced(runner) => of_runner(runner.stats()),
            Self::Single(runner) => of_runner(runner.stats()),
        }
    }

    pub(super) fn flush(&self) -> Result<(), WaitError> {
        on!(self, it => it.flush())
    }

    /// As `flush`, with a limit where there is one.
    pub(super) fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        match self {
            Self::Pool(pool) => pool.flush(),
            Self::Parallel(runner) => runner.wait_idle(limit),
            Self::Sequenced(runner) => runner.wait_idle(limit),
            Self::Single(runner) => runner.wait_idle(limit),
        }
    }

    /// Closes a runner that can be closed.
    pub(super) fn close(&self, how: Close) {
        match self {
            Self::Pool(_) => panic!("a pool is shut down, not closed"),
            Self::Parallel(runner) => runner.close(how),
            Self::Sequenced(runner) => runner.close(how),
            Self::Single(runner) => runner.close(how),
        }
    }

    /// Sets the priority of a runner that has one.
    pub(super) fn set_priority(&self, priority: Priority) {
        match self {
            Self::Pool(_) | Self::Parallel(_) => panic!("it has no priority of its own"),
            Self::Sequenced(runner) => runner.set_priority(priority),
            Self::Single(runner) => runner.set_priority(priority),
        }
    }

    pub(super) fn repeat<F>(&self, schedule: impl Into<Schedule>, f: F) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() + Send + 'static,
    {
        on!(self, it => it.task().repeat(schedule, f))
    }

    pub(super) fn as_any(&self) -> Arc<dyn TaskRunner> {
        on!(self, it => Arc::new(it.clone()))
    }
}

/// The counters that pools and runners have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) posted: u64,
    pub(super) ran: u64,
    pub(super) queued: u64,
    pub(super) delayed: u64,
    pub(super) running: u64,
    pub(super) dropped: u64,
    pub(super) rejected: u64,
    pub(super) panicked: u64,
}

/// A runner as a test posts to it.
#[derive(Clone, Debug)]
pub(super) enum Runner {
    Own(Own),
    Any(Arc<dyn TaskRunner>),
}

impl Runner {
    #[track_caller]
    pub(super) fn post<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        match self {
            Self::Own(own) => on!(own, it => it.post_task(f)),
            Self::Any(any) => any.post_task(f),
        }
    }

    #[track_caller]
    pub(super) fn post_delayed<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        match self {
            Self::Own(own) => on!(own, it => it.post_delayed_task(delay, f)),
            Self::Any(any) => any.post_delayed_task(delay, f),
        }
    }

    #[track_caller]
    pub(super) fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Own(own) => on!(own, it => it.spawn(f)),
            Self::Any(any) => any.spawn(f),
        }
    }

    #[track_caller]
    pub(super) fn post_named(&self, name: &'static str, f: impl FnOnce() + Send + 'static) {
        match self {
            Self::Own(own) => on!(own, it => it.task().name(name).post(f).expect("open")),
            Self::Any(any) => any.post_boxed(BoxedTask::new(f).named(name)).expect("open"),
        }
    }

    pub(super) fn is_current(&self) -> bool {
        match self {
            Self::Own(own) => on!(own, it => it.is_current()),
            Self::Any(any) => any.is_current(),
        }
    }
}

/// A runner of a user's own: it counts what passes through.
pub(super) struct Counting {
    inner: Arc<dyn TaskRunner>,
    posts: AtomicUsize,
}

impl Counting {
    pub(super) fn new(inner: Arc<dyn TaskRunner>) -> Self {
        Self { inner, posts: AtomicUsize::new(0) }
    }
}

impl TaskRunner for Counting {
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
        self.posts.fetch_add(1, Ordering::SeqCst);
        self.inner.post_boxed(task)
    }

    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
        self.posts.fetch_add(1, Ordering::SeqCst);
        self.inner.post_boxed_delayed(delay, task)
    }

    fn is_current(&self) -> bool {
        self.inner.is_current()
    }
}

/// How a runner is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By its own type.
    Own,
    /// As `Arc<dyn TaskRunner>`.
    Any,
    /// Through a wrapper that a user has written.
    Wrapped,
}

pub(super) const WAYS: &[Way] = &[Way::Own, Way::Any, Way::Wrapped];

/// How a runner is built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setup {
    pub(super) traits: TaskTraits,
    pub(super) bound: Option<(usize, Overflow)>,
}

pub(super) type Made = (Own, Option<MainThreadTaskRunner>);
/// One kind of runner, and which of the promises that not all make it makes.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) make: fn(&ThreadPool, Setup) -> Made,
    /// It is the pool itself, which has no traits, no end but a shutdown, and the tasks of its runners, too.
    pub(super) is_pool: bool,
    /// One at a time, in the order of posting; and its tasks are told of it.
    pub(super) is_fifo: bool,
    /// It can be closed.
    pub(super) is_closable: bool,
    /// It can be given a bound.
    pub(super) is_boundable: bool,
    /// Its queue as a whole has a priority.
    pub(super) is_lifted: bool,
    /// Its thread is the test's own, which pumps it.
    pub(super) is_pumped: bool,
}

/// What most kinds are.
const RUNNER: Kind = Kind {
    name: "",
    make: sequenced,
    is_pool: false,
    is_fifo: true,
    is_closable: true,
    is_boundable: true,
    is_lifted: false,
    is_pumped: false,
};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "ThreadPool",
        make: |pool, _| (Own::Pool(pool.clone()), None),
        is_pool: true,
        is_fifo: false,
        is_closable: false,
        is_boundable: false,
        ..RUNNER
    },
    Kind { name: "ParallelTaskRunner", make: parallel, is_fifo: false, ..RUNNER },
    Kind { name: "SequencedTaskRunner", make: sequenced, is_lifted: true, ..RUNNER },
    Kind {
        name: "SingleThreadTaskRunner, dedicated",
        make: |pool, setup| single(pool, setup, ThreadMode::Dedicated),
        ..RUNNER
    },
    Kind {
        name: "SingleThreadTaskRunner, shared",
        make: |pool, setup| single(pool, setup, ThreadMode::Shared),
        ..RUNNER
    },
    Kind { name: "MainThreadTaskRunner", make: main_thread, is_boundable: false, is_pumped: true, ..RUNNER },
];

fn parallel(pool: &ThreadPool, setup: Setup) -> Made {
    let mut builder = ParallelTaskRunner::builder(pool).name("subject").traits(setup.traits).max_concurrency(2);
    if let Some((capacity, overflow)) = setup.bound {
        builder = builder.capacity(capacity, overflow);
    }
    (Own::Parallel(builder.build().expect("valid")), None)
}

fn sequenced(pool: &ThreadPool, setup: Setup) -> Made {
    let mut builder = SequencedTaskRunner::builder(pool).name("subject").traits(setup.traits);
    if let Some((capacity, overflow)) = setup.bound {
        builder = builder.capacity(capacity, overflow);
    }
    (Own::Sequenced(builder.build().expect("valid")), None)
}

fn single(pool: &ThreadPool, setup: Setup, mode: ThreadMode) -> Made {
    let mut builder = SingleThreadTaskRunner::builder(pool).name("subject").traits(setup.traits).mode(mode);
    if let Some((capacity, overflow)) = setup.bound {
        builder = builder.capacity(capacity, overflow);
    }
    (Own::Single(builder.build().expect("a thread")), None)
}

fn main_thread(_: &ThreadPool, setup: Setup) -> Made {
    let main = MainThreadTaskRunner::new();
    (Own::Single(main.create_runner("subject", setup.traits)), Some(main))
}
