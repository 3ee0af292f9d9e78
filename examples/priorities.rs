//! Urgent work overtakes what waits, and what nobody waits for still gets its turn.
//!
//! ```text
//! cargo run --release --example priorities
//! ```
//!
//! With one worker the order is exact. Prints:
//!
//! ```text
//! [UserBlocking, UserBlocking, UserVisible, UserVisible, BestEffort, BestEffort]
//! best effort ran after 60 urgent tasks
//! ```

use std::sync::mpsc;

use overstrand::{Priority, TaskTraits, ThreadPool};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(1).build()?;
    println!("{:?}", order_of_classes(&pool)?);

    let (pool, ran) = (ThreadPool::builder().workers(1).build()?, mpsc::channel());
    let gate = hold(&pool)?;
    let tell = ran.0.clone();
    pool.post_task_with(TaskTraits::best_effort(), move || _ = tell.send(Priority::BestEffort))?;
    for _ in 0..200 {
        let tell = ran.0.clone();
        pool.post_task_with(TaskTraits::user_blocking(), move || _ = tell.send(Priority::UserBlocking))?;
    }
    drop(gate);
    let before = ran.1.iter().take_while(|priority| *priority == Priority::UserBlocking).count();
    println!("best effort ran after {} urgent tasks", before + 1);
    Ok(())
}

/// Keeps the worker busy until the sender is dropped.
fn hold(pool: &ThreadPool) -> Result<mpsc::Sender<()>, overstrand::Error> {
    let (gate, opened) = mpsc::channel::<()>();
    pool.post_task_with(TaskTraits::user_blocking(), move || _ = opened.recv())?;
    Ok(gate)
}

/// Posts the least urgent tasks first and looks in which order they run.
fn order_of_classes(pool: &ThreadPool) -> Result<Vec<Priority>, Box<dyn std::error::Error + Send + Sync>> {
    let gate = hold(pool)?;
    let (tell, ran) = mpsc::channel();
    for priority in [Priority::BestEffort, Priority::UserVisible, Priority::UserBlocking] {
        for _ in 0..2 {
            let tell = tell.clone();
            pool.post_task_with(priority.into(), move || _ = tell.send(priority))?;
        }
    }
    drop((gate, tell));
    Ok(ran.iter().collect())
}
