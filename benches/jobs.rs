//! What jobs cost: the wait of urgent work for a worker that a background job has, a yield, and saves on the disk.
//!
//! ```text
//! cargo bench --bench jobs --features store-redb
//! ```
//!
//! Times are medians of rounds, with the fastest and the slowest; waits are percentiles.

use std::hint::black_box;
use std::time::{Duration, Instant};

use overstrand::{CancelToken, Job, JobContext, JobExecutor, Priority, Step, Supervisor, TaskSpec, ThreadPool};

const ROUNDS: usize = 9;
const YIELDS: u64 = 20_000;
const QUERIES: usize = 5_000;
/// How long a step of the background job takes.
const STEP: Duration = Duration::from_micros(5);

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Prints nanoseconds per operation of rounds that do so many.
fn row(name: &str, per: u64, mut round: impl FnMut()) {
    round();
    let mut nanos: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = now();
            round();
            begun.elapsed().as_nanos() as f64 / per as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{name}: {:.1} ns ({:.1}-{:.1})", nanos[ROUNDS / 2], nanos[0], nanos[ROUNDS - 1]);
}

fn percentiles(name: &str, mut waits: Vec<Duration>) {
    waits.sort();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!("{name}: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.9), at(0.99), at(1.0));
}

fn executor(pool: &ThreadPool) -> JobExecutor {
    JobExecutor::builder(pool).ui_workers(1).build().expect("valid")
}

/// A job that yields at each step.
fn yielding() -> Job<u64, ()> {
    Job::stateful("yields", 0, |step: &mut u64, _: &mut JobContext| {
        *step += 1;
        Ok(if *step > YIELDS { Step::Done(()) } else { Step::Yield })
    })
}

fn yields(pool: &ThreadPool) {
    let jobs = executor(pool);
    row("a yield and the next run, in an executor", YIELDS, || {
        jobs.execute(yielding(), &CancelToken::new()).expect("it ends");
    });
    let supervisor = Supervisor::builder(pool).build().expect("valid");
    row("a yield and the next step, supervised", YIELDS, || {
        let spec = TaskSpec::resumable("yields", 0, |step: &mut u64, _| {
            *step += 1;
            Ok(if *step > YIELDS { Step::Done(()) } else { Step::Yield })
        });
        let task = supervisor.submit(spec).expect("there is room");
        assert!(task.outcome().join().expect("it ends").is_completed());
        task.wait_ended(Duration::MAX).expect("it has");
    });
}

/// The one worker has a background job that looks after each step; how long does a query wait?
fn preemption(pool: &ThreadPool) {
    let (jobs, over) = (executor(pool), CancelToken::new());
    let background = Job::stateful("background", 0_u64, |steps: &mut u64, cx: &mut JobContext| {
        let begun = now();
        while begun.elapsed() < STEP {
            *steps = black_box(*steps) + 1;
        }
        Ok(if cx.should_yield() { Step::<()>::Yield } else { Step::Again })
    });
    let background = jobs.submit(background.priority(Priority::BestEffort), &over);
    let waits = (0..QUERIES).map(|_| {
        while jobs.stats().running[2] == 0 {
            std::hint::spin_loop();
        }
        let asked = now();
        let query = Job::stateful("query", (), move |(): &mut (), _: &mut JobContext| Ok(Step::Done(asked.elapsed())));
        jobs.execute(query.priority(Priority::UserBlocking), &over).expect("it runs")
    });
    let waits = waits.collect();
    percentiles(&format!("a query waits for the worker, steps of {STEP:?}"), waits);
    println!("  {} of {QUERIES} preempted the job", jobs.stats().preemptions);
    over.cancel();
    drop(background);
}

#[cfg(feature = "store-redb")]
fn saves() {
    use overstrand::{RedbStore, StateStore};
    const SAVES: u32 = 200;
    let directory = std::env::temp_dir().join(format!("overstrand-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("there is room");
    for (savers, gather) in [(1, 0), (8, 0), (32, 0), (32, 2)] {
        let path = directory.join(format!("{savers}-{gather}.redb"));
        let store = RedbStore::builder().gather(Duration::from_millis(gather)).open(path).expect("it is made");
        let begun = now();
        std::thread::scope(|scope| {
            for saver in 0..savers {
                let store = &store;
                scope.spawn(move || {
                    let key = format!("job {saver}");
                    (0..SAVES).for_each(|_| store.save(&key, &[7; 200]).expect("there is room"));
                });
            }
        });
        let (took, stats) = (begun.elapsed(), store.stats());
        println!(
            "{savers} jobs save 200 bytes, gathered for {gather} ms: {:.0} saves/s, {:.1} saves per sync, {:.0} us per sync",
            stats.saves as f64 / took.as_secs_f64(),
            stats.saves as f64 / stats.commits as f64,
            took.as_micros() as f64 / stats.commits as f64,
        );
    }
    std::fs::remove_dir_all(&directory).expect("it is ours");
}

fn main() {
    let pool = ThreadPool::builder().workers(1).build().expect("threads can be started");
    yields(&pool);
    preemption(&pool);
    #[cfg(feature = "store-redb")]
    saves();
}
