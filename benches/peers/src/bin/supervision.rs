//! W10: a supervised task from its submission to its outcome, a loop of restarts, and the memory of idle tasks, beside taskvisor.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin supervision
//! ```
//!
//! Both have two workers, run futures that are over at once, and are driven by the main thread, which waits for each
//! outcome in the crate's own way: by `join` here, under `block_on` there. Nobody subscribes to events. One round of each
//! in turn; medians, with the fastest and the slowest, and the median of the rounds' ratios. taskvisor answers each
//! submission from its registry before the next is made, also with 256 in flight.
//!
//! Memory is read in a process of its own for each cell: heap as asked of the allocator, and resident memory; beside it the
//! processor time that 100,000 idle tasks take in a second.
//! `supervision ours W10-restarts 20` repeats a cell of one contender, for profiles.

#[path = "../allocator.rs"]
mod allocator;

use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use overstrand::{Backoff, Exhausted, RestartPolicy, Supervisor, ThreadPool};
use taskvisor::{BackoffPolicy, SupervisorConfig, SupervisorHandle, TaskError, TaskFn, TaskOutcome, TaskRef};

const ROUNDS: usize = 11;
const TASKS: usize = 2_048;
const IN_FLIGHT: usize = 256;
const RESTARTS: u32 = 5_000;
const BEATS: u32 = 10_000_000;
const IDLE: usize = 100_000;
const HOUR: Duration = Duration::from_secs(3600);

/// What a task does that is there and idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// It waits in its first run.
    Waits,
    /// Its first run has succeeded, and the next comes in an hour.
    Period,
    /// Its first run has failed, and the next comes in an hour.
    Backoff,
}

const IDLES: [(&str, Idle); 3] =
    [("W10-idle-waits", Idle::Waits), ("W10-idle-period", Idle::Period), ("W10-idle-backoff", Idle::Backoff)];

/// Counts down the failures that are left before the success.
fn failures() -> Arc<AtomicU32> {
    Arc::new(AtomicU32::new(RESTARTS))
}

/// True while it shall fail.
fn is_failing(left: &AtomicU32) -> bool {
    // Relaxed: one run after the other.
    left.fetch_sub(1, Ordering::Relaxed) > 0
}

/// What both do, a round at a time.
trait Contender {
    fn new() -> Self;
    fn in_flight(&self, many: usize);
    fn restarts(&self);
    /// Submits so many tasks, and returns when each is idle; keeps their handles.
    fn idle(&self, what: Idle, tasks: usize) -> Box<dyn std::any::Any>;
}

/// This crate, with futures as bodies.
struct Ours {
    supervisor: Supervisor,
    numbers: AtomicU32,
    _pool: ThreadPool,
}

impl Contender for Ours {
    fn new() -> Self {
        let pool = ThreadPool::builder().workers(2).build().expect("threads can be started");
        let builder = Supervisor::builder(&pool).capacity(2 * IDLE).backoff(Backoff::constant(Duration::ZERO));
        // No brake on restarts but the backoff, as there.
        let builder = builder.intensity(0, Duration::from_secs(1), Exhausted::SlowRestart(Duration::ZERO));
        let supervisor = builder.build().expect("the settings make sense");
        Self { supervisor, numbers: AtomicU32::new(0), _pool: pool }
    }

    fn in_flight(&self, many: usize) {
        for _ in 0..TASKS / many {
            let tasks: Vec<_> = (0..many).map(|_| self.submit()).collect();
            tasks.iter().for_each(Self::finish);
        }
    }

    fn restarts(&self) {
        let left = failures();
        let spec = overstrand::TaskSpec::future("restarts", move |_| {
            let fails = is_failing(&left);
            async move { if fails { Err("again".into()) } else { Ok(()) } }
        });
        let task = self.supervisor.submit(spec).expect("there is room");
        Self::finish(&task);
        // The name is free when the task has physically ended.
        task.wait_ended(Duration::from_secs(60)).expect("it has ended");
    }

