//! How a child measures time and sees that the work is done: alike for every contender.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::sample::{Metric, Reading};

/// The shortest and the longest nap of a thread that waits for a counter.
const NAP_MIN: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_millis(5);

/// Counts the tasks that ran. On cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero that lives as long as the process, so that a task captures a plain reference.
    pub(crate) fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// A counter at zero.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The body of a task.
    #[inline(always)]
    pub(crate) fn tick(&self) {
        // Relaxed: only the number counts, nothing is published with it.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the counter shows `goal`.
    pub(crate) fn wait_for(&self, goal: u64) {
        let started = Instant::now();
        let at_start = self.read();
        loop {
            let now = self.read();
            if now >= goal {
                return;
            }
            thread::sleep(nap(started.elapsed(), now - at_start, goal - now));
        }
    }

    /// Tasks so far.
    fn read(&self) -> u64 {
        // Relaxed: as in `tick`.
        self.0.load(Ordering::Relaxed)
    }
}

/// Half of the time that the rest will take at the pace so far: few wake-ups that disturb the workers, and a late one of
/// less than 0.1 ms at the end.
fn nap(elapsed: Duration, done: u64, left: u64) -> Duration {
    if done == 0 {
        return NAP_MIN;
    }
    elapsed.mul_f64(left as f64 / (2.0 * done as f64)).clamp(NAP_MIN, NAP_MAX)
}

/// Wall and processor time since its start.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        Self { cpu: process_cpu(), wall: Instant::now() }
    }

    /// Both times since the start, in nanoseconds per operation.
    pub(crate) fn per_op(&self, ops: u64) -> Vec<Reading> {
        let wall = self.wall.elapsed();
        let per_op = |time: Duration| time.as_nanos() as f64 / ops as f64;
        vec![Reading::new(Metric::Wall, per_op(wall)), Reading::new(Metric::Cpu, per_op(self.cpu()))]
    }

    /// Processor time since the start: user and system, of all threads of the process.
    pub(crate) fn cpu(&self) -> Duration {
        process_cpu().saturating_sub(self.cpu)
    }
}

/// Processor time of this process so far.
fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::{Duration, NAP_MAX, NAP_MIN, nap};

    #[test]
    fn nap_is_half_of_the_expected_rest_within_its_bounds() {
        let elapsed = Duration::from_millis(4);
        assert_eq!(nap(elapsed, 0, 10), NAP_MIN);
        assert_eq!(nap(elapsed, 100, 50), Duration::from_millis(1));
        assert_eq!(nap(elapsed, 1, 1_000), NAP_MAX);
        assert_eq!(nap(elapsed, 1_000, 1), NAP_MIN);
    }
}
