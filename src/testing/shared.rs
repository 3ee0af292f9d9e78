//! What all parts of one environment share: its clock, its choices, its failure, what its pool told.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::clock::VirtualClock;
use super::faults::{Coverage, Dice, Faults};
use super::schedule::{Schedule, Strategy};
use crate::park::{Parker, Wait, driver};
use crate::pool::driven::Observer;
use crate::pool::observe::PanicReport;
use crate::sync::Mutex;
use crate::sync::unmodelled::{AtomicU64, Ordering};
use crate::task::current;
use crate::task::fault::Fault;
use crate::task::site::Site;

/// The next environment's number; 0 means "none".
static IDS: AtomicU64 = AtomicU64::new(1);

/// Steps without a task after which a run is taken for endless.
const STEPS_MAX: u64 = 1_000_000;

/// Turns are cut to this many tasks, by lot.
const TURNS: [u32; 4] = [1, 2, 8, 64];

/// Decisions that a report shows.
const SHOWN: usize = 40;

/// What the parts of an environment share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) seed: u64,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) schedule: Mutex<Schedule>,
    pub(super) dice: Mutex<Dice>,
    pub(super) coverage: Mutex<Coverage>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<String>,
    collapsed: bool,
    foreign: u64,
    /// Panics that nobody was told of.
    panics: Vec<String>,
}

impl Shared {
    pub(super) fn new(seed: u64, strategy: Strategy, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            // Relaxed: a number that nobody else has.
            id: IDS.fetch_add(1, Ordering::Relaxed),
            seed,
            clock: Arc::new(VirtualClock::new()),
            schedule: Mutex::new(Schedule::new(strategy, seed)),
            dice: Mutex::new(Dice::new(faults, seed)),
            coverage: Mutex::default(),
            state: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Remembers the first reason why the environment has failed.
    pub(super) fn fail(&self, message: String) {
        self.state.lock().failure.get_or_insert(message);
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    pub(super) fn collapse(&self) {
        self.state.lock().collapsed = true;
    }

    /// A wait by this parker is over; counts a wake-up by a thread that is not driven.
    pub(super) fn note_wake(&self, parker: &Parker) {
        if parker.driven.was_woken_by_stranger() {
            self.state.lock().foreign += 1;
        }
    }

    pub(super) fn foreign(&self) -> u64 {
        self.state.lock().foreign
    }

    pub(super) fn forgotten_panics(&self) -> Vec<String> {
        self.state.lock().panics.clone()
    }

    /// Chooses who goes on.
    pub(super) fn choose(&self, actors: &[u32]) -> u32 {
        let nanos = self.clock_nanos();
        let mut schedule = self.schedule.lock();
        let chosen = schedule.choose(actors, nanos);
        let is_endless = schedule.steps_since_a_task() > STEPS_MAX;
        drop(schedule);
        if is_endless {
            self.fail(format!("{STEPS_MAX} steps, and no task has run: something waits for ever"));
        }
        chosen
    }

    /// Random numbers for a step of a worker: where to steal first, and how many tasks its turn may have.
    pub(super) fn lots(&self) -> (u32, u32) {
        let mut schedule = self.schedule.lock();
        (schedule.draw(), TURNS[schedule.draw() as usize % TURNS.len()])
    }

    fn clock_nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Where the run is: for the head of a report.
    pub(super) fn position(&self) -> String {
        let schedule = self.schedule.lock();
        let (strategy, steps, hash) = (schedule.strategy(), schedule.steps(), schedule.hash());
        format!("seed {} strategy {strategy} step {steps} hash {hash:016x}", self.seed)
    }

    /// The last decisions, one per line.
    pub(super) fn recent(&self) -> String {
        let schedule = self.schedule.lock();
        let recent: Vec<_> = schedule.recent().copied().collect();
        let mut table = String::from("   step        time  actor     ran\n");
        for decision in recent.iter().skip(recent.len().saturating_sub(SHOWN)) {
            let ran = decision.ran.map_or_else(String::new, |location| format!("task posted at {location}"));
            let time = Duration::from_nanos(decision.nanos);
            let actor = Actor(decision.actor);
            let _ = writeln!(table, "{:>7}  {:>10}  {actor:<8}  {ran}", decision.step, format!("{time:?}"));
        }
        table
    }
}

/// Who can be chosen.
pub(super) struct Actor(pub(super) u32);

impl Actor {
    pub(super) const TIMERS: u32 = 1_000_000;
    pub(super) const TEST: u32 = 1_000_001;
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Self::TIMERS => f.pad("timers"),
            Self::TEST => f.pad("test"),
            worker => f.pad(&format!("worker{worker}")),
        }
    }
}

/// One wait, for the report of a deadlock.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) who: String,
    pub(super) task: Option<(Option<Arc<str>>, &'static Location<'static>)>,
    pub(super) wait: Wait,
    pub(super) until: Option<Duration>,
}

impl Waiter {
    /// The wait of what runs on this thread.
    pub(super) fn here(who: String, wait: &Wait, until: Option<Duration>) -> Self {
        let task = current::location().map(|location| (current::task_name(), location));
        Self { who, task, wait: *wait, until }
    }
}

impl std::fmt::Display for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.who)?;
        if let Some((name, location)) = &self.task {
            let name = name.as_deref().map_or_else(String::new, |name| format!(" {name:?}"));
            write!(f, ", in the task{name} posted at {location},")?;
        }
        write!(f, " waits for {}", self.wait.what)?;
        if let Some(location) = self.wait.location {
            write!(f, " posted at {location}")?;
        }
        match self.until {
            Some(until) => write!(f, ", until {until:?}"),
            None => Ok(()),
        }
    }
}

/// The message of a deadlock.
pub(super) fn deadlock<'a>(waiters: impl Iterator<Item = &'a Waiter>) -> String {
    let mut text = String::from("deadlock: nothing can run, no timer is armed, and\n");
    for waiter in waiters {
        let _ = writeln!(text, "  {waiter}");
    }
    text
}

impl Observer for Shared {
    fn starts(&self, _worker: usize, site: &'static Site) -> Option<Fault> {
        self.schedule.lock().note_run(site.location());
        self.dice.lock().for_task()
    }

    fn ran(&self, _site: &'static Site) {
        let cost = self.dice.lock().cost();
        if let (Some(cost), Some(driver)) = (cost, driver::current()) {
            driver.spend(cost);
        }
    }

    fn panicked(&self, report: &PanicReport) {
        self.state.lock().panics.push(report.to_string());
    }

    fn posted(&self) {
        if driver::current().is_none_or(|driver| driver.id() != self.id) {
            self.state.lock().foreign += 1;
        }
    }

    fn has_collapsed(&self) -> bool {
        self.state.lock().collapsed
    }
}
