//! The operator's console: add, list, find, pause, resume, change the priority, restart, cancel, while tasks run.
//!
//! ```text
//! cargo run --release --example runtime_control
//! ```
//!
//! Prints:
//!
//! ```text
//! > add mail
//!   mail 0 submitted
//!   mail 0 admitted
//!   mail 1 started
//! > a letter
//!   mail 1 succeeded
//!   mail 2 started
//! > list
//!   #1 mail Running, priority 0, run 2
//! > pause mail, and a letter
//!   mail 2 paused
//!   mail 2 succeeded
//!   mail is paused after run 2
//! > resume mail
//!   mail 2 resumed
//!   mail 3 started
//! > restart mail
//!   mail 3 stopping: to be restarted
//!   mail 3 cancelled
//!   mail 4 started
//! > set the priority of mail to 5, add a task of priority 4
//!   mail 4 has priority 5
//!   backup was not taken: no place for it
//! > cancel mail
//!   mail 4 stopping: cancelled
//!   mail 4 cancelled
//!   mail 4 finished: cancelled
//!   mail 4 removed
//! > find mail
//!   nobody
//! ```

use std::error::Error;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use overstrand::{
    Event, EventKind, RestartPolicy, SubmitError, Supervisor, TaskContext, TaskSpec, TaskStatus, ThreadPool,
};

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Carries out one letter a run.
fn mail(letters: Receiver<&'static str>) -> TaskSpec {
    let run = move |cx: &TaskContext| {
        cx.ready();
        while !cx.is_cancelled() {
            match letters.recv_timeout(Duration::from_millis(5)) {
                Ok(_letter) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => cx.heartbeat(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    TaskSpec::blocking("mail", run).restart(RestartPolicy::Always { interval: Duration::ZERO })
}

/// The events so far, as lines without what varies; up to one that ends like this.
fn show_until(events: &Receiver<Event>, last: &str) -> AnyResult {
    loop {
        let event = events.recv()?;
        let what = match &event.kind {
            EventKind::Ready | EventKind::Waiting { .. } => continue,
            EventKind::Succeeded { .. } => "succeeded".into(),
            EventKind::Cancelled { .. } => "cancelled".into(),
            kind => kind.to_string(),
        };
        println!("  {} {} {what}", event.task, event.generation);
        if what == last {
            return Ok(());
        }
    }
}

fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).capacity(1).build()?;
    let (tell, events) = mpsc::channel();
    let log = supervisor.subscribe(move |event: &Event| _ = tell.send(event.clone()));
    let (post, letters) = mpsc::channel();

    println!("> add mail");
    // Nobody keeps the handle: a task is found by its name.
    supervisor.submit(mail(letters))?;
    show_until(&events, "started")?;

    println!("> a letter");
    post.send("to Ada")?;
    show_until(&events, "started")?;

    println!("> list");
    for task in supervisor.tasks() {
        println!("  {} {} {:?}, priority {}, run {}", task.id, task.name, task.status, task.priority, task.generation);
    }

    let control = supervisor.find("mail").ok_or("it is there")?;
    println!("> pause mail, and a letter");
    assert!(control.pause());
    assert_eq!(control.status(), TaskStatus::Running, "the present run goes on");
    post.send("to Bob")?;
    show_until(&events, "succeeded")?;
    for task in supervisor.tasks() {
        assert_eq!(task.status, TaskStatus::Paused);
        println!("  {} is paused after run {}", task.name, task.generation);
    }

    println!("> resume mail");
    assert!(control.resume());
    show_until(&events, "started")?;

    println!("> restart mail");
    assert!(control.restart());
    show_until(&events, "started")?;

    println!("> set the priority of mail to 5, add a task of priority 4");
    assert!(control.set_priority(5));
    show_until(&events, "has priority 5")?;
    let backup = TaskSpec::blocking("backup", |_| Ok(())).priority(4);
    assert!(matches!(supervisor.submit(backup), Err(SubmitError::Full(_))));
    println!("  backup was not taken: no place for it");

    println!("> cancel mail");
    assert!(control.cancel(), "this caller stopped it");
    show_until(&events, "removed")?;

    println!("> find mail");
    assert!(supervisor.find("mail").is_none());
    println!("  nobody");
    drop(log);
    Ok(())
}