    fn idle(&self, what: Idle, tasks: usize) -> Box<dyn std::any::Any> {
        let runs = Arc::new(AtomicU32::new(0));
        let mut handles: Vec<overstrand::SupervisedTask> = Vec::with_capacity(tasks);
        for n in 0..tasks {
            let runs = Arc::clone(&runs);
            let spec = overstrand::TaskSpec::future(format!("i{n}"), move |cx| {
                runs.fetch_add(1, Ordering::Relaxed);
                async move {
                    if what == Idle::Waits {
                        cx.token().cancelled().await;
                    }
                    if what == Idle::Period { Ok(()) } else { Err("in vain".into()) }
                }
            });
            let spec = match what {
                Idle::Period => spec.restart(RestartPolicy::Always { interval: HOUR }),
                _ => spec.backoff(Backoff::constant(HOUR)),
            };
            handles.push(self.supervisor.submit(spec).expect("there is room"));
        }
        while (runs.load(Ordering::Relaxed) as usize) < tasks {
            std::thread::yield_now();
        }
        Box::new(handles)
    }
}

impl Ours {
    fn submit(&self) -> overstrand::SupervisedTask {
        let name = self.numbers.fetch_add(1, Ordering::Relaxed).to_string();
        self.supervisor.submit(overstrand::TaskSpec::future(name, |_| async { Ok(()) })).expect("there is room")
    }

    fn finish(task: &overstrand::SupervisedTask) {
        assert!(task.outcome().join().expect("it ends").is_completed());
    }

    /// A sign of life, under a watchdog.
    fn heartbeats(&self) {
        let spec = overstrand::TaskSpec::blocking("beats", |cx: &overstrand::TaskContext| {
            (0..BEATS).for_each(|_| std::hint::black_box(cx).heartbeat());
            Ok(())
        });
        let task = self.supervisor.submit(spec.watchdog(Duration::from_secs(5))).expect("there is room");
        Self::finish(&task);
        task.wait_ended(Duration::from_secs(60)).expect("it has ended");
    }
}

/// taskvisor on a runtime of tokio.
struct Theirs {
    handle: SupervisorHandle,
    numbers: AtomicU32,
    runtime: tokio::runtime::Runtime,
}

impl Contender for Theirs {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let most = NonZeroUsize::new(2 * IDLE);
        let config = SupervisorConfig::default().with_max_registered_tasks(most).with_ownership_capacity(most);
        let start = async { taskvisor::Supervisor::new(config, vec![]).serve() };
        let handle = runtime.block_on(start).expect("it serves");
        Self { handle, numbers: AtomicU32::new(0), runtime }
    }

    fn in_flight(&self, many: usize) {
        self.runtime.block_on(async {
            for _ in 0..TASKS / many {
                let mut waiters = Vec::with_capacity(many);
                for _ in 0..many {
                    let name = self.numbers.fetch_add(1, Ordering::Relaxed).to_string();
                    let task: TaskRef = TaskFn::arc(|_| async { Ok(()) });
                    waiters.push(self.submit(taskvisor::TaskSpec::once(name, task)).await);
                }
                for waiter in waiters {
                    Self::finish(waiter).await;
                }
            }
        });
    }

    fn restarts(&self) {
        let left = failures();
        let task: TaskRef = TaskFn::arc(move |_| {
            let fails = is_failing(&left);
            async move { if fails { Err(TaskError::fail("again")) } else { Ok(()) } }
        });
        let name = self.numbers.fetch_add(1, Ordering::Relaxed).to_string();
        let backoff = BackoffPolicy::constant(Duration::ZERO);
        let spec = taskvisor::TaskSpec::restartable(name, task).with_backoff(backoff);
        self.runtime.block_on(async { Self::finish(self.submit(spec).await).await });
    }

    fn idle(&self, what: Idle, tasks: usize) -> Box<dyn std::any::Any> {
        let runs = Arc::new(AtomicU32::new(0));
        let mut waiters = Vec::with_capacity(tasks);
        self.runtime.block_on(async {
            for n in 0..tasks {
                let runs = Arc::clone(&runs);
                let task: TaskRef = TaskFn::arc(move |cx: taskvisor::TaskContext| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    async move {
                        if what == Idle::Waits {
                            cx.cancelled().await;
                        }
                        if what == Idle::Period { Ok(()) } else { Err(TaskError::fail("in vain")) }
                    }
                });
                let name = format!("i{n}");
                let spec = match what {
                    Idle::Period => taskvisor::TaskSpec::periodic(name, task, HOUR),
                    _ => taskvisor::TaskSpec::restartable(name, task).with_backoff(BackoffPolicy::constant(HOUR)),
                };
                waiters.push(self.submit(spec).await);
            }
        });
        while (runs.load(Ordering::Relaxed) as usize) < tasks {
            std::thread::yield_now();
        }
        Box::new(waiters)
    }
}

impl Theirs {
    async fn submit(&self, spec: taskvisor::TaskSpec) -> taskvisor::TaskWaiter {
        self.handle.add(spec).watch().execute().await.expect("there is room")
    }

