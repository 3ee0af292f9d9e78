//! W8: bytes per strand and per queued task.
//!
//! Two figures each: heap as asked of the allocator (the design), and resident memory (what the machine pays: malloc's
//! headers, blocks kept for later, pages touched). The worker is at rest while they are read. No warm-up but
//! one task: memory that it freed would be used again and not show.

use std::fs;
use std::sync::{Arc, Barrier};

use crate::allocator;
use crate::contender::Contender;
use crate::sample::{Metric, Reading};
use crate::stopwatch::Counter;
use crate::workload::strand_of;

/// Counts the tasks here: a static, so that a task captures nothing for it.
static RAN: Counter = Counter::new();

/// Bytes per strand that never had a task.
pub(crate) fn idle_strands<C: Contender>(pool: &'static C, count: u64) -> Vec<Reading> {
    settle(pool);
    let before = Footprint::now();
    let strands = make_strands(pool, count);
    let readings = before.growth_per(count);
    std::mem::forget(strands);
    readings
}

/// Bytes per strand that ran one task and is idle again.
pub(crate) fn used_strands<C: Contender>(pool: &'static C, count: u64) -> Vec<Reading> {
    settle(pool);
    let before = Footprint::now();
    let strands = make_strands(pool, count);
    strands.iter().for_each(|strand| C::post_strand(strand, || RAN.tick()));
    RAN.wait_for(count);
    settle(pool);
    let readings = before.growth_per(count);
    std::mem::forget(strands);
    readings
}

/// The strands, at rest: where each is a task that has to start, it has started. Their handles count as part of them.
fn make_strands<C: Contender>(pool: &C, count: u64) -> Vec<C::Strand> {
    let mut strands = Vec::with_capacity(count as usize);
    strands.extend((0..count).map(|_| strand_of(pool)));
    settle(pool);
    strands
}

/// Waits for a task on a strand made now: the single worker got through all that came before.
fn settle<C: Contender>(pool: &C) {
    let done = Arc::new(Barrier::new(2));
    let strand = strand_of(pool);
    let arrival = Arc::clone(&done);
    C::post_strand(&strand, move || {
        arrival.wait();
    });
    done.wait();
    std::mem::forget(strand);
}

/// Bytes per task that waits in the pool.
pub(crate) fn queued_in_pool<C: Contender>(pool: &'static C, tasks: u64, captured: usize) -> Vec<Reading> {
    let gate = Gate::new();
    pool.post(gate.task());
    gate.wait_until_shut();
    if captured == 0 { queue(tasks, || pool.post(|| RAN.tick())) } else { queue(tasks, || pool.post(payload_task())) }
}

/// Bytes per task that waits in a strand.
pub(crate) fn queued_in_strand<C: Contender>(pool: &'static C, tasks: u64, captured: usize) -> Vec<Reading> {
    let strand = strand_of(pool);
    let gate = Gate::new();
    C::post_strand(&strand, gate.task());
    gate.wait_until_shut();
    if captured == 0 {
        queue(tasks, || C::post_strand(&strand, || RAN.tick()))
    } else {
        queue(tasks, || C::post_strand(&strand, payload_task()))
    }
}

/// A task that captures 24 bytes.
fn payload_task() -> impl FnOnce() + Send + 'static {
    let payload = [1_u64; 3];
    let task = move || {
        std::hint::black_box(payload);
        RAN.tick();
    };
    assert_eq!(size_of_val(&task), 24, "the cell says so");
    task
}

/// The growth per task while the only worker stands at the gate. It is never opened: the process ends with the sample.
fn queue(tasks: u64, post: impl Fn()) -> Vec<Reading> {
    let before = Footprint::now();
    (0..tasks).for_each(|_| post());
    before.growth_per(tasks)
}

/// Holds the single worker.
struct Gate {
    shut: Arc<Barrier>,
}

impl Gate {
    fn new() -> Self {
        Self { shut: Arc::new(Barrier::new(2)) }
    }

    /// A task that never returns.
    fn task(&self) -> impl FnOnce() + Send + 'static {
        let shut = Arc::clone(&self.shut);
        move || {
            shut.wait();
            loop {
                std::thread::park();
            }
        }
    }

    /// Returns once the worker stands at the gate.
    fn wait_until_shut(&self) {
        self.shut.wait();
    }
}

/// The memory of this process at one moment.
struct Footprint {
    heap: i64,
    resident: i64,
}

impl Footprint {
    /// Reads both figures; counts the heap from the first call on.
    fn now() -> Self {
        allocator::count();
        // The text of the file is on the heap: read it before the heap is.
        let resident = resident();
        Self { heap: allocator::live(), resident }
    }

    /// What came since then, per item.
    fn growth_per(&self, items: u64) -> Vec<Reading> {
        let now = Self::now();
        let per_item = |bytes: i64| bytes as f64 / items as f64;
        vec![
            Reading::new(Metric::Heap, per_item(now.heap - self.heap)),
            Reading::new(Metric::Resident, per_item(now.resident - self.resident)),
        ]
    }
}

/// Resident memory in bytes. From `smaps_rollup`, which counts pages; the counters behind `status` and `statm` may lag.
fn resident() -> i64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells a process its own memory");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("there is a line `Rss:`");
    let kibibytes: i64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kibibytes * 1024
}
