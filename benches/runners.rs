//! What the runners cost beside the plainest thing that does the same: interleaved rounds, medians, ratios.
//!
//! ```text
//! cargo bench --bench runners
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use overstrand::{
    ParallelTaskRunner, SequenceBound, SequencedTaskRunner, SingleThreadTaskRunner, TaskTraits, ThreadMode, ThreadPool,
};

const ROUNDS: usize = 15;
const POSTS: usize = 100_000;
const TRIPS: usize = 2_000;

type Job = Box<dyn FnOnce() + Send>;

/// A thread at the end of a channel: what a single-thread runner is measured against.
fn channel_worker() -> crossbeam_channel::Sender<Job> {
    let (send, take) = crossbeam_channel::unbounded::<Job>();
    std::thread::spawn(move || take.iter().for_each(|job| job()));
    send
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(f: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    f();
    begun.elapsed()
}

/// Posts so many tasks, and waits until the last one has counted.
fn drain(posts: usize, post: impl Fn(Arc<AtomicUsize>)) {
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..posts {
        post(Arc::clone(&done));
    }
    while done.load(Ordering::Acquire) < posts {
        std::thread::yield_now();
    }
}

fn count(done: Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
    move || _ = done.fetch_add(1, Ordering::Release)
}

struct Row {
    name: &'static str,
    goal: f64,
    per: usize,
    ours: Box<dyn Fn()>,
    other: Box<dyn Fn()>,
}

fn rows(pool: &ThreadPool) -> Vec<Row> {
    let traits = TaskTraits::default();
    let seq: SequencedTaskRunner = pool.create_sequenced_task_runner(traits);
    let parallel: ParallelTaskRunner = pool.create_parallel_task_runner(traits, 2).expect("valid");
    let ui: SingleThreadTaskRunner =
        pool.create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread");
    let worker = channel_worker();
    let state = SequenceBound::new(&seq, 0_usize);
    let (a_pool, a_worker, strand, replies) = (pool.clone(), worker.clone(), seq.clone(), seq.clone());
    let posts = |name, goal, ours, other| Row { name, goal, per: POSTS, ours, other };
    vec![
        posts(
            "parallel runner, post and run / the pool's own post",
            1.3,
            Box::new(move || drain(POSTS, |done| parallel.post_task(count(done)).map_err(drop).expect("open"))),
            Box::new(move || drain(POSTS, |done| a_pool.post_task(count(done)).map_err(drop).expect("open"))),
        ),
        posts(
            "single-thread runner, post and run / a thread at a crossbeam channel",
            1.1,
            Box::new(move || drain(POSTS, |done| ui.post_task(count(done)).map_err(drop).expect("open"))),
            Box::new(move || drain(POSTS, |done| worker.send(Box::new(count(done))).expect("open"))),
        ),
        posts(
            "post and reply / two posts to a strand",
            1.0,
            Box::new(move || {
                let origin = replies.clone();
                let own = replies.clone();
                drain(POSTS, move |done| {
                    own.post_task_and_reply_on(&origin, || (), count(done)).map_err(drop).expect("open");
                });
            }),
            Box::new(move || {
                let (first, second) = (strand.clone(), strand.clone());
                drain(POSTS, move |done| {
                    let next = second.clone();
                    let task = move || next.post_task(count(done)).map_err(drop).expect("open");
                    first.post_task(task).map_err(drop).expect("open");
                });
            }),
        ),
        Row {
            name: "SequenceBound::call(..).join() / a round trip to a thread at a crossbeam channel",
            goal: 1.2,
            per: TRIPS,
            ours: Box::new(move || {
                (0..TRIPS).for_each(|_| state.call(|state| *state += 1).join().expect("it runs"));
            }),
            other: Box::new(move || {
                for _ in 0..TRIPS {
                    let (tell, told) = mpsc::sync_channel(1);
                    a_worker.send(Box::new(move || _ = tell.send(()))).expect("open");
                    told.recv().expect("it runs");
                }
            }),
        },
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let pool = ThreadPool::builder().workers(1).build().expect("threads");
    for row in rows(&pool) {
        let (mut ours, mut other, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (mine, theirs) = (timed(&row.ours), timed(&row.other));
            let each = |time: Duration| time.as_nanos() as f64 / row.per as f64;
            ours.push(each(mine));
            other.push(each(theirs));
            ratios.push(each(mine) / each(theirs));
        }
        let ratio = median(ratios);
        println!(
            "{}: {:.0} ns / {:.0} ns, ratio {ratio:.2} (goal {:.1}), {}",
            row.name,
            median(ours),
            median(other),
            row.goal,
            if ratio <= row.goal { "kept" } else { "missed" }
        );
    }
}
