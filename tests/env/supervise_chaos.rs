//! Everything at once: tasks of all sorts, submitted, cancelled, evicted, restarted and shut down in any order, judged by invariants (I32, I34, I40, I52, I53, F57, F61).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    Admission, Backoff, Event, EventKind, Exhausted, Fatal, Jitter, OutcomeKind, Strategy, SupervisedTask, Supervisor,
    TaskContext, TaskId, TaskSpec,
};

use crate::figure;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);
const CAPACITY: usize = 4;

/// Choices that the seed makes.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// One task of some sort; `all` counts the runs of all tasks, `own` those of this one.
    fn spec(&mut self, name: &str, all: &Gauge, own: &Gauge) -> TaskSpec {
        let (how, seconds) = (self.below(8), self.below(4) as u32);
        let (all, own) = (all.clone(), own.clone());
        let body = move |cx: TaskContext| {
            let held = (all.hold(), own.hold());
            async move {
                let _held = held;
                cx.ready();
                match how {
                    0 => return Err("no".into()),
                    1 => return Err(Fatal::new("never").into()),
                    2 => panic!("in chaos"),
                    3 => _ = cx.sleep_async(SECOND * seconds).await,
                    // Deaf for a while, and for ever.
                    4 => overstrand::sleep(SECOND * seconds).await,
                    5 => std::future::pending().await,
                    6 => {
                        cx.token().cancelled().await;
                        overstrand::sleep(SECOND / 2).await;
                    }
                    _ if cx.attempt() < 3 => return Err("not yet".into()),
                    _ => cx.heartbeat(),
                }
                Ok(())
            }
        };
        let mut spec = TaskSpec::future(name.to_owned(), body)
            .priority(self.below(3) as i32)
            .backoff(Backoff::exponential(SECOND / 10).jitter(Jitter::Full))
            .intensity(4, SECOND * 10, Exhausted::GiveUp);
        if self.below(3) == 0 {
            spec = spec.attempt_timeout(SECOND * 2).max_retries(2);
        }
        if self.below(3) == 0 {
            spec = spec.watchdog(SECOND).max_retries(0);
        }
        if self.below(3) == 0 {
            spec = spec.max_runtime(SECOND * 5);
        }
        spec
    }

    fn submit(&mut self, supervisor: &Supervisor, number: u64, all: &Gauge) -> Option<(SupervisedTask, Gauge)> {
        let own = Gauge::default();
        let mut spec = self.spec(&format!("task {number}"), all, &own);
        match self.below(4) {
            0 => {
                let how = [Admission::Queue, Admission::Replace, Admission::DropIfRunning][self.below(3) as usize];
                spec = spec.slot(format!("key {}", self.below(2)), how);
            }
            1 => {
                let other = self.spec(&format!("other {number}"), &Gauge::default(), &Gauge::default());
                let how = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][self.below(3) as usize];
                let group = TaskSpec::group(format!("group {number}"), how, [other, spec]);
                spec = group.intensity(3, SECOND * 10, Exhausted::Escalate);
            }
            _ => {}
        }
        supervisor.submit(spec).ok().map(|task| (task, own))
    }

    fn meddle(&mut self, supervisor: &Supervisor, task: &SupervisedTask) {
        match self.below(12) {
            0 | 1 => _ = task.remove(),
            2 => _ = task.restart(),
            3 => _ = task.pause(),
            4 => _ = task.resume(),
            5 => _ = task.set_priority(self.below(3) as i32),
            6 => supervisor.set_capacity(1 + self.below(CAPACITY as u64) as usize),
            _ => {}
        }
    }
}

/// I52, I53: numbered without a gap; runs of a task one after the other; nothing after its end.
fn judge(events: &[Event], tally: &Tally) {
    #[derive(Default)]
    struct Life {
        is_open: bool,
        generation: u64,
        finished: u32,
        is_removed: bool,
    }
    let mut lives: BTreeMap<TaskId, Life> = BTreeMap::new();
    for (event, seq) in events.iter().zip(1..) {
        tally.gaps.fetch_add(usize::from(event.seq != seq), Ordering::Relaxed);
        assert_eq!(event.seq, seq);
        let life = lives.entry(event.id).or_default();
        assert!(!life.is_removed, "{event} after its end");
        match event.kind {
            EventKind::Started => {
                let is_next = !life.is_open && event.generation > life.generation && life.finished == 0;
                let before = events.iter().filter(|other| other.id == event.id).map(ToString::to_string);
                assert!(is_next, "{}", before.collect::<Vec<_>>().join("\n"));
                (life.is_open, life.generation) = (true, event.generation);
            }
            EventKind::Succeeded { .. } | EventKind::Failed { .. } => {
                assert!(life.is_open && event.generation == life.generation, "{event}");
                life.is_open = false;
            }
            EventKind::Cancelled { .. } | EventKind::TimedOut { .. } | EventKind::HeartbeatLost { .. } => {
                life.is_open = false;
            }
            EventKind::Retrying { .. } | EventKind::Waiting { .. } => {
                assert!(life.finished == 0, "{event}");
                life.is_open = false;
            }
            EventKind::Finished { .. } => life.finished += 1,
            EventKind::Removed => {
                assert_eq!(life.finished, 1, "{event}");
                life.is_removed = true;
            }
            _ => {}
        }
    }
    tally.events.fetch_add(events.len(), Ordering::Relaxed);
    tally.traces.fetch_add(lives.len(), Ordering::Relaxed);
    assert!(lives.iter().all(|(id, life)| id.to_string() == "#0" || life.is_removed), "somebody never ended");
}

