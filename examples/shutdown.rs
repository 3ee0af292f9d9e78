//! What shutdown means for each kind of task, and the report that names who would not stop.
//!
//! ```text
//! cargo run --release --example shutdown
//! ```
//!
//! Prints (how many were dropped varies, since the example posts until it is refused; so does the age):
//!
//! ```text
//! saved
//! 2 ran, 5 dropped
//! "poll the sensor" still runs after 31µs
//! not accepted any more: the pool is shut down
//! ```

use std::sync::mpsc;
use std::time::Duration;

use overstrand::{TaskTraits, ThreadPool};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let (release, released) = mpsc::channel::<()>();
    let (started, is_started) = mpsc::channel();
    let sensor = TaskTraits::default().continue_on_shutdown();
    let told = started.clone();
    pool.task().name("poll the sensor").traits(sensor).post(move || {
        let _ = told.send(());
        let _ = released.recv();
    })?;
    let (open, opened) = mpsc::channel::<()>();
    pool.post_task(move || {
        let _ = started.send(());
        let _ = opened.recv();
    })?;
    is_started.iter().take(2).for_each(drop);

    // Both workers are busy, so these wait.
    pool.post_task(|| println!("never printed"))?;
    pool.post_task_with(TaskTraits::default().block_shutdown(), || println!("saved"))?;
    let _unripe = pool.post_delayed_task(Duration::from_secs(3600), || println!("never printed"))?;

    let ending = pool.clone();
    let report = std::thread::spawn(move || ending.shutdown_timeout(Duration::from_secs(5)));
    while pool.post_task(|| ()).is_ok() {
        std::thread::yield_now();
    }
    drop(open);
    let report = report.join().expect("no panic")?;
    println!("{} ran, {} dropped", report.ran, report.dropped);
    for task in &report.stragglers {
        let name = task.name.as_deref().unwrap_or("?");
        println!("{name:?} still runs after {:?}", task.running_for);
    }
    if let Err(rejected) = pool.post_task(|| ()) {
        println!("not accepted any more: {}", rejected.reason());
    }
    drop(release);
    Ok(())
}
