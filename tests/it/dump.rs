//! A picture of a pool while every worker is stuck.

use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Priority, SequencedTaskRunner, TaskTraits};

use crate::{pool, wait_until};

/// Names, runners, post sites and queues are told while every worker is stuck, from outside and by a program that reads JSON.
#[test]
fn dump_works_while_every_worker_is_stuck() {
    let pool = pool(2);
    let strand = SequencedTaskRunner::builder(&pool).name("import").build().expect("valid");
    let (open, gate) = mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let hold = || {
        let gate = std::sync::Arc::clone(&gate);
        move || _ = gate.lock().expect("no panic").recv()
    };
    let line = line!() + 1;
    strand.task().name("stuck \"here\"").post(hold()).expect("open");
    pool.post_task(hold()).expect("open");
    wait_until(|| pool.stats().running == 2);
    for _ in 0..3 {
        pool.post_task_with(Priority::BestEffort.into(), || ()).expect("open");
    }
    pool.post_delayed_task(Duration::from_secs(3600), || ()).expect("open");
    strand.post_task(|| ()).expect("open");
    let dump = pool.dump();
    assert_eq!((dump.running.len(), dump.stats.queued, dump.stats.delayed, dump.workers), (2, 4, 1, 2));
    assert_eq!(dump.waiting[2], (Priority::BestEffort, 3));
    assert!(dump.next_timer.is_some_and(|next| next > Duration::from_secs(3500)));
    let stuck = dump.running.iter().find(|task| task.name.is_some()).expect("it has a name");
    assert_eq!((stuck.runner.as_deref(), stuck.chain[0].line()), (Some("import"), line));
    let text = dump.to_string();
    assert!(text.contains("\"stuck \\\"here\\\"\" of \"import\"") && text.contains("dump.rs"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&dump.to_json()).expect("it is JSON");
    assert_eq!(json["stats"]["queued"], 4);
    let import = &json["runners"][0];
    assert_eq!(
        (&import["name"], &import["kind"], &import["queued"]),
        (&"import".into(), &"sequenced".into(), &1.into())
    );
    assert!(import["capacity"].is_null() && import["no_progress_for_ns"].is_number() && import["is_closed"] == false);
    let named = json["running"].as_array().expect("a list").iter().find(|task| task["runner"] == "import");
    assert_eq!(named.expect("it is there")["name"], "stuck \"here\"");
    let hour = &json["delayed"][0];
    assert!(hour["name"].is_null() && hour["due_in_ns"].is_number() && hour["chain"][0].is_string());
    drop(open);
    pool.flush().expect("quiet");
    assert!(pool.dump().running.is_empty());
    let again = pool.create_sequenced_task_runner(TaskTraits::default());
    assert_eq!(again.spawn(|| 7).join().expect("it runs"), 7);
}
