//! A camera that must stay alive: it fails, it hangs, it is replaced by something more important, and all of it is told.
//!
//! ```text
//! cargo run --release --example supervised_camera
//! ```
//!
//! Prints:
//!
//! ```text
//! camera started
//! camera failed: no picture
//! camera started
//! camera silent
//! camera started
//! camera evicted for alarm
//! camera: evicted
//! alarm: completed
//! nobody is stuck: true
//! ```

use std::time::Duration;

use overstrand::{Backoff, Event, EventKind, Supervisor, TaskContext, TaskSpec, ThreadPool};

const MILLISECOND: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).capacity(1).grace(Duration::from_secs(5)).build()?;
    let (tell, told) = std::sync::mpsc::channel();
    let log = supervisor.subscribe(move |event: &Event| {
        let line = match &event.kind {
            EventKind::Started if &*event.task == "camera" => "camera started".into(),
            EventKind::Failed { error, .. } => format!("{} failed: {error}", event.task),
            EventKind::HeartbeatLost { .. } => format!("{} silent", event.task),
            EventKind::Evicted { .. } => format!("{} evicted for alarm", event.task),
            EventKind::AllStopped => "the end".into(),
            _ => return,
        };
        let _ = tell.send(line);
    });

    let camera = TaskSpec::blocking("camera", |cx: &TaskContext| {
        match cx.generation() {
            1 => return Err("no picture".into()),
            // It hangs, and is stopped for that.
            2 => cx.token().wait(),
            _ => cx.ready(),
        }
        while cx.sleep(MILLISECOND * 20) {
            cx.heartbeat();
        }
        Ok(())
    });
    let camera = camera.backoff(Backoff::constant(MILLISECOND)).watchdog(MILLISECOND * 500);
    let camera = supervisor.submit(camera)?;
    camera.wait_ready(Duration::from_secs(60))?;
    let alarm = supervisor.submit(TaskSpec::blocking("alarm", |_| Ok(())).priority(1))?;

    let outcomes = (camera.outcome().join()?, alarm.outcome().join()?);
    let report = supervisor.shutdown()?;
    told.iter().take_while(|line| line != "the end").for_each(|line| println!("{line}"));
    println!("camera: {}\nalarm: {}", outcomes.0, outcomes.1);
    println!("nobody is stuck: {}", report.stuck.is_empty());
    drop(log);
    Ok(())
}
