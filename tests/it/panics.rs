//! POST-6: a panic ends its task and nothing else.

use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use overstrand::{JoinError, TaskTraits, ThreadPool};

use crate::{pool, wait_until};

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// Bodies, captures, results and payloads that panic, on pool and sequence: the workers live, the sequence goes on, the counters are right.
#[test]
fn every_kind_of_panic_is_contained() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    strand.post_task(|| panic!("body")).expect("open");
    let captured = PanicsOnDrop;
    strand.post_task(move || drop(captured)).expect("open");
    strand.post_task(|| panic_any(PanicsOnDrop)).expect("open");
    drop(strand.spawn(|| -> () { panic!("body") }));
    pool.post_task(|| panic_any(7)).expect("open");
    let (open, gate) = mpsc::channel::<()>();
    strand.post_task(move || _ = gate.recv()).expect("open");
    // The result comes after its handle is gone, so it is the worker that drops it.
    drop(strand.spawn(|| PanicsOnDrop));
    drop(open);
    strand.flush().expect("the sequence goes on");
    pool.flush().expect("quiet");
    assert_eq!(pool.stats().panicked, 6, "{:?}", pool.stats());
    assert_eq!(pool.stats().ran, pool.stats().posted);
    assert_eq!(strand.spawn(|| 7).join().expect("runs"), 7);
    assert_eq!(strand.stats().ran, 7);
}

/// HND-2: the payload reaches the handle, text and all.
#[test]
fn handle_gets_the_payload() {
    let pool = pool(1);
    let texts = [pool.spawn(|| panic!("plain")), pool.spawn(|| panic!("{}", "plain"))];
    for handle in texts {
        let Err(JoinError::Panicked(panicked)) = handle.join() else { panic!("it panicked") };
        assert_eq!(panicked.message(), Some("plain"));
    }
    let Err(JoinError::Panicked(panicked)) = pool.spawn(|| panic_any(7_u64)).join() else { panic!("it panicked") };
    assert_eq!(panicked.message(), None);
    assert_eq!(panicked.into_payload().downcast_ref(), Some(&7_u64));
}

/// CTL-3: hooks are told, with names and places, and may panic themselves.
#[test]
fn hooks_are_told_and_may_panic() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let (panics, refusals) = (Arc::clone(&reports), Arc::clone(&reports));
    let starts = Arc::new(AtomicUsize::new(0));
    let (started, stopped) = (Arc::clone(&starts), Arc::clone(&starts));
    let pool = ThreadPool::builder()
        .name("hooked")
        .workers(2)
        .on_thread_start(move |name| {
            assert!(name.starts_with("hooked-"));
            started.fetch_add(1, Ordering::Relaxed);
            panic!("hook");
        })
        .on_thread_stop(move |_| {
            stopped.fetch_add(100, Ordering::Relaxed);
            panic!("hook");
        })
        .on_panic(move |report| {
            let told = (report.name.clone(), report.location.line(), report.to_string());
            panics.lock().expect("no panic inside").push(told);
            panic!("hook");
        })
        .on_rejected(move |report| {
            let told = (report.name.clone(), report.location.line(), report.to_string());
            refusals.lock().expect("no panic inside").push(told);
            panic!("hook");
        })
        .build()
        .expect("threads");
    let line = line!() + 1;
    pool.task().name("bad").post(|| panic!("sadly")).expect("open");
    wait_until(|| pool.stats().panicked == 1);
    assert_eq!(pool.spawn(|| 7).join().expect("the worker lives"), 7);
    pool.shutdown().expect("outside");
    assert!(pool.task().name("late").post(|| ()).is_err());
    let reports = reports.lock().expect("no panic inside");
    assert_eq!((reports[0].0.as_deref(), reports[0].1), (Some("bad"), line));
    assert!(reports[0].2.contains("sadly") && reports[0].2.contains("panics.rs"), "{}", reports[0].2);
    assert_eq!(reports[1].0.as_deref(), Some("late"));
    assert_eq!(starts.load(Ordering::Relaxed), 202);
}
