//! Tasks that need each other: started in order, restarted with those that depend on them, stopped in reverse.
//!
//! ```text
//! cargo run --release --example ordered_groups
//! ```
//!
//! Prints:
//!
//! ```text
//! store up, run 1
//! cache up, run 1
//! server up, run 1
//! cache: the disk is full
//! server down
//! cache up, run 2
//! server up, run 2
//! shutdown
//! server down
//! cache down
//! store down
//! app: cancelled
//! ```

use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use overstrand::{Backoff, Exhausted, Strategy, Supervisor, TaskContext, TaskResult, TaskSpec, ThreadPool};

/// Is up until it is told to stop.
fn serve(cx: &TaskContext) -> TaskResult {
    println!("{} up, run {}", cx.name(), cx.generation());
    // The next one of the group starts.
    cx.ready();
    cx.token().wait();
    println!("{} down", cx.name());
    Ok(())
}

/// Fails once, when it is told.
fn cache(break_it: Receiver<()>) -> TaskSpec {
    TaskSpec::blocking("cache", move |cx: &TaskContext| {
        if cx.generation() > 1 {
            return serve(cx);
        }
        println!("cache up, run 1");
        cx.ready();
        let _ = break_it.recv();
        println!("cache: the disk is full");
        Err("the disk is full".into())
    })
}

fn server(up: Sender<u64>) -> TaskSpec {
    TaskSpec::blocking("server", move |cx: &TaskContext| {
        println!("server up, run {}", cx.generation());
        cx.ready();
        up.send(cx.generation())?;
        cx.token().wait();
        println!("server down");
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).backoff(Backoff::constant(Duration::from_millis(1))).build()?;
    let (break_it, breaks) = mpsc::channel();
    let (up, is_up) = mpsc::channel();

    // The server needs the cache, and both need the store.
    let parts = [TaskSpec::blocking("store", serve), cache(breaks), server(up)];
    let app = TaskSpec::group("app", Strategy::RestForOne, parts);
    // More than three restarts in a minute, and the whole has failed.
    let app = supervisor.submit(app.intensity(3, Duration::from_secs(60), Exhausted::GiveUp))?;
    assert_eq!(is_up.recv()?, 1);

    break_it.send(())?;
    assert_eq!(is_up.recv()?, 2, "after the cache, which is after the store");
    let runs: Vec<_> = supervisor.tasks().iter().map(|task| (task.name.to_string(), task.generation)).collect();
    assert!(runs.contains(&("store".into(), 1)), "nothing that it needs has failed");
    assert!(runs.contains(&("cache".into(), 2)));

    println!("shutdown");
    assert!(supervisor.shutdown()?.stuck.is_empty());
    println!("app: {}", app.outcome().join()?);
    Ok(())
}
