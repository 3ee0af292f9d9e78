//! Metrics from events, the same from counters, and a subscriber that is too slow: it loses events, and knows how many.
//!
//! ```text
//! cargo run --release --example events_metrics
//! ```
//!
//! Prints:
//!
//! ```text
//! 6 started
//! 3 succeeded
//! 3 failed
//! 2 retrying
//! 3 completed
//! 1 failed for good
//! the slow one: each event is seen, or counted as lost
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Backoff, Event, EventKind, Fatal, Subscribe, Supervisor, TaskContext, TaskSpec, ThreadPool};

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How often what happened.
struct Metrics {
    counts: BTreeMap<String, u64>,
    send: mpsc::Sender<BTreeMap<String, u64>>,
}

impl Subscribe for Metrics {
    fn on_event(&mut self, event: &Event) {
        let what = match &event.kind {
            EventKind::Started => "started".into(),
            EventKind::Succeeded { .. } => "succeeded".into(),
            EventKind::Failed { .. } => "failed".into(),
            EventKind::Retrying { .. } => "retrying".into(),
            EventKind::Finished { outcome } => outcome.to_string(),
            // The last event of a supervisor that is shut down and has nobody left.
            EventKind::AllStopped => {
                let _ = self.send.send(std::mem::take(&mut self.counts));
                return;
            }
            _ => return,
        };
        *self.counts.entry(what).or_default() += 1;
    }
}

/// What is watched: two files at the first attempt, one at the third attempt, one never.
fn convert_files(supervisor: &Supervisor) -> AnyResult {
    let convert = |file: &'static str, good_from: u32| {
        TaskSpec::blocking(file, move |cx: &TaskContext| match good_from {
            0 => Err(Fatal::new("not a picture").into()),
            from if cx.attempt() < from => Err("busy".into()),
            _ => Ok(()),
        })
    };
    let files = [convert("a.png", 1), convert("b.png", 3), convert("c.txt", 0), convert("d.png", 1)];
    let outcomes = supervisor.run(files)?;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_completed()).count(), 3);
    Ok(())
}

fn metrics(pool: &ThreadPool) -> AnyResult {
    let supervisor = Supervisor::builder(pool).backoff(Backoff::constant(Duration::from_millis(1))).build()?;
    let (send, counted) = mpsc::channel();
    let subscription = supervisor.subscribe(Metrics { counts: BTreeMap::new(), send });
    convert_files(&supervisor)?;
    supervisor.shutdown()?;
    let counts = counted.recv()?;
    for what in ["started", "succeeded", "failed", "retrying", "completed", "failed for good"] {
        println!("{} {what}", counts[what]);
    }
    // Who only wants totals asks for them.
    let stats = supervisor.stats();
    assert_eq!((stats.submitted, stats.completed, stats.failed, stats.retried), (4, 3, 1, 2));
    drop(subscription);
    Ok(())
}

fn slow_subscriber(pool: &ThreadPool) -> AnyResult {
    let supervisor = Supervisor::builder(pool).event_capacity(4).build()?;
    let (wake, woken) = mpsc::channel::<()>();
    let (send, seen) = mpsc::channel();
    let slow = supervisor.subscribe(move |event: &Event| {
        let (seq, is_end) = (event.seq, matches!(event.kind, EventKind::AllStopped));
        let lost = if let EventKind::SubscriberOverflow { lost } = event.kind { lost } else { 0 };
        let _ = send.send((seq, lost, is_end));
        // The first event takes until all is over. Nobody waits for that but this subscriber.
        let _ = woken.recv();
    });
    supervisor.run((0..10).map(|n| TaskSpec::blocking(format!("task {n}"), |_| Ok(()))))?;
    supervisor.shutdown()?;
    drop(wake);

    let (mut calls, mut lost, mut overflows, mut last) = (0, 0, 0, 0);
    for (seq, missed, is_end) in seen {
        calls += 1;
        lost += missed;
        overflows += u64::from(missed > 0);
        last = seq;
        if is_end {
            break;
        }
    }
    assert_eq!(calls - overflows + lost, last, "each number once, seen or lost");
    assert!(lost > 0);
    println!("the slow one: each event is seen, or counted as lost");
    drop(slow);
    Ok(())
}

fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    metrics(&pool)?;
    slow_subscriber(&pool)
}