/// What all schedules of a test come to.
#[derive(Default)]
struct Tally {
    schedules: AtomicUsize,
    runs: AtomicUsize,
    overlaps: AtomicUsize,
    outcomes: AtomicUsize,
    most_places: AtomicUsize,
    events: AtomicUsize,
    gaps: AtomicUsize,
    traces: AtomicUsize,
}

impl Tally {
    fn print(&self) {
        let Self { schedules, runs, overlaps, outcomes, most_places, events, gaps, traces } = self;
        figure("I32", format_args!("{runs:?} attempts, {overlaps:?} overlaps"));
        figure("I34", format_args!("{outcomes:?} tasks accepted, as many outcomes, in {schedules:?} schedules"));
        figure("I40", format_args!("max observed {most_places:?}, capacity {CAPACITY}"));
        if events.load(Ordering::Relaxed) > 0 {
            figure("I52", format_args!("{events:?} events, {gaps:?} unexplained gaps"));
            figure("I53", format_args!("{traces:?} traces of tasks in order"));
        }
    }
}

fn live_through(env: &TestEnvironment, ends_with_the_pool: bool, tally: &Tally) {
    tally.schedules.fetch_add(1, Ordering::Relaxed);
    let mut choices = Choices(env.seed().wrapping_mul(0x9e37_79b9).wrapping_add(7));
    let supervisor = Supervisor::builder(env.pool())
        .capacity(CAPACITY)
        .max_concurrent(CAPACITY - 1)
        .queue_when_full(3, SECOND * 3)
        .grace(SECOND)
        .event_capacity(100_000)
        .build()
        .expect("valid");
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&events);
    let listener = supervisor.subscribe(move |event: &Event| noted.lock().expect("no panic").push(event.clone()));
    let (all, mut tasks) = (Gauge::default(), Vec::new());
    for number in 0..30 {
        tasks.extend(choices.submit(&supervisor, number, &all));
        if let Some((task, _)) = tasks.get(choices.below(tasks.len().max(1) as u64) as usize) {
            choices.meddle(&supervisor, task);
        }
        match choices.below(4) {
            0 => env.run_until_idle(),
            1 => env.advance(SECOND / 4 * choices.below(8) as u32),
            _ => {}
        }
        let stats = supervisor.stats();
        tally.most_places.fetch_max(stats.places, Ordering::Relaxed);
        assert!(stats.places <= CAPACITY && stats.running < CAPACITY, "{stats:?}");
        assert!(all.live() < CAPACITY);
    }
    if ends_with_the_pool {
        env.pool().shutdown().expect("from outside");
    }
    let report = supervisor.shutdown().expect("from outside");
    assert!(report.stuck.is_empty(), "{report:?}");
    env.run_until_idle();
    assert_eq!((all.live(), supervisor.tasks().len(), supervisor.stats().slots), (0, 0, 0));
    let mut kinds = Vec::new();
    for (task, own) in tasks {
        tally.runs.fetch_add(own.runs(), Ordering::Relaxed);
        tally.overlaps.fetch_add(usize::from(own.most() > 1), Ordering::Relaxed);
        assert!(own.most() <= 1, "two runs of {}", task.name());
        kinds.push(task.outcome().try_join().expect("it is there").expect("it was delivered").kind());
    }
    tally.outcomes.fetch_add(kinds.len(), Ordering::Relaxed);
    for kind in [OutcomeKind::Completed, OutcomeKind::Evicted, OutcomeKind::ForceAborted, OutcomeKind::TimedOut] {
        kinds.retain(|other| *other != kind || kind == OutcomeKind::Completed);
    }
    overstrand::sometimes!(kinds.contains(&OutcomeKind::Completed), "one completes");
    overstrand::sometimes!(kinds.contains(&OutcomeKind::Rejected), "one is rejected");
    overstrand::sometimes!(kinds.contains(&OutcomeKind::HeartbeatLost), "one is silent");
    if !ends_with_the_pool {
        judge(&events.lock().expect("no panic"), tally);
    }
    drop(listener);
}

/// The supervisor is shut down in the end.
#[test]
fn chaos_ends_with_the_supervisor() {
    let tally = Tally::default();
    TestEnvironment::explore(0..400, |env| live_through(env, false, &tally));
    tally.print();
}

/// The pool is shut down under it.
#[test]
fn chaos_ends_with_the_pool() {
    let tally = Tally::default();
    TestEnvironment::explore(0..400, |env| live_through(env, true, &tally));
    tally.print();
}
