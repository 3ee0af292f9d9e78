//! The environment: a pool in virtual time, under a seeded schedule.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::baton::{Baton, Hub};
use super::faults::{Coverage, Faults, merge_coverage, take_coverage};
use super::plain::Plain;
use super::schedule::{Strategy, Trace};
use super::shared::Shared;
use crate::park::driver::{self, Driver};
use crate::pool::driven::{self, AsGlobal};
use crate::pool::{ThreadPool, ThreadPoolBuilder};
use crate::sync::Mutex;
use crate::task::panic::{catch, drop_payload};

/// A pool in virtual time, under an order that a seed decides: for deterministic tests of code that posts tasks (ENV-1 to ENV-4).
///
/// See the [module's page](super) for a guide. The environment belongs to the thread that made it, and a thread has one at a time.
///
/// # Guarantees
///
/// - The scheduler, sequences, timers and shutdown are the real ones; code under test takes the same [`ThreadPool`] and runners (ENV-4).
/// - The same seed gives the same interleaving, as long as the code under test depends on nothing else (ENV-3).
/// - A [`MainThreadTaskRunner`](crate::MainThreadTaskRunner) that is made on this thread takes part: its tasks run in the calls that run those of the pool, in an order that
///   the seed decides, each at its due instant. They do not while this thread waits for something else, which a real one would not do either.
/// - Time moves only when nothing can run; it never moves while a task runs, and stands exactly at each due instant (ENV-2).
/// - A wait that nothing can end fails at once, with the waits, names and post sites (ENV-1).
/// - When it is dropped it shuts its pool down and fails the test for what was forgotten: panics that nobody was told of, runners and pool handles that outlive
///   it, posts by threads that it does not drive.
///
/// # Not guaranteed
///
/// Real blocking (a system call, a lock held over a wait, a channel's `recv`) blocks the environment: declare waits with
/// [`wait_until`](super::wait_until). Threads that the code starts by itself are not driven.
///
/// # Examples
///
/// ```
/// use overstrand::testing::TestEnvironment;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let env = TestEnvironment::with_seed(7);
/// let answer = env.pool().spawn(|| 6 * 7);
/// let later = env.pool().post_delayed_task(Duration::from_secs(60), || ())?;
/// assert_eq!(answer.join()?, 42);
/// env.advance(Duration::from_secs(59));
/// assert!(later.is_pending());
/// env.advance(Duration::from_secs(1));
/// assert!(!later.is_pending());
/// # Ok(())
/// # }
/// ```
pub struct TestEnvironment {
    pool: Option<ThreadPool>,
    shared: Arc<Shared>,
    mode: Mode,
    allows: Allows,
    has_shut_down: Mutex<bool>,
    /// It belongs to its thread.
    not_send: PhantomData<Rc<()>>,
}

enum Mode {
    Plain(Rc<Plain>),
    Baton(Rc<Baton>),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allows {
    panics: bool,
    leaks: bool,
    foreign: bool,
}

/// Configures a [`TestEnvironment`]; made by [`TestEnvironment::builder`].
///
/// | setting | default |
/// |---|---|
/// | `seed` | 0 |
/// | `workers` | 2 |
/// | `strategy` | [`Strategy::Portfolio`] |
/// | `faults` | none |
/// | `baton` | off: plain mode |
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TestEnvironmentBuilder {
    pub(super) seed: u64,
    pub(super) strategy: Strategy,
    workers: usize,
    faults: Faults,
    baton: bool,
    allows: Allows,
    pool: ThreadPoolBuilder,
}

/// What is left to do in an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// Tasks that could run now.
    pub queued: u64,
    /// Tasks whose delay is not over.
    pub delayed: u64,
    /// Tasks that have begun and wait for something.
    pub running: u64,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} queued, {} delayed, {} running", self.queued, self.delayed, self.running)
    }
}

impl Default for TestEnvironmentBuilder {
    fn default() -> Self {
        Self {
            seed: 0,
            strategy: Strategy::Portfolio,
            workers: 2,
            faults: Faults::none(),
            baton: false,
            allows: Allows::default(),
            pool: ThreadPool::builder().name("test"),
        }
    }
}

impl TestEnvironmentBuilder {
    /// What decides every choice.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many workers the pool has; 1 to 64.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How the schedule chooses.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Which faults are injected.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Gives each worker a thread of its own, of which one runs at a time: for code that blocks.
    pub fn baton(mut self) -> Self {
        self.baton = true;
        self
    }

    /// Other settings of the pool: its name, hooks, best-effort limit. Its number of workers is said by [`workers`](Self::workers).
    pub fn pool(mut self, configure: impl FnOnce(ThreadPoolBuilder) -> ThreadPoolBuilder) -> Self {
        self.pool = configure(self.pool);
        self
    }

    /// Panics that nobody was told of do not fail the test.
    pub fn allow_panics(mut self) -> Self {
        self.allows.panics = true;
        self
    }

    /// Runners and pool handles may outlive the environment.
    pub fn allow_leaks(mut self) -> Self {
        self.allows.leaks = true;
        self
    }

