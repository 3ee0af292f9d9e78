//! Trees of supervised tasks that anything may happen to, in any order, judged by what must hold in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Backoff, Event, EventKind, Exhausted, RestartPolicy, SelfCancelled, Strategy, Supervisor, TaskContext, TaskControl,
    TaskId, TaskResult, TaskSpec,
};

use crate::break_supervise::{lines, listen};

const SECOND: Duration = Duration::from_secs(1);
const QUARTER: Duration = Duration::from_millis(250);

/// The runs that go on, by name.
type Live = Arc<Mutex<BTreeMap<String, u32>>>;

/// Choices that the seed makes.
struct Choices {
    seed: u64,
    /// How many specs were made.
    specs: u64,
    live: Live,
}

/// What a leaf does.
#[derive(Clone, Copy)]
struct Habits {
    is_ready: bool,
    lasts: Duration,
    stops_in: Duration,
    /// Fails, ends itself, completes, or runs until it is told to stop.
    end: u64,
}

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % limit
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn quarters(&mut self, limit: u64) -> Duration {
        QUARTER * u32::try_from(self.below(limit)).unwrap_or(0)
    }

    fn group(&mut self, name: String, depth: u32) -> TaskSpec {
        let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
        let strategy = strategies[usize::from(self.one_in(2)) + usize::from(self.one_in(2))];
        let children: Vec<_> = (0..=self.below(3)).map(|_| self.spec(depth - 1)).collect();
        let then = match self.below(3) {
            0 => Exhausted::GiveUp,
            1 => Exhausted::Escalate,
            _ => Exhausted::SlowRestart(SECOND),
        };
        let limit = 1 + u32::from(self.one_in(2));
        TaskSpec::group(name, strategy, children).intensity(limit, SECOND * 10, then)
    }

    fn leaf(&mut self, name: String) -> TaskSpec {
        let is_deaf = self.one_in(5);
        let stops_in = if is_deaf { SECOND * 3 } else { self.quarters(3) };
        let habits = Habits { is_ready: !self.one_in(4), lasts: self.quarters(12), stops_in, end: self.below(6) };
        let (live, called) = (Arc::clone(&self.live), name.clone());
        let body = move |cx: &TaskContext| run(cx, &live, &called, habits);
        let spec = if self.one_in(2) {
            TaskSpec::rebuilding(name, move || body.clone())
        } else {
            TaskSpec::blocking(name, body)
        };
        if self.one_in(4) { spec.attempt_timeout(SECOND) } else { spec }
    }

    fn spec(&mut self, depth: u32) -> TaskSpec {
        self.specs += 1;
        let name = format!("task {}", self.specs);
        let is_group = depth == 3 || (depth > 0 && self.one_in(4));
        let mut spec = if is_group { self.group(name, depth) } else { self.leaf(name) };
        if self.one_in(6) {
            spec = spec.max_retries(1);
        }
        if self.one_in(8) {
            spec = spec.restart(RestartPolicy::Never);
        }
        if self.one_in(8) {
            spec = spec.restart(RestartPolicy::Always { interval: QUARTER });
        }
        if self.one_in(8) {
            spec = spec.max_runtime(SECOND * 5);
        }
        if self.one_in(8) { spec.start_delay(QUARTER) } else { spec }
    }

    fn meddle(&mut self, task: &TaskControl) {
        match self.below(8) {
            0 => _ = task.remove(),
            1 | 2 => _ = task.restart(),
            3 => _ = task.pause(),
            4 | 5 => _ = task.resume(),
            _ => {}
        }
    }
}

