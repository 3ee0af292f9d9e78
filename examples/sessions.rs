//! Sessions that end after a time without a sign of life: state with one owner, and delays that are cancelled and renewed.
//!
//! ```text
//! cargo run --release --example sessions
//! ```
//!
//! Prints:
//!
//! ```text
//! ann came
//! bob came
//! ann is still here
//! bob has left
//! ann has left
//! ```
//!
//! The same code is tested over a virtual day in `tests/env/day.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overstrand::{DelayedTaskHandle, SequencedTaskRunner, TaskTraits, ThreadPool};

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Came(String),
    StillHere(String),
    Left(String),
}

/// Who is here. Everything happens on one strand, so the lock is never waited for: it only lends the table to one task after the other.
#[derive(Clone)]
pub(crate) struct Sessions {
    strand: SequencedTaskRunner,
    idle: Duration,
    ends: Arc<Mutex<HashMap<String, DelayedTaskHandle>>>,
    events: mpsc::Sender<Event>,
}

impl Sessions {
    pub(crate) fn new(pool: &ThreadPool, idle: Duration, events: mpsc::Sender<Event>) -> Self {
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        Self { strand, idle, ends: Arc::default(), events }
    }

    /// A sign of life.
    pub(crate) fn touch(&self, user: &str) {
        let (this, user) = (self.clone(), user.to_owned());
        let _ = self.strand.post_task(move || this.renew(user));
    }

    fn renew(&self, user: String) {
        let (this, leaving) = (self.clone(), user.clone());
        let Ok(end) = self.strand.post_delayed_task(self.idle, move || this.end(leaving)) else { return };
        let before = self.ends.lock().expect("no panic inside").insert(user.clone(), end);
        let was_here = before.is_some_and(|before| before.cancel());
        let _ = self.events.send(if was_here { Event::StillHere(user) } else { Event::Came(user) });
    }

    fn end(&self, user: String) {
        self.ends.lock().expect("no panic inside").remove(&user);
        let _ = self.events.send(Event::Left(user));
    }
}

#[cfg_attr(test, expect(dead_code, reason = "tests use the rest of this file"))]
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let (events, happened) = mpsc::channel();
    let sessions = Sessions::new(&pool, Duration::from_millis(60), events);
    sessions.touch("ann");
    sessions.touch("bob");
    let again = sessions.clone();
    pool.post_delayed_task(Duration::from_millis(30), move || again.touch("ann"))?;
    drop(sessions);
    for event in happened.iter().take(5) {
        match event {
            Event::Came(user) => println!("{user} came"),
            Event::StillHere(user) => println!("{user} is still here"),
            Event::Left(user) => println!("{user} has left"),
        }
    }
    Ok(())
}