    /// Threads that the environment does not drive may post to its pool.
    pub fn allow_foreign_threads(mut self) -> Self {
        self.allows.foreign = true;
        self
    }

    /// Makes the environment.
    ///
    /// # Panics
    ///
    /// When this thread has one already, or a setting of the pool is out of range: a test has nobody to hand an error to.
    #[must_use]
    pub fn build(self) -> TestEnvironment {
        assert!(driver::current().is_none(), "this thread has a test environment already");
        let threads_max = self.workers.saturating_add(64);
        let settings = self.pool.workers(self.workers).max_threads(threads_max).settle();
        let settings = settings.unwrap_or_else(|error| panic!("the test environment's pool: {error}"));
        let shared = Shared::new(self.seed, self.strategy, self.faults);
        drop(take_coverage());
        let mode = if self.baton {
            Mode::Baton(Rc::new(Baton::of_the_test(&Hub::new(Arc::clone(&shared)))))
        } else {
            Mode::Plain(Rc::new(Plain::new(Arc::clone(&shared))))
        };
        driver::install(Some(mode.driver()));
        let clock = Arc::clone(&shared.clock);
        let observer = Arc::clone(&shared);
        let pool = match ThreadPool::driven(settings, clock, observer) {
            Ok(pool) => pool,
            Err(error) => {
                driver::install(None);
                panic!("the test environment's pool: {error}");
            }
        };
        match &mode {
            Mode::Plain(plain) => plain.attach(pool.core()),
            Mode::Baton(baton) => baton.hub().attach(&pool),
        }
        driven::enter_environment(Some(&pool));
        TestEnvironment {
            pool: Some(pool),
            shared,
            mode,
            allows: self.allows,
            has_shut_down: Mutex::new(false),
            not_send: PhantomData,
        }
    }
}

impl Mode {
    fn driver(&self) -> Rc<dyn Driver> {
        match self {
            Self::Plain(plain) => Rc::clone(plain) as Rc<dyn Driver>,
            Self::Baton(baton) => Rc::clone(baton) as Rc<dyn Driver>,
        }
    }
}

