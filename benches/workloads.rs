//! The workloads W1 to W5, ours alone, for finding regressions; `benches/peers` compares with other pools.
//!
//! ```text
//! cargo bench --bench workloads
//! ```
//!
//! Each sample posts a fixed number of tasks and waits until they ran; the figure is the time for all of them. The body of a task is one relaxed atomic add.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use overstrand::{SequencedTaskRunner, TaskTraits, ThreadPool};

const TASKS: u64 = 20_000;

fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(workers).build().expect("threads can be started")
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Runs a workload with one and with two workers.
fn each_width(criterion: &mut Criterion, name: &str, mut run: impl FnMut(&mut Group<'_>, &str, ThreadPool)) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(TASKS)).sample_size(20);
    for workers in [1, 2] {
        run(&mut group, &format!("{workers} workers"), pool(workers));
    }
    group.finish();
}

/// W1: posts from outside to the pool.
fn outside(criterion: &mut Criterion) {
    each_width(criterion, "W1 posts from outside", |group, id, pool| {
        let count = Arc::new(AtomicU64::new(0));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                for _ in 0..TASKS {
                    let count = Arc::clone(&count);
                    pool.post_task(move || _ = count.fetch_add(1, Ordering::Relaxed)).expect("open");
                }
                pool.flush().expect("nothing is dropped");
            });
        });
    });
}

/// W2: each task posts two.
fn fan_out(criterion: &mut Criterion) {
    fn grow(pool: &ThreadPool, left: u64) {
        for half in [left / 2, left - left / 2].into_iter().filter(|half| *half > 0) {
            let inner = pool.clone();
            pool.post_task(move || grow(&inner, half - 1)).expect("open");
        }
    }
    each_width(criterion, "W2 fan-out from inside", |group, id, pool| {
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                grow(&pool, TASKS);
                pool.flush().expect("nothing is dropped");
            });
        });
    });
}

/// W3 and W4: posts to strands in turn.
fn strands(criterion: &mut Criterion) {
    for (name, strands) in [("W3 one strand", 1), ("W4 1000 strands", 1000)] {
        each_width(criterion, name, |group, id, pool| {
            let strands: Vec<_> =
                (0..strands).map(|_| pool.create_sequenced_task_runner(TaskTraits::default())).collect();
            let count = Arc::new(AtomicU64::new(0));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    for strand in strands.iter().cycle().take(TASKS as usize) {
                        let count = Arc::clone(&count);
                        strand.post_task(move || _ = count.fetch_add(1, Ordering::Relaxed)).expect("open");
                    }
                    pool.flush().expect("nothing is dropped");
                });
            });
        });
    }
}

/// W5: two strands that post to each other.
fn ping_pong(criterion: &mut Criterion) {
    fn hop(here: SequencedTaskRunner, there: SequencedTaskRunner, left: u64) {
        if left > 0 {
            let next = there.clone();
            next.post_task(move || hop(there, here, left - 1)).expect("open");
        }
    }
    each_width(criterion, "W5 ping-pong of two strands", |group, id, pool| {
        let (left, right) = (
            pool.create_sequenced_task_runner(TaskTraits::default()),
            pool.create_sequenced_task_runner(TaskTraits::default()),
        );
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                hop(left.clone(), right.clone(), TASKS);
                pool.flush().expect("nothing is dropped");
            });
        });
    });
}

criterion_group!(workloads, outside, fan_out, strands, ping_pong);
criterion_main!(workloads);
