//! The global pool: process-wide, so a test binary of its own with one test.

use overstrand::{ThreadPool, WaitError, global, shutdown_global, try_global};

#[test]
fn global_pool_is_built_once_and_again_after_its_end() {
    assert_eq!(shutdown_global().expect("nothing to do").ran, 0);
    ThreadPool::builder().name("first").workers(2).init_global().expect("the first");
    assert_eq!(global().name(), "first");
    let error = ThreadPool::builder().workers(1).init_global().expect_err("the second");
    assert_eq!(error.field(), "global");
    assert_eq!(global().spawn(|| 6 * 7).join().expect("runs"), 42);
    let inside = global().spawn(|| shutdown_global().map(|_| ()));
    assert_eq!(inside.join().expect("runs"), Err(WaitError::WouldDeadlock));
    let old = global();
    assert_eq!(shutdown_global().expect("outside").ran, 2);
    assert!(old.post_task(|| ()).is_err());
    assert!(!std::ptr::eq(old, try_global().expect("a new one")));
    assert_eq!(global().spawn(|| 7).join().expect("runs"), 7);

    // Many threads at once see one pool.
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| std::ptr::from_ref(global()).addr())).collect();
    let mut seen: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    seen.dedup();
    assert_eq!(seen.len(), 1);
    shutdown_global().expect("outside");
}
