//! A camera that freezes now and then: a blocking loop that takes frames and gives a sign of life with each. When it freezes, the watchdog notices the silence, stops the run and starts the next one. In the end something more
//! important takes its place.
//!
//! ```text
//! cargo run --release --example supervised_camera
//! ```
//!
//! Prints:
//!
//! ```text
//! camera, run 1: started
//! camera, run 1: silent for more than 500ms
//! camera, run 2: started
//! camera, run 2: silent for more than 500ms
//! camera, run 3: started
//! camera, run 3: evicted for #2
//! run 1 took 3 frames, then it froze
//! run 2 took 3 frames, then it froze
//! run 3 took frames until it was told to stop
//! camera: evicted, alarm: completed
//! nobody is stuck: true
//! ```

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use overstrand::{Backoff, Event, EventKind, Supervisor, TaskContext, TaskResult, TaskSpec, ThreadPool};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A driver that blocks until there is a frame, and now and then for longer.
struct Camera {
    freezes_at: Option<u32>,
    frames: u32,
}

impl Camera {
    fn open(run: u64) -> Self {
        Self { freezes_at: (run < 3).then_some(3), frames: 0 }
    }

    /// The next frame. A frozen camera has none, and blocks until it is closed, which is done when the run is told to stop.
    fn frame(&mut self, cx: &TaskContext) -> Option<u32> {
        if self.freezes_at == Some(self.frames) {
            cx.token().wait();
            return None;
        }
        cx.sleep(MILLISECOND * 20);
        self.frames += 1;
        Some(self.frames)
    }
}

/// One run: opens the camera, and takes frames until it is told to stop.
fn take_frames(cx: &TaskContext, tell: &Sender<String>) -> TaskResult {
    let (run, mut camera) = (cx.generation(), Camera::open(cx.generation()));
    while !cx.is_cancelled() {
        match camera.frame(cx) {
            Some(frame) => {
                cx.heartbeat();
                if frame > 3 {
                    cx.ready();
                }
            }
            None => tell.send(format!("run {run} took {} frames, then it froze", camera.frames))?,
        }
    }
    if camera.frames > 3 {
        tell.send(format!("run {run} took frames until it was told to stop"))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).capacity(1).grace(Duration::from_secs(5)).build()?;
    let (tell, told) = mpsc::channel();
    let log = supervisor.subscribe(move |event: &Event| {
        let is_told = matches!(
            event.kind,
            EventKind::Started | EventKind::HeartbeatLost { .. } | EventKind::Evicted { .. } | EventKind::AllStopped
        );
        if is_told && &*event.task != "alarm" {
            let _ = tell.send(format!("{}, run {}: {}", event.task, event.generation, event.kind));
        }
    });

    let (tell, frames) = mpsc::channel();
    let camera = TaskSpec::blocking("camera", move |cx: &TaskContext| take_frames(cx, &tell))
        .watchdog(MILLISECOND * 500)
        .backoff(Backoff::exponential(MILLISECOND * 10));
    let camera = supervisor.submit(camera)?;
    camera.wait_ready(Duration::from_secs(60))?;
    let alarm = supervisor.submit(TaskSpec::blocking("alarm", |_| Ok(())).priority(1))?;

    let (camera, alarm) = (camera.outcome().join()?, alarm.outcome().join()?);
    let report = supervisor.shutdown()?;
    told.iter().take_while(|line| !line.ends_with("all stopped")).for_each(|line| println!("{line}"));
    frames.iter().for_each(|line| println!("{line}"));
    println!("camera: {camera}, alarm: {alarm}");
    println!("nobody is stuck: {}", report.stuck.is_empty());
    drop(log);
    Ok(())
}
