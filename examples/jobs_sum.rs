//! A job: one body that as many workers run at once as there is work for. Here it sums a list whose second half is added while the first is summed.
//!
//! ```text
//! cargo run --release --example jobs_sum
//! ```
//!
//! Prints (how many took part depends on the machine):
//!
//! ```text
//! the sum of 2000000 numbers is 1999999000000
//! 3 workers took part, the calling thread among them
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use overstrand::{TaskTraits, ThreadPool};

const CHUNK: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let chunks = Arc::new(AtomicUsize::new(1_000));
    let (next, sum) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    // One place per worker number: nobody else touches it meanwhile, so the lock is never waited for.
    let taken: Arc<[Mutex<u64>; 64]> = Arc::new(std::array::from_fn(|_| Mutex::new(0)));

    let (all, first, total, of_worker) = (Arc::clone(&chunks), Arc::clone(&next), Arc::clone(&sum), Arc::clone(&taken));
    let left = {
        let (all, first) = (Arc::clone(&all), Arc::clone(&first));
        move || all.load(Ordering::SeqCst).saturating_sub(first.load(Ordering::SeqCst))
    };
    let job = pool.post_job(
        TaskTraits::user_visible(),
        move |workers| left() + workers,
        move |delegate| {
            while !delegate.should_yield() {
                let less = |next: usize| (next < all.load(Ordering::SeqCst)).then_some(next + 1);
                let Ok(chunk) = first.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) else { break };
                let part: u64 = (chunk * CHUNK..(chunk + 1) * CHUNK).map(|number| number as u64).sum();
                total.fetch_add(part, Ordering::Relaxed);
                if let Ok(mut chunks) = of_worker[delegate.worker_id()].lock() {
                    *chunks += 1;
                }
            }
        },
    );

    // More work: the job is told, since nobody asks otherwise.
    chunks.fetch_add(1_000, Ordering::SeqCst);
    job.notify();
    // Who waits works along.
    job.join()?;

    let numbers = chunks.load(Ordering::SeqCst) * CHUNK;
    println!("the sum of {numbers} numbers is {}", sum.load(Ordering::Relaxed));
    let workers = taken.iter().filter(|chunks| chunks.lock().is_ok_and(|chunks| *chunks > 0)).count();
    println!("{workers} workers took part, the calling thread among them");
    assert_eq!(sum.load(Ordering::Relaxed), 1_999_999_000_000);
    Ok(())
}
