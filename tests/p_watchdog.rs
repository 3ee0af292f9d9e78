//! A process that is stopped for longer than the period of a watchdog, and goes on: nobody was silent (SUP-8, I45).
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{CancelToken, Supervisor, TaskContext, TaskSpec, TaskStatus, ThreadPool};

const ROLE: &str = "OVERSTRAND_TEST_BEATS";
const PERIOD: Duration = Duration::from_secs(1);
const BEATS_AFTER: usize = 100;

/// The process that is stopped: beats in time, and says whether somebody thought otherwise.
fn beat_until_told() {
    let pool = ThreadPool::builder().workers(2).build().expect("threads can be started");
    let supervisor = Supervisor::builder(&pool).build().expect("valid");
    let (tell, beats) = mpsc::channel();
    let spec = TaskSpec::blocking("beats", move |cx: &TaskContext| {
        while !cx.token().wait_timeout(Duration::from_millis(20)) {
            cx.heartbeat();
            let _ = tell.send(());
        }
        Ok(())
    });
    let task = supervisor.submit(spec.watchdog(PERIOD).max_retries(0)).expect("there is room");
    beats.recv().expect("it beats");
    println!("\nbeats");
    std::io::stdin().lock().read_line(&mut String::new()).expect("the other process is there");
    while beats.try_recv().is_ok() {}
    for _ in 0..BEATS_AFTER {
        beats.recv().expect("nobody ended it");
    }
    assert_eq!((task.status(), task.errors().len()), (TaskStatus::Running, 0));
    println!("\nno alarm");
    assert!(task.cancel());
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().expect("there is `kill`");
    assert!(status.success());
}

#[test]
fn stopped_process_raises_no_alarm() {
    if std::env::var_os(ROLE).is_some() {
        return beat_until_told();
    }
    let mut child = Command::new(std::env::current_exe().expect("it has a name"))
        .args(["--exact", "stopped_process_raises_no_alarm", "--nocapture"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "beats"));
    for _ in 0..2 {
        signal("STOP", child.id());
        assert!(!CancelToken::new().wait_timeout(PERIOD * 2), "nobody cancels it");
        signal("CONT", child.id());
    }
    child.stdin.take().expect("it is piped").write_all(b"go on\n").expect("it reads");
    assert!(lines.any(|line| line == "no alarm"));
    lines.for_each(drop);
    assert!(child.wait().expect("it ends").success());
}
