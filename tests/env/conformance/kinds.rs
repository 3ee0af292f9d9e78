//! The kinds of runners, the ways to reach them, and the stage on which a promise is tried.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, TestEnvironmentBuilder, check_conservation};
use overstrand::{
    BoxedTask, Close, DelayedTaskHandle, MainThreadTaskRunner, Overflow, ParallelTaskRunner, Priority, Rejected,
    RepeatingTaskHandle, RunnerStats, Schedule, SequencedTaskRunner, SingleThreadTaskRunner, TaskHandle, TaskRunner,
    TaskTraits, ThreadMode, ThreadPool, WaitError,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLI: Duration = Duration::from_millis(1);

/// How many seeds a trial explores, unless `OVERSTRAND_SEEDS` says otherwise.
const PLAIN_SEEDS: u64 = 20;
const BATON_SEEDS: u64 = 8;

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

    fn as_any(&self) -> Arc<dyn TaskRunner> {
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
struct Counting {
    inner: Arc<dyn TaskRunner>,
    posts: AtomicUsize,
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

const WAYS: &[Way] = &[Way::Own, Way::Any, Way::Wrapped];

/// How a runner is built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setup {
    pub(super) traits: TaskTraits,
    pub(super) bound: Option<(usize, Overflow)>,
}

type Made = (Own, Option<MainThreadTaskRunner>);

/// One kind of runner, and which of the promises that not all make it makes.
pub(super) struct Kind {
    pub(super) name: &'static str,
    make: fn(&ThreadPool, Setup) -> Made,
    /// One at a time, in the order of posting.
    pub(super) is_fifo: bool,
    /// It can be closed.
    pub(super) is_closable: bool,
    /// It can be given a bound.
    pub(super) is_boundable: bool,
    /// Its queue runs on the pool's workers by priority.
    pub(super) is_lifted: bool,
    /// Its thread is the one that pumps it.
    pub(super) is_pumped: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "ThreadPool",
        make: |pool, _| (Own::Pool(pool.clone()), None),
        is_fifo: false,
        is_closable: false,
        is_boundable: false,
        is_lifted: false,
        is_pumped: false,
    },
    Kind {
        name: "ParallelTaskRunner",
        make: parallel,
        is_fifo: false,
        is_closable: true,
        is_boundable: true,
        is_lifted: false,
        is_pumped: false,
    },
    Kind {
        name: "SequencedTaskRunner",
        make: sequenced,
        is_fifo: true,
        is_closable: true,
        is_boundable: true,
        is_lifted: true,
        is_pumped: false,
    },
    Kind {
        name: "SingleThreadTaskRunner, dedicated",
        make: |pool, setup| single(pool, setup, ThreadMode::Dedicated),
        is_fifo: true,
        is_closable: true,
        is_boundable: true,
        is_lifted: false,
        is_pumped: false,
    },
    Kind {
        name: "SingleThreadTaskRunner, shared",
        make: |pool, setup| single(pool, setup, ThreadMode::Shared),
        is_fifo: true,
        is_closable: true,
        is_boundable: true,
        is_lifted: false,
        is_pumped: false,
    },
    Kind {
        name: "MainThreadTaskRunner",
        make: main_thread,
        is_fifo: true,
        is_closable: true,
        is_boundable: false,
        is_lifted: false,
        is_pumped: true,
    },
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

/// One runner in an environment of its own.
pub(super) struct Stage<'a> {
    pub(super) env: &'a TestEnvironment,
    pub(super) kind: &'static Kind,
    pub(super) way: Way,
    pub(super) own: Own,
    pub(super) runner: Runner,
    setup: Setup,
    main: RefCell<Option<MainThreadTaskRunner>>,
}

impl<'a> Stage<'a> {
    fn new(env: &'a TestEnvironment, kind: &'static Kind, way: Way, setup: Setup) -> Self {
        let (own, main) = (kind.make)(env.pool(), setup);
        let runner = match way {
            Way::Own => Runner::Own(own.clone()),
            Way::Any => Runner::Any(own.as_any()),
            Way::Wrapped => Runner::Any(Arc::new(Counting { inner: own.as_any(), posts: AtomicUsize::new(0) })),
        };
        Self { env, kind, way, own, runner, setup, main: RefCell::new(main) }
    }

    /// Another runner of the same kind.
    pub(super) fn again(&self) -> Self {
        Self::new(self.env, self.kind, self.way, self.setup)
    }

    pub(super) fn stats(&self) -> Stats {
        self.own.stats()
    }

    /// Runs everything that can run now, on the test's own thread too.
    pub(super) fn settle(&self) {
        let progress = || (self.own.stats(), self.env.pool().stats());
        loop {
            let before = progress();
            self.env.run_until_idle();
            if let Some(main) = &*self.main.borrow() {
                main.run_until_idle();
            }
            if before == progress() {
                return;
            }
        }
    }

    /// Runs what can run now, moves time on, and runs what has fallen due.
    pub(super) fn advance(&self, time: Duration) {
        self.settle();
        self.env.advance(time);
        self.settle();
    }

    /// The result of a task that can run now.
    #[track_caller]
    pub(super) fn joined<T>(&self, handle: TaskHandle<T>) -> T {
        self.settle();
        assert!(handle.is_finished(), "it can run now");
        handle.join().expect("it has run")
    }

    /// Ends the pool that the runner belongs to.
    pub(super) fn shut_down(&self) {
        match self.main.borrow_mut().take() {
            Some(main) => drop(main),
            None => drop(self.env.pool().shutdown().expect("outside of tasks")),
        }
    }
}

/// What is tried: on which kinds, in which ways, under how many seeds.
pub(super) struct Trial {
    builder: TestEnvironmentBuilder,
    seeds: u64,
    kinds: fn(&Kind) -> bool,
    ways: &'static [Way],
    setup: Setup,
}

impl Trial {
    /// On one stack: for what never waits inside a task.
    pub(super) fn plain() -> Self {
        let builder = TestEnvironment::builder().workers(2);
        Self { builder, seeds: PLAIN_SEEDS, kinds: |_| true, ways: WAYS, setup: Setup::default() }
    }

    /// With a stack for each thread.
    pub(super) fn baton() -> Self {
        let plain = Self::plain();
        Self { builder: plain.builder.baton(), seeds: BATON_SEEDS, ..plain }
    }

    /// Only kinds that make the promise.
    pub(super) fn of(self, kinds: fn(&Kind) -> bool) -> Self {
        Self { kinds, ..self }
    }

    /// Only by their own type: for what the trait does not offer.
    pub(super) fn own_type(self) -> Self {
        Self { ways: &[Way::Own], ..self }
    }

    pub(super) fn traits(mut self, traits: TaskTraits) -> Self {
        self.setup.traits = traits;
        self
    }

    pub(super) fn bound(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.setup.bound = Some((capacity, overflow));
        self
    }

    pub(super) fn with(self, change: impl FnOnce(TestEnvironmentBuilder) -> TestEnvironmentBuilder) -> Self {
        Self { builder: change(self.builder), ..self }
    }

    /// A runner of each kind, reached in each way, with the name of its kind. The one of the main thread has lost it already.
    pub(super) fn runners_of(env: &TestEnvironment) -> Vec<(&'static str, Runner)> {
        let reached = |kind: &'static Kind| {
            WAYS.iter().map(move |way| (kind.name, Stage::new(env, kind, *way, Setup::default()).runner))
        };
        KINDS.iter().flat_map(reached).collect()
    }

    /// The kinds whose threads are the pool's.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        KINDS.iter().filter(|kind| !kind.is_pumped).map(|kind| kind.name)
    }

    /// A runner of the kind of that name, by its own type.
    pub(super) fn own(pool: &ThreadPool, name: &str) -> Own {
        let kind = KINDS.iter().find(|kind| kind.name == name).expect("a kind's name");
        (kind.make)(pool, Setup::default()).0
    }

    pub(super) fn run(self, scenario: impl Fn(&Stage<'_>)) {
        let asked = std::env::var("OVERSTRAND_SEEDS").ok().and_then(|text| text.parse().ok());
        for kind in KINDS.iter().filter(|kind| (self.kinds)(kind)) {
            for &way in self.ways {
                let _told = TellsWhere(kind.name, way);
                self.builder.clone().explore(0..asked.unwrap_or(self.seeds), |env| {
                    scenario(&Stage::new(env, kind, way, self.setup));
                });
            }
        }
    }
}

/// Says on which kind a trial has failed.
struct TellsWhere(&'static str, Way);

impl Drop for TellsWhere {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the kind that failed: {}, reached by {:?}", self.0, self.1);
        }
    }
}

/// What tasks have noted, in order.
#[derive(Debug)]
pub(super) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn push(&self, entry: T) {
        self.0.lock().expect("no panic").push(entry);
    }

    /// A task that notes this.
    pub(super) fn noting(&self, entry: T) -> impl FnOnce() + Send + 'static
    where
        T: Send + 'static,
    {
        let log = self.clone();
        move || log.push(entry)
    }

    pub(super) fn seen(&self) -> Vec<T> {
        self.0.lock().expect("no panic").clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// Does something when it is dropped, as a captured value may.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
