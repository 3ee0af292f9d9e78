//! The auto traits of every public type.

use overstrand::*;

fn shared<T: Send + Sync + 'static>() {}
fn owned<T: Send + 'static>() {}

#[test]
fn public_types_cross_threads() {
    struct SendOnly(#[expect(dead_code, reason = "only its traits matter")] std::cell::Cell<u8>);
    shared::<ThreadPool>();
    shared::<ThreadPoolBuilder>();
    shared::<SequencedTaskRunner>();
    shared::<DelayedTaskHandle>();
    shared::<TaskHandle<u8>>();
    owned::<TaskHandle<SendOnly>>();
    shared::<CancelToken>();
    shared::<CancelGuard>();
    shared::<Cancelled>();
    shared::<Error>();
    shared::<JoinError>();
    shared::<WaitError>();
    shared::<BuildError>();
    shared::<Rejected<SendOnly>>();
    shared::<Panicked>();
    shared::<ShutdownReport>();
    shared::<PoolStats>();
    shared::<RunnerStats>();
    shared::<PanicReport>();
    shared::<RejectionReport>();
    shared::<StallReport>();
    shared::<TaskTraits>();
    shared::<WeakBound<SendOnly>>();
    shared::<SequenceLocal<SendOnly>>();
    shared::<SequenceCell<SendOnly>>();
    shared::<TaskTracker>();
    shared::<DropOn<u8>>();
    owned::<DropOn<SendOnly>>();
    shared::<OneShotEvent>();
}

/// Each error passes through `?` into the common ones.
#[test]
fn errors_pass_through_the_question_mark() {
    fn all(pool: &ThreadPool) -> Result<(), Error> {
        pool.post_task(|| ())?;
        pool.spawn(|| ()).join()?;
        pool.flush()?;
        ThreadPool::builder().workers(0).build()?;
        Ok(())
    }
    let pool = crate::pool(1);
    let error = all(&pool).expect_err("no workers");
    assert_eq!(error.to_string(), "workers = 0: must be 1 to 4096");
    pool.shutdown().expect("outside");
    let error: Box<dyn std::error::Error + Send + Sync> = all(&pool).expect_err("shut down").into();
    assert_eq!(error.to_string(), "the task was not accepted: the pool is shut down");
}

/// A wrong setting names its field and value, and nothing is started.
#[test]
fn bad_settings_are_named() {
    let build = |builder: ThreadPoolBuilder| {
        let error = builder.build().expect_err("invalid");
        (error.field(), error.value().to_owned())
    };
    let two = || ThreadPool::builder().workers(2);
    assert_eq!(build(ThreadPool::builder().workers(0)), ("workers", "0".into()));
    assert_eq!(build(ThreadPool::builder().workers(5000)), ("workers", "5000".into()));
    assert_eq!(build(two().max_best_effort(3)), ("max_best_effort", "3".into()));
    assert_eq!(build(two().max_best_effort(0)), ("max_best_effort", "0".into()));
    assert_eq!(build(two().max_threads(1)), ("max_threads", "1".into()));
    assert_eq!(build(two().name("")), ("name", "\"\"".into()));
    assert_eq!(build(two().on_stall(std::time::Duration::ZERO, |_| ())), ("on_stall", "0s".into()));
}
