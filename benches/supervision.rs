//! What supervision costs: a task from its submission to its outcome, a restart, a heartbeat, and the memory of a task that is there and idle.
//!
//! ```text
//! cargo bench --bench supervision
//! ```
//!
//! Times are medians of rounds, with the fastest and the slowest; beside them stands the plain pool where it does the same.

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use overstrand::{
    Backoff, Exhausted, RestartPolicy, SelfCancelled, SupervisedTask, Supervisor, TaskContext, TaskSpec, ThreadPool,
};

const ROUNDS: usize = 9;
const TASKS: usize = 2_000;
const IN_FLIGHT: usize = 256;
const RESTARTS: u64 = 5_000;
const BEATS: u32 = 10_000_000;
const IDLE: usize = 100_000;
const UNSTARTED: &str = "idle, before its first run";
const WAITING: &str = "idle, a future that waits";

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(f: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    f();
    begun.elapsed()
}

/// Prints nanoseconds per operation of rounds that do so many.
fn row(name: &str, per: usize, mut round: impl FnMut()) {
    round();
    let mut nanos: Vec<f64> = (0..ROUNDS).map(|_| timed(&mut round).as_nanos() as f64 / per as f64).collect();
    nanos.sort_by(f64::total_cmp);
    println!("{name}: {:.1} ns ({:.1}-{:.1})", nanos[ROUNDS / 2], nanos[0], nanos[ROUNDS - 1]);
}

fn supervisor(pool: &ThreadPool, capacity: usize) -> Supervisor {
    let builder = Supervisor::builder(pool).capacity(capacity).backoff(Backoff::constant(Duration::ZERO));
    // However often: the backoff alone decides.
    builder.intensity(0, Duration::from_secs(1), Exhausted::SlowRestart(Duration::ZERO)).build().expect("valid")
}

fn blocking(n: usize) -> TaskSpec {
    TaskSpec::blocking(n.to_string(), |_| Ok(()))
}

fn future(n: usize) -> TaskSpec {
    TaskSpec::future(n.to_string(), |_| async { Ok(()) })
}

fn join(task: &SupervisedTask) {
    assert!(task.outcome().join().expect("it ends").is_completed());
}

/// Submit, run, outcome.
fn whole_lives(pool: &ThreadPool) {
    row("plain pool, spawn and join, one by one", TASKS, || {
        (0..TASKS).for_each(|_| pool.spawn(|| ()).join().expect("it runs"));
    });
    let supervisor = supervisor(pool, 2 * IN_FLIGHT);
    type Body = fn(usize) -> TaskSpec;
    let bodies: [(&str, Body); 2] = [("blocking", blocking), ("future", future)];
    for (name, spec) in bodies {
        let mut n = 0;
        let mut submit = || {
            n += 1;
            supervisor.submit(spec(n)).expect("there is room")
        };
        row(&format!("{name}, one by one"), TASKS, || (0..TASKS).for_each(|_| join(&submit())));
        row(&format!("{name}, {IN_FLIGHT} in flight"), TASKS / IN_FLIGHT * IN_FLIGHT, || {
            for _ in 0..TASKS / IN_FLIGHT {
                let tasks: Vec<_> = (0..IN_FLIGHT).map(|_| submit()).collect();
                tasks.iter().for_each(join);
            }
        });
    }
}

/// From the start of a run to that of the next.
fn restarts(pool: &ThreadPool) {
    let supervisor = supervisor(pool, 1);
    let again = |fails: bool| {
        move |cx: &TaskContext| match cx.generation() {
            RESTARTS => Err(SelfCancelled.into()),
            _ if fails => Err("again".into()),
            _ => Ok(()),
        }
    };
    let live = |spec: TaskSpec| _ = supervisor.submit(spec).expect("there is room").control().wait_ended(Duration::MAX);
    row("restart after a failure, blocking", RESTARTS as usize, || live(TaskSpec::blocking("fails", again(true))));
    row("restart after a failure, future", RESTARTS as usize, || {
        live(TaskSpec::future("fails", move |cx| {
            let result = again(true)(&cx);
            async move { result }
        }));
    });
    row("next run after a success, blocking", RESTARTS as usize, || {
        let always = RestartPolicy::Always { interval: Duration::ZERO };
        live(TaskSpec::blocking("works", again(false)).restart(always));
    });
}

fn heartbeat(pool: &ThreadPool) {
    let supervisor = supervisor(pool, 1);
    row("heartbeat, under a watchdog", BEATS as usize, || {
        let beats = TaskSpec::blocking("beats", |cx: &TaskContext| {
            (0..BEATS).for_each(|_| black_box(cx).heartbeat());
            Ok(())
        });
        join(&supervisor.submit(beats.watchdog(Duration::from_secs(5))).expect("there is room"));
    });
}

/// Resident memory in bytes, which the kernel counts in pages.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// What so many tasks add that are there and do nothing.
fn memory(pool: &ThreadPool, name: &str, spec: impl Fn(usize) -> TaskSpec) {
    let supervisor = supervisor(pool, IDLE);
    let Some(before) = resident() else { return println!("{name}: this system does not tell") };
    let mut tasks = Vec::with_capacity(IDLE);
    let submitting = timed(|| tasks.extend((0..IDLE).map(|n| supervisor.submit(spec(n)).expect("there is room"))));
    // All that was posted before has run.
    pool.flush().expect("outside of the pool");
    let after = resident().unwrap_or(before);
    assert!(tasks.iter().all(|task| task.is_alive()));
    println!(
        "{name}: {} bytes each, handle and name included; submitted in {} ns each",
        after.saturating_sub(before) / IDLE as u64,
        submitting.as_nanos() / IDLE as u128
    );
    let ending = timed(|| assert!(supervisor.shutdown().expect("outside of a run").stuck.is_empty()));
    println!("{name}: shut down in {} ns each", ending.as_nanos() / IDLE as u128);
}

/// Each in a process of its own, where no memory lies about that was freed.
fn memory_rows() {
    for name in [UNSTARTED, WAITING] {
        let child = std::env::current_exe().and_then(|own| Command::new(own).arg(name).status());
        assert!(child.is_ok_and(|status| status.success()), "{name}");
    }
}

fn main() {
    let pool = ThreadPool::builder().workers(2).build().expect("threads");
    match std::env::args().nth(1).as_deref() {
        Some(UNSTARTED) => memory(&pool, UNSTARTED, |n| blocking(n).start_delay(Duration::from_secs(3600))),
        Some(WAITING) => memory(&pool, WAITING, |n| {
            TaskSpec::future(n.to_string(), |cx| async move {
                cx.token().cancelled().await;
                Ok(())
            })
        }),
        _ => {
            memory_rows();
            whole_lives(&pool);
            restarts(&pool);
            heartbeat(&pool);
        }
    }
}