    async fn finish(waiter: taskvisor::TaskWaiter) {
        assert!(matches!(waiter.wait().await, Ok(TaskOutcome::Completed)));
    }
}

fn timed(f: impl FnOnce(), per: usize) -> f64 {
    let begun = Instant::now();
    f();
    begun.elapsed().as_nanos() as f64 / per as f64
}

/// The median, the least and the greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn row(name: &str, per: usize, ours: impl Fn(), theirs: impl Fn()) {
    ours();
    theirs();
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(timed(&ours, per));
        other.push(timed(&theirs, per));
    }
    let (ratio, ..) = spread(mine.iter().zip(&other).map(|(mine, other)| mine / other).collect());
    let ((a, a_least, a_most), (b, b_least, b_most)) = (spread(mine), spread(other));
    println!("| {name} | {a:.0} ({a_least:.0}–{a_most:.0}) | {b:.0} ({b_least:.0}–{b_most:.0}) | {ratio:.2} |");
}

/// The bytes of an idle task, its name and handle included, on the heap and resident; and the processor time of the
/// process in a second in which all are idle.
fn idleness<C: Contender>(what: Idle) -> (i64, i64, Duration) {
    let contender = C::new();
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells a process its own memory");
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("there is a line `Rss:`");
        line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number of kB") * 1024
    };
    contender.in_flight(1);
    let before = resident();
    allocator::count();
    let tasks = contender.idle(what, IDLE);
    // The last runs are over when somebody who came later has had his turn on each worker.
    contender.in_flight(IN_FLIGHT);
    let (heap, resident) = (allocator::live(), resident() - before);
    let busy = processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let busy = processor_time() - busy;
    std::mem::forget((tasks, contender));
    (heap / IDLE as i64, resident / IDLE as i64, busy)
}

fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Each figure in a process of its own, where no memory lies about that was freed.
fn memory_row(name: &str) {
    let figure = |contender: &str| {
        let child = std::env::current_exe().and_then(|own| Command::new(own).args([contender, name]).output());
        let child = child.expect("the bench can start itself");
        assert!(child.status.success(), "{name}: {}", String::from_utf8_lossy(&child.stderr));
        String::from_utf8(child.stdout).expect("it is text").trim().to_owned()
    };
    println!("| {name} | {} | {} |", figure("ours"), figure("taskvisor"));
}

/// One cell of one contender.
fn alone<C: Contender>(name: &str, rounds: usize) {
    if let Some((_, what)) = IDLES.iter().find(|(idle, _)| *idle == name) {
        let (heap, resident, busy) = idleness::<C>(*what);
        return println!("{heap} ({resident}) | {:.2}", busy.as_secs_f64() * 1000.0);
    }
    let contender = C::new();
    for _ in 0..rounds {
        let nanos = match name {
            "W10-one-by-one" => timed(|| contender.in_flight(1), TASKS),
            "W10-256-in-flight" => timed(|| contender.in_flight(IN_FLIGHT), TASKS),
            _ => timed(|| contender.restarts(), RESTARTS as usize),
        };
        println!("{nanos:.0}");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [contender, name, rest @ ..] = arguments.as_slice() {
        let rounds = rest.first().map_or(1, |rounds| rounds.parse().expect("a number of rounds"));
        return if contender == "ours" { alone::<Ours>(name, rounds) } else { alone::<Theirs>(name, rounds) };
    }
    let (ours, theirs) = (Ours::new(), Theirs::new());
    println!("| cell, ns per task or restart | overstrand | taskvisor | ratio |\n|---|--:|--:|--:|");
    row("W10-one-by-one", TASKS, || ours.in_flight(1), || theirs.in_flight(1));
    row("W10-256-in-flight", TASKS, || ours.in_flight(IN_FLIGHT), || theirs.in_flight(IN_FLIGHT));
    row("W10-restarts", RESTARTS as usize, || ours.restarts(), || theirs.restarts());
    let (beat, least, most) = spread((0..ROUNDS).map(|_| timed(|| ours.heartbeats(), BEATS as usize)).collect());
    println!("| heartbeat, under a watchdog | {beat:.2} ({least:.2}–{most:.2}) | – | – |");
    println!("\n| cell: heap (resident) per task, bytes; ms of processor time in 1 s | overstrand | | taskvisor | |");
    println!("|---|--:|--:|--:|--:|");
    IDLES.iter().for_each(|(name, _)| memory_row(name));
}
