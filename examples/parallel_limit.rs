//! At most two at once: a parallel runner bounds how much of its work runs at the same time.
//!
//! ```text
//! cargo run --release --example parallel_limit
//! ```
//!
//! Prints:
//!
//! ```text
//! 20 pages fetched, never more than 2 at once
//! 40 in all, the later ones never more than 4 at once
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overstrand::{ParallelTaskRunner, TaskTraits, ThreadPool};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(4).build()?;
    let fetcher = pool.create_parallel_task_runner(TaskTraits::default().may_block(), 2)?;
    let most = fetch(&fetcher, 20)?;
    assert!(most <= 2, "{most} at once");
    println!("{} pages fetched, never more than {} at once", fetcher.stats().ran, fetcher.max_concurrency());

    fetcher.set_max_concurrency(4)?;
    let most = fetch(&fetcher, 20)?;
    assert!(most <= 4, "{most} at once");
    println!("{} in all, the later ones never more than {} at once", fetcher.stats().ran, fetcher.max_concurrency());
    Ok(())
}

/// Fetches so many pages; the most that were fetched at the same time.
fn fetch(fetcher: &ParallelTaskRunner, pages: u64) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for page in 0..pages {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        fetcher.post_task(move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::hint::black_box((0..page * 1_000).sum::<u64>());
            now.fetch_sub(1, Ordering::SeqCst);
        })?;
    }
    fetcher.flush()?;
    Ok(most.load(Ordering::SeqCst))
}
