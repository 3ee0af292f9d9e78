//! A full supervisor: who is refused, who gives its place to whom, and when the newcomer starts.
//!
//! ```text
//! cargo run --release --example eviction
//! ```
//!
//! Prints:
//!
//! ```text
//! backup was not taken: no place, and nobody of lower priority
//! alarm is taken, and waits
//! thumbnails: the half picture is thrown away
//! alarm: in the place of thumbnails
//! thumbnails: evicted
//! alarm: completed
//! backup: completed, in a place more
//! index: cancelled
//! ```

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Outcome, SubmitError, Supervisor, TaskContext, TaskSpec, TaskStatus, ThreadPool};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).capacity(2).build()?;

    let (tidy_up, tidied_up) = mpsc::channel::<()>();
    let thumbnails = TaskSpec::blocking("thumbnails", move |cx: &TaskContext| {
        cx.ready();
        cx.token().wait();
        // It has its place until it returns.
        let _ = tidied_up.recv();
        println!("thumbnails: the half picture is thrown away");
        Ok(())
    });
    let thumbnails = supervisor.submit(thumbnails.priority(1))?;
    let index = TaskSpec::blocking("index", |cx: &TaskContext| {
        cx.ready();
        cx.token().wait();
        Ok(())
    });
    let index = supervisor.submit(index.priority(2))?;
    thumbnails.wait_ready(Duration::from_secs(60))?;
    index.wait_ready(Duration::from_secs(60))?;

    // As important as the least important is not more important: the spec comes back.
    let backup = TaskSpec::blocking("backup", |_| Ok(())).priority(1);
    let Err(SubmitError::Full(backup)) = supervisor.submit(backup) else { panic!("there is no place") };
    println!("backup was not taken: no place, and nobody of lower priority");

    let alarm = TaskSpec::blocking("alarm", |_: &TaskContext| {
        println!("alarm: in the place of thumbnails");
        Ok(())
    });
    let alarm = supervisor.submit(alarm.priority(10))?;
    assert_eq!(alarm.status(), TaskStatus::Queued);
    println!("alarm is taken, and waits");
    tidy_up.send(())?;
    let (evicted, rang) = (thumbnails.outcome().join()?, alarm.outcome().join()?);
    assert!(matches!(evicted, Outcome::Evicted) && rang.is_completed());
    println!("thumbnails: {evicted}\nalarm: {rang}");

    // More places, while it runs.
    supervisor.set_capacity(3);
    println!("backup: {}, in a place more", supervisor.submit(backup)?.outcome().join()?);

    assert!(index.is_alive(), "it was more important than thumbnails");
    assert!(index.cancel());
    println!("index: {}", index.outcome().join()?);
    let stats = supervisor.stats();
    assert_eq!((stats.submitted, stats.evicted, stats.completed), (4, 1, 2));
    Ok(())
}