impl TestEnvironment {
    /// An environment with two workers in plain mode, and this seed.
    ///
    /// # Panics
    ///
    /// When this thread has an environment already.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::builder().seed(seed).build()
    }

    /// Configures an environment.
    pub fn builder() -> TestEnvironmentBuilder {
        TestEnvironmentBuilder::default()
    }

    /// The pool, as the code under test takes it.
    #[must_use]
    pub fn pool(&self) -> &ThreadPool {
        match &self.pool {
            Some(pool) => pool,
            None => unreachable!("the pool is there until the environment is dropped"),
        }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// The virtual time since the environment was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// Runs everything that can run now; time stands still.
    pub fn run_until_idle(&self) {
        match &self.mode {
            Mode::Plain(plain) => plain.run_until_idle(),
            Mode::Baton(baton) => baton.advance_to(baton.hub().now()),
        }
    }

    /// Moves time on, and runs what falls due on the way, each at its instant and in its order, and what can run now.
    pub fn advance(&self, time: Duration) {
        let target = self.now().saturating_add(time);
        match &self.mode {
            Mode::Plain(plain) => plain.advance_to(target),
            Mode::Baton(baton) => baton.advance_to(target),
        }
    }

    /// Moves the clock at once, as after a long stall of the machine, and runs what has fallen due then.
    pub fn jump(&self, time: Duration) {
        let target = self.now().saturating_add(time);
        match &self.mode {
            Mode::Plain(plain) => plain.jump_to(target),
            Mode::Baton(baton) => {
                self.shared.clock.move_to(target);
                baton.advance_to(target);
            }
        }
    }

    /// Runs everything, moving time on from one due instant to the next, until no task is left: queued, delayed or running.
    ///
    /// Something that repeats for ever has to be stopped before.
    pub fn run_until_no_tasks(&self) {
        loop {
            self.run_until_idle();
            let pending = self.pending();
            let next = match &self.mode {
                _ if pending == Pending::default() => None,
                Mode::Plain(plain) => plain.next_event(),
                Mode::Baton(baton) => {
                    let of_pumps = self.next_delay_of_pumps().map(|delay| self.now().saturating_add(delay));
                    baton.hub().next_end().into_iter().chain(of_pumps).min()
                }
            };
            let Some(next) = next else { return };
            self.advance(next.saturating_sub(self.now()));
        }
    }

    /// How long it is until the next delay ends; `None` when none is armed.
    #[must_use]
    pub fn next_delay(&self) -> Option<Duration> {
        let due = self.pool().core().timers.next_due();
        let delay = due.map(|due| Duration::from_nanos(due.as_nanos()).saturating_sub(self.now()));
        delay.into_iter().chain(self.next_delay_of_pumps()).min()
    }

    fn next_delay_of_pumps(&self) -> Option<Duration> {
        driven::pumps().iter().filter_map(|pump| pump.home().next_delay()).min()
    }

    /// What is left to do.
    #[must_use]
    pub fn pending(&self) -> Pending {
        let mut pending = Pending::default();
        let of_pumps = driven::pumps().into_iter().map(|pump| pump.core().ledger.stats());
        for stats in of_pumps.chain([self.pool().stats()]) {
            pending.queued += stats.queued;
            pending.delayed += stats.delayed;
            pending.running += stats.running;
        }
        pending
    }

    /// Calls `f` with the environment's pool as the global one: in `f`, and in tasks always, [`global`](crate::global) is [`pool`](Self::pool).
    ///
    /// What [`global`](crate::global) gives lives for ever, so an environment in which it is asked for leaves its ended pool, some kilobytes, behind.
    pub fn as_global<T>(&self, f: impl FnOnce() -> T) -> T {
        let _guard = AsGlobal::begin();
        f()
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.shared.dice.lock().heal();
    }

    /// Heals, and demands that everything ends within that virtual time: nothing queued, delayed or running is left.
    ///
    /// # Panics
    ///
    /// When something is left; the text says what.
    pub fn assert_converges(&self, within: Duration) {
        self.heal();
        self.advance(within);
        let pending = self.pending();
        assert!(
            pending == Pending::default(),
            "no convergence within {within:?}: {pending}\n{}",
            self.shared.position()
        );
    }

    /// The wall clock, which is apart from the time of delays. It goes on with it.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.shared.clock.wall()
    }

    /// Sets the wall clock, as somebody who corrects it does; delays do not care.
    pub fn set_wall(&self, wall: SystemTime) {
        self.shared.clock.set_wall(wall);
    }

    /// The machine sleeps: the wall clock goes on, the time of delays does not, as on Linux.
    pub fn suspend(&self, time: Duration) {
        self.shared.clock.suspend(time);
    }

    /// A hash of all choices, times and post sites so far: the same for the same seed, in every process.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.shared.schedule.lock().hash()
    }

    /// The choices so far, to be replayed with [`Strategy::Replay`] and the same seed.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.shared.schedule.lock().trace().clone()
    }

    /// How many choices were made so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.shared.schedule.lock().steps()
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Shuts the pool down and says what was forgotten.
    pub(super) fn finish(&self) -> Result<Coverage, String> {
        *self.has_shut_down.lock() = true;
        // An error means "inside a task", where this is never called.
        let _ = self.pool().shutdown();
        let forgotten = self.forgotten();
        let mut coverage = std::mem::take(&mut *self.shared.coverage.lock());
        merge_coverage(&mut coverage, take_coverage());
        if forgotten.is_empty() { Ok(coverage) } else { Err(forgotten.join("\n")) }
    }

    fn forgotten(&self) -> Vec<String> {
        let mut forgotten = Vec::new();
        let panics = self.shared.forgotten_panics();
        if !self.allows.panics && !panics.is_empty() {
            forgotten.push(format!("panics that nobody was told of:\n  {}", panics.join("\n  ")));
        }
        let foreign = self.shared.foreign();
        if !self.allows.foreign && foreign > 0 {
            forgotten.push(format!(
                "the order was not the seed's alone: {foreign} posts or wake-ups by threads that are not driven"
            ));
        }
        let handles = self.pool().handles() - self.own_handles();
        let runners = Arc::strong_count(self.pool().core()) - self.own_shares();
        if !self.allows.leaks && handles + runners > 0 {
            forgotten.push(format!("{handles} handles of the pool and {runners} runners outlive the environment"));
        }
        forgotten
    }

    /// Handles of the pool that belong to the environment.
    fn own_handles(&self) -> usize {
        let of_the_mode = usize::from(matches!(self.mode, Mode::Baton(_)));
        1 + of_the_mode + usize::from(self.pool().is_leaked_as_global())
    }

    /// Shares of the pool's core that belong to the environment.
    fn own_shares(&self) -> usize {
        1 + usize::from(matches!(self.mode, Mode::Plain(_)))
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        let has_shut_down = *self.has_shut_down.lock();
        let is_failing = std::thread::panicking() || self.shared.has_failed();
        let mut result = Ok(Coverage::new());
        if !has_shut_down && !is_failing {
            result = match catch(|| self.finish()) {
                Ok(result) => result,
                Err(payload) => {
                    let text = crate::task::panic::message_of(&*payload).unwrap_or("the shutdown panicked").to_owned();
                    drop_payload(payload);
                    Err(text)
                }
            };
        }
        if is_failing || self.shared.has_failed() {
            self.shared.collapse();
            if let Mode::Baton(baton) = &self.mode {
                baton.hub().collapse();
            }
        }
        match &self.mode {
            Mode::Plain(plain) => plain.detach(),
            Mode::Baton(baton) => baton.hub().detach(),
        }
        drop(self.pool.take());
        driven::enter_environment(None);
        driver::install(None);
        if let Err(forgotten) = result {
            if !std::thread::panicking() {
                panic!("{forgotten}\n{}", self.shared.position());
            }
        }
    }
}

impl fmt::Debug for TestEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEnvironment")
            .field("seed", &self.seed())
            .field("now", &self.now())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
