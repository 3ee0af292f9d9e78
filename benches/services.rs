//! What services cost: what is asked of them from outside, a start and a stop, a restart, a reload.
//!
//! ```text
//! cargo bench --bench services
//! ```
//!
//! Times are medians of rounds, with the fastest and the slowest; beside them stand a reading of the clock and a round trip to a strand.

use std::hint::black_box;
use std::time::{Duration, Instant};

use overstrand::{Service, TaskContext, TaskTraits, ThreadPool};

const ROUNDS: usize = 9;
const LOOKS: usize = 5_000_000;
const BATCH: usize = 1_000;
const TRIPS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn timed(f: impl FnOnce()) -> Duration {
    let begun = now();
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

fn until_told(cx: &TaskContext) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    cx.token().wait();
    Ok(())
}

/// A look at the uptime beside what it reads, in turns: the fastest of many short batches of each, which nothing else has disturbed.
fn beside_the_clock(service: &Service) {
    let (mut clock, mut uptime) = (Duration::MAX, Duration::MAX);
    for _ in 0..LOOKS / BATCH {
        clock = clock.min(timed(|| (0..BATCH).for_each(|_| _ = black_box(now()))));
        uptime = uptime.min(timed(|| (0..BATCH).for_each(|_| _ = black_box(black_box(service).uptime()))));
    }
    let each = |batch: Duration| batch.as_nanos() as f64 / BATCH as f64;
    println!("uptime: {:.1} ns, a reading of the clock: {:.1} ns (fastest of many)", each(uptime), each(clock));
}

/// What is asked of a service that runs.
fn looks(pool: &ThreadPool) {
    let service = Service::new(until_told, |_| Ok(())).on_reload(|_| Ok(())).on(pool);
    service.start().expect("the pool is up");
    service.wait_started(PATIENCE).expect("it is called");
    row("is_running", LOOKS, || (0..LOOKS).for_each(|_| _ = black_box(black_box(&service).is_running())));
    beside_the_clock(&service);
    row("reload, of an empty function", TRIPS, || (0..TRIPS).for_each(|_| service.reload(PATIENCE).expect("it runs")));
    service.stop(PATIENCE).expect("it stops");
}

/// From outside of the pool, one after the other.
fn trips(pool: &ThreadPool) {
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    row("round trip to a strand, spawn and join", TRIPS, || {
        (0..TRIPS).for_each(|_| strand.spawn(|| ()).join().expect("it runs"));
    });
    row("a long-running task of the pool, spawn and join", TRIPS, || {
        (0..TRIPS).for_each(|_| {
            pool.task().traits(TaskTraits::default().long_running()).spawn(|| ()).join().expect("it runs");
        });
    });
    let instant = Service::new(|_| Ok(()), |_| Ok(())).on(pool);
    row("start and stop, of an empty function", TRIPS, || {
        (0..TRIPS).for_each(|_| {
            instant.start().expect("the pool is up");
            instant.stop(PATIENCE).expect("it stops");
        });
    });
    row("start and wait for its end, of an empty function", TRIPS, || {
        (0..TRIPS).for_each(|_| {
            instant.start().expect("the pool is up");
            instant.wait_stopped(PATIENCE).expect("it ends");
        });
    });
    let patient = Service::new(until_told, |_| Ok(())).on(pool);
    row("start, wait until it is called, stop by both functions", TRIPS, || {
        (0..TRIPS).for_each(|_| {
            patient.start().expect("the pool is up");
            patient.wait_started(PATIENCE).expect("it is called");
            patient.stop(PATIENCE).expect("it stops");
        });
    });
    row("restart, of what runs", TRIPS, || (0..TRIPS).for_each(|_| patient.restart(PATIENCE).expect("it runs")));
    patient.stop(PATIENCE).expect("it stops");
}

fn main() {
    let pool = ThreadPool::builder().workers(2).build().expect("threads can be started");
    looks(&pool);
    trips(&pool);
}
