//! W5c: lone posts to an idle pool. The wake-up is what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::sample::{Metric, Reading};
use crate::stopwatch::Stopwatch;
use crate::workload::{strand_of, warm_up_pool, warm_up_strand};

/// How long the pool is idle before each post.
const IDLE: Duration = Duration::from_millis(1);

/// How often a post that takes longer than `IDLE` is looked at.
const LOOK: Duration = Duration::from_micros(100);

/// Lone posts to the pool.
pub(crate) fn pool<C: Contender>(pool: &'static C, posts: u64) -> Vec<Reading> {
    warm_up_pool(pool);
    lone_posts(posts, |slot| {
        let posted = Instant::now();
        pool.post(move || slot.note(posted));
    })
}

/// Lone posts to one strand.
pub(crate) fn strand<C: Contender>(pool: &'static C, posts: u64) -> Vec<Reading> {
    let strand = strand_of(pool);
    warm_up_strand(pool);
    lone_posts(posts, |slot| {
        let posted = Instant::now();
        C::post_strand(&strand, move || slot.note(posted));
    })
}

/// Where a task leaves the nanoseconds from its post to its start; zero until then.
#[derive(Default)]
struct Slot(AtomicU64);

impl Slot {
    /// The task's body.
    fn note(&self, posted: Instant) {
        let nanos = posted.elapsed().as_nanos() as u64;
        // Relaxed: the number is all that is published.
        self.0.store(nanos.max(1), Ordering::Relaxed);
    }

    /// Waits for the number.
    fn take(&self) -> u64 {
        loop {
            // Relaxed: as in `note`.
            match self.0.swap(0, Ordering::Relaxed) {
                0 => thread::sleep(LOOK),
                nanos => return nanos,
            }
        }
    }
}

/// Posts one by one, each after a pause; the processor time of the pauses is in the figure, alike for everybody.
fn lone_posts(posts: u64, post: impl Fn(Arc<Slot>)) -> Vec<Reading> {
    let slot = Arc::<Slot>::default();
    thread::sleep(IDLE);
    let stopwatch = Stopwatch::start();
    let sample = |_| {
        post(Arc::clone(&slot));
        thread::sleep(IDLE);
        slot.take()
    };
    let mut nanos: Vec<u64> = (0..posts).map(sample).collect();
    let cpu = stopwatch.cpu();
    nanos.sort_unstable();
    let micros = |percent| nearest_rank(&nanos, percent) as f64 / 1e3;
    vec![
        Reading::new(Metric::StartP50, micros(50)),
        Reading::new(Metric::StartP99, micros(99)),
        Reading::new(Metric::PostCpu, cpu.as_nanos() as f64 / 1e3 / posts as f64),
    ]
}

/// The smallest value that this percentage of the sorted values does not exceed.
fn nearest_rank(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

#[cfg(test)]
mod tests {
    use super::nearest_rank;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(nearest_rank(&sorted, 50), 100);
        assert_eq!(nearest_rank(&sorted, 99), 198);
        assert_eq!(nearest_rank(&[7], 99), 7);
    }
}