/// One run of a leaf; never two at once (SUP-2).
fn run(cx: &TaskContext, live: &Live, name: &str, habits: Habits) -> TaskResult {
    let count = |by: i32| {
        let mut live = live.lock().expect("no panic");
        let runs = live.entry(name.to_owned()).or_default();
        *runs = runs.wrapping_add_signed(by);
        *runs
    };
    assert_eq!(count(1), 1, "runs of {name}");
    if habits.is_ready {
        cx.ready();
    }
    if cx.sleep(habits.lasts) && habits.end > 2 {
        cx.token().wait();
    }
    if cx.is_cancelled() {
        wait_until(habits.stops_in, || None::<()>);
    }
    count(-1);
    match habits.end {
        0 => Err("broken".into()),
        1 => Err(SelfCancelled.into()),
        _ => Ok(()),
    }
}

/// Each is over once, and removed after that; nothing begins when it is over.
fn judge(events: &[Event]) {
    let mut lives: BTreeMap<TaskId, (u32, bool)> = BTreeMap::new();
    for event in events {
        let (ends, is_removed) = lives.entry(event.id).or_default();
        assert!(!*is_removed, "{event} after its end");
        match event.kind {
            EventKind::Finished { .. } => *ends += 1,
            EventKind::Removed => *is_removed = true,
            EventKind::Started | EventKind::Ready | EventKind::Retrying { .. } | EventKind::Waiting { .. } => {
                assert_eq!(*ends, 0, "{event} when it is over");
            }
            _ => {}
        }
    }
    for (id, (ends, is_removed)) in lives {
        assert!(id.to_string() == "#0" || (ends, is_removed) == (1, true), "{id}: {ends} ends");
    }
}

/// How a tree ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Cancel,
    Shutdown,
    Pool,
}

fn live_through(env: &TestEnvironment, end: End, permits: Option<usize>) {
    let mut choices = Choices { seed: env.seed().wrapping_mul(0x9e37_79b9_7f4a_7c15), specs: 0, live: Live::default() };
    let supervisor = Supervisor::builder(env.pool()).grace(SECOND).event_capacity(100_000).max_concurrent(permits);
    let supervisor = supervisor.backoff(Backoff::constant(QUARTER)).build().expect("valid");
    let (heard, subscription) = listen(&supervisor);
    let root = supervisor.submit(choices.spec(3)).expect("there is room");
    for _ in 0..12 {
        env.advance(choices.quarters(8));
        let number = 1 + choices.below(choices.specs);
        if let Some(task) = supervisor.find(&format!("task {number}")) {
            choices.meddle(&task);
        }
    }
    let (stopped_at, told) = (env.now(), heard.lock().expect("no panic").len());
    match end {
        End::Cancel => _ = root.remove(),
        End::Shutdown => drop(supervisor.shutdown().expect("from outside")),
        End::Pool => drop(env.pool().shutdown().expect("from outside")),
    }
    env.advance(SECOND * 200);
    let stats = supervisor.stats();
    let left = (supervisor.tasks().len(), stats.places, stats.running, stats.stuck);
    assert_eq!(left, (0, 0, 0, 0), "{:#?}", lines(&heard));
    assert!(root.outcome().is_finished());
    if end != End::Pool {
        let events = heard.lock().expect("no panic");
        let late = |event: &&Event| event.at > stopped_at && matches!(event.kind, EventKind::Started);
        let begun: Vec<_> = events[told..].iter().filter(late).map(ToString::to_string).collect();
        assert!(begun.is_empty(), "{begun:?} after the stop");
        judge(&events);
    }
    drop(subscription);
}

/// SUP-2, SUP-4, SUP-4a, SUP-14, I32, I38: the root is cancelled in the end.
#[test]
fn trees_are_cancelled() {
    TestEnvironment::builder().baton().explore(0..300, |env| live_through(env, End::Cancel, None));
}

/// SUP-9a, SUP-13: as before; the supervisor is shut down in the end, and runs need permits.
#[test]
fn trees_with_permits_are_shut_down() {
    TestEnvironment::builder().baton().explore(300..600, |env| live_through(env, End::Shutdown, Some(4)));
}

/// F61: the pool is shut down under them.
#[test]
fn trees_end_with_the_pool() {
    TestEnvironment::builder().baton().explore(600..900, |env| live_through(env, End::Pool, None));
}
