//! The stage on which a promise is tried: one runner in an environment of its own, for each kind, way and seed.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use overstrand::testing::{TestEnvironment, TestEnvironmentBuilder};
use overstrand::{MainThreadTaskRunner, Overflow, TaskHandle, TaskTraits, ThreadPool};

use super::kinds::{Counting, KINDS, Kind, Own, Runner, Setup, Stats, WAYS, Way};

/// How many seeds a trial explores on each kind and way, unless `OVERSTRAND_SEEDS` says how many in all.
const PLAIN_SEEDS: u64 = 20;
const BATON_SEEDS: u64 = 8;
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
            Way::Wrapped => Runner::Any(Arc::new(Counting::new(own.as_any()))),
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
        let seeds = asked.map_or(self.seeds, |asked: u64| asked.div_ceil((KINDS.len() * WAYS.len()) as u64));
        for kind in KINDS.iter().filter(|kind| (self.kinds)(kind)) {
            for &way in self.ways {
                let _told = TellsWhere(kind.name, way);
                self.builder.clone().explore(0..seeds, |env| {
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
