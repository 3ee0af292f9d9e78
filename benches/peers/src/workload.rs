//! The timed workloads W1–W5. Each is one function over any [`Contender`]; see the front page for what is timed.
//!
//! What a task captures: the counter (8 bytes), and where it posts again, the handle and what is left (24 bytes in all).

use std::sync::Barrier;
use std::thread;

use crate::cell::{Cell, Workload};
use crate::contender::Contender;
use crate::sample::Reading;
use crate::stopwatch::{Counter, Stopwatch};
use crate::{cold, memory};

/// Tasks that a child runs before it measures.
const WARM_UP: u64 = 10_000;

/// Runs one sample of the cell in this process.
pub(crate) fn measure<C: Contender>(cell: Cell, scale: f64) -> Vec<Reading> {
    let ops = cell.ops(scale);
    let pool: &'static C = Box::leak(Box::new(C::build(cell.workers)));
    match cell.workload {
        Workload::Outside => outside(pool, cell.producers, ops),
        Workload::FanOut => fan_out(pool, ops),
        Workload::OneStrand => strands(pool, 1, cell.producers, ops),
        Workload::ManyStrands(count) => strands(pool, count, cell.producers, ops),
        Workload::PingPong => ping_pong(pool, ops),
        Workload::Chain => chain(pool, ops),
        Workload::ColdPool => cold::pool(pool, ops),
        Workload::ColdStrand => cold::strand(pool, ops),
        Workload::IdleStrand => memory::idle_strands(pool, ops),
        Workload::UsedStrand => memory::used_strands(pool, ops),
        Workload::QueuedInPool(bytes) => memory::queued_in_pool(pool, ops, bytes),
        Workload::QueuedInStrand(bytes) => memory::queued_in_strand(pool, ops, bytes),
    }
}

/// W1: the producers post to the pool.
fn outside<C: Contender>(pool: &'static C, producers: usize, ops: u64) -> Vec<Reading> {
    warm_up_pool(pool);
    let counter = Counter::leak();
    produce(producers, ops, counter, |_producer, _n| pool.post(move || counter.tick()))
}

/// W3 and W4: the producers post to the strands in turn, each producer starting at another strand.
fn strands<C: Contender>(pool: &'static C, count: usize, producers: usize, ops: u64) -> Vec<Reading> {
    let strands: Vec<C::Strand> = (0..count).map(|_| strand_of(pool)).collect();
    warm_up_strand(pool);
    let counter = Counter::leak();
    let offset = count / producers;
    produce(producers, ops, counter, |producer, n| {
        let strand = &strands[(producer * offset + n as usize) % count];
        C::post_strand(strand, move || counter.tick());
    })
}

/// Has the producers call `post` `ops` times in all, and waits until as many tasks ran. The calling thread is the first
/// producer.
fn produce(producers: usize, ops: u64, counter: &Counter, post: impl Fn(usize, u64) + Sync) -> Vec<Reading> {
    let share = ops / producers as u64;
    let gate = Barrier::new(producers);
    let stopwatch = thread::scope(|scope| {
        let (gate, post) = (&gate, &post);
        for producer in 1..producers {
            scope.spawn(move || {
                gate.wait();
                (0..share).for_each(|n| post(producer, n));
            });
        }
        gate.wait();
        let stopwatch = Stopwatch::start();
        (0..share).for_each(|n| post(0, n));
        stopwatch
    });
    let posted = share * producers as u64;
    counter.wait_for(posted);
    stopwatch.per_op(posted)
}

/// W2: a binary tree of tasks, as deep as `ops` allows.
fn fan_out<C: Contender>(pool: &'static C, ops: u64) -> Vec<Reading> {
    warm_up_pool(pool);
    let counter = Counter::leak();
    let levels = ops.ilog2();
    let tasks = (1 << levels) - 1;
    let stopwatch = Stopwatch::start();
    post_tree(pool, counter, levels);
    counter.wait_for(tasks);
    stopwatch.per_op(tasks)
}

/// Posts a task that posts two smaller trees.
fn post_tree<C: Contender>(pool: &'static C, counter: &'static Counter, levels: u32) {
    pool.post(move || {
        counter.tick();
        if levels > 1 {
            post_tree(pool, counter, levels - 1);
            post_tree(pool, counter, levels - 1);
        }
    });
}

/// W5: one task at a time, which posts the next one to the other strand.
fn ping_pong<C: Contender>(pool: &'static C, hops: u64) -> Vec<Reading> {
    let pair: &'static [C::Strand; 2] = Box::leak(Box::new([strand_of(pool), strand_of(pool)]));
    warm_up_strand(pool);
    let counter = Counter::leak();
    let stopwatch = Stopwatch::start();
    post_hop::<C>(pair, counter, hops);
    counter.wait_for(hops);
    stopwatch.per_op(hops)
}

/// Posts a hop, after which `left - 1` are left.
fn post_hop<C: Contender>(pair: &'static [C::Strand; 2], counter: &'static Counter, left: u64) {
    let strand = &pair[(left % 2) as usize];
    C::post_strand(strand, move || {
        counter.tick();
        if left > 1 {
            post_hop::<C>(pair, counter, left - 1);
        }
    });
}

/// W5: one task of the pool at a time, which posts the next one.
fn chain<C: Contender>(pool: &'static C, hops: u64) -> Vec<Reading> {
    warm_up_pool(pool);
    let counter = Counter::leak();
    let stopwatch = Stopwatch::start();
    post_link(pool, counter, hops);
    counter.wait_for(hops);
    stopwatch.per_op(hops)
}

/// Posts a link of the chain, after which `left - 1` are left.
fn post_link<C: Contender>(pool: &'static C, counter: &'static Counter, left: u64) {
    pool.post(move || {
        counter.tick();
        if left > 1 {
            post_link(pool, counter, left - 1);
        }
    });
}

/// A strand of a contender that said it supports the cell.
pub(crate) fn strand_of<C: Contender>(pool: &C) -> C::Strand {
    pool.strand().expect("`supports` says that there are strands")
}

/// Runs tasks on the pool, so that its threads and its memory are there.
pub(crate) fn warm_up_pool<C: Contender>(pool: &C) {
    let counter = Counter::leak();
    (0..WARM_UP).for_each(|_| pool.post(move || counter.tick()));
    counter.wait_for(WARM_UP);
}

/// The same on a strand that is not measured. Made last, it also lets the strands made before it settle, where each of them
/// is a task that has to start.
pub(crate) fn warm_up_strand<C: Contender>(pool: &C) {
    let counter = Counter::leak();
    let strand = strand_of(pool);
    (0..WARM_UP).for_each(|_| C::post_strand(&strand, move || counter.tick()));
    counter.wait_for(WARM_UP);
    // WHY: dropping it here could end a task in the middle of the measurement.
    std::mem::forget(strand);
}
