//! Jobs: cancels, failures, resources, shutdown (RES-5, RES-6).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, Error, Job, JobError, JobExecutor, Priority, Step, WaitError};

use crate::AnyResult;
use crate::jobs_classes::{Log, explore, note, noted, short, single};

/// RES-5: a queued job whose caller left never starts; its answer is there at once.
#[test]
fn job_that_nobody_wants_never_starts() {
    explore(60, |env| {
        let (jobs, log, token) = (single(env), Log::default(), CancelToken::new());
        let (inner, own, left) = (jobs.clone(), Arc::clone(&log), token.clone());
        let first = Job::stateful("first", (), move |(): &mut (), _: &mut _| {
            let unwanted = inner.submit(short(&own, "unwanted", Priority::UserBlocking), &left);
            left.cancel();
            assert!(unwanted.is_finished());
            let late = inner.submit(short(&own, "late", Priority::UserBlocking), &left);
            Ok(Step::Done((unwanted, late)))
        });
        let (unwanted, late) = jobs.execute(first, &CancelToken::new()).expect("it runs");
        assert!(matches!(unwanted.join(), Ok(Err(JobError::Cancelled))));
        assert!(matches!(late.join(), Ok(Err(JobError::Cancelled))));
        assert!(matches!(jobs.execute(short(&log, "refused", Priority::BestEffort), &token), Err(JobError::Cancelled)));
        env.run_until_idle();
        assert!(noted(&log).is_empty());
    });
}

/// A running job whose caller cancels is over after its step, whatever that says; the caller has his answer before.
#[test]
fn cancelled_run_is_over_after_its_step() {
    explore(60, |env| {
        let (jobs, token, log) = (single(env), CancelToken::new(), Log::default());
        let (own, left) = (Arc::clone(&log), token.clone());
        let endless = Job::stateful("endless", (), move |(): &mut (), cx: &mut _| {
            note(&own, "step");
            left.cancel();
            assert!(cx.should_yield() && cx.cancel_token().is_cancelled());
            Ok(Step::<()>::Again)
        });
        assert!(matches!(jobs.execute(endless, &token), Err(JobError::Cancelled)));
        env.run_until_idle();
        assert_eq!(noted(&log), ["step"]);
        jobs.execute(short(&log, "next", Priority::BestEffort), &CancelToken::new()).expect("the worker is free");
    });
}

/// An error and a panic end their job only; the resource that a panic left is built anew.
#[test]
fn failures_end_their_job_only() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let log = Log::default();
    let own = Arc::clone(&log);
    let factory = move |worker| {
        note(&own, format!("built {worker}"));
        Ok(Rc::new(worker))
    };
    let jobs = JobExecutor::builder(env.pool()).ui_workers(1).resource(factory).build()?;
    let token = CancelToken::new();
    let failing: Job<(), (), _> = Job::stateful("failing", (), |_, _| Err("no luck".into()));
    let Err(JobError::Failed(error)) = jobs.execute(failing, &token) else { panic!("it fails") };
    assert_eq!(error.to_string(), "no luck");
    let panicking: Job<(), (), _> = Job::stateful("panicking", (), |_, _| panic!("oh"));
    let Err(JobError::Panicked(panicked)) = jobs.execute(panicking, &token) else { panic!("it panics") };
    assert_eq!(panicked.message(), Some("oh"));
    let count = Job::stateful("count", (), |(): &mut (), cx: &mut _| Ok(Step::Done(Rc::strong_count(cx.resource()))));
    assert_eq!(jobs.execute(count, &token)?, 1);
    assert_eq!(noted(&log), ["built 0", "built 0"]);
    Ok(())
}

/// A resource that cannot be built is the error of the job that needs it; the next one tries again.
#[test]
fn failing_resource_is_an_error_of_the_job() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let factory = move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => Err("no connection".into()),
        tries => Ok(tries),
    };
    let jobs = JobExecutor::builder(env.pool()).ui_workers(1).resource(factory).build()?;
    let ask = || Job::stateful("ask", (), |(): &mut (), cx: &mut _| Ok(Step::Done(*cx.resource())));
    let Err(JobError::Resource(error)) = jobs.execute(ask(), &CancelToken::new()) else { panic!("it has none") };
    assert_eq!(error.to_string(), "no connection");
    assert_eq!(jobs.execute(ask(), &CancelToken::new())?, 2);
    Ok(())
}

struct Connection(Log, String);

impl Drop for Connection {
    fn drop(&mut self) {
        note(&self.0, format!("dropped {}", self.1));
    }
}

/// RES-5, RES-6: a shutdown ends the queued and the running, tells everybody, and drops the resources.
#[test]
fn shutdown_tells_every_caller() {
    explore(60, |env| {
        let log = Log::default();
        let own = Arc::clone(&log);
        let jobs = JobExecutor::builder(env.pool()).ui_workers(1);
        let jobs = jobs.resource(move |worker| Ok(Connection(Arc::clone(&own), worker.to_string())));
        let jobs = jobs.build().expect("valid");
        let token = CancelToken::new();
        let idle = |name| Job::stateful(name, (), |(): &mut (), _: &mut _| Ok(Step::Done(())));
        let (inner, own) = (jobs.clone(), Arc::clone(&log));
        let running = Job::stateful("running", (), move |(): &mut (), cx: &mut _| {
            let queued = inner.submit(idle("queued"), &CancelToken::new());
            assert!(matches!(inner.execute(idle("inside"), &CancelToken::new()), Err(JobError::WouldDeadlock)));
            assert!(matches!(inner.shutdown(), Err(Error::Wait(WaitError::WouldDeadlock))));
            assert!(cx.should_yield() && queued.is_finished());
            note(&own, "stepped");
            Ok(Step::<()>::Again)
        });
        assert!(matches!(jobs.execute(running, &token), Err(JobError::ShutDown)));
        assert!(matches!(jobs.execute(idle("late"), &token), Err(JobError::ShutDown)));
        assert!(matches!(jobs.submit(idle("late"), &token).join(), Ok(Err(JobError::ShutDown))));
        jobs.shutdown().expect("again");
        assert_eq!(noted(&log), ["stepped", "dropped 0"]);
    });
}

/// RES-6: the end of the pool is the end of the executor; so is the drop of its last handle.
#[test]
fn pool_and_handles_end_the_executor() {
    explore(40, |env| {
        let log = Log::default();
        for drops in [true, false] {
            let own = Arc::clone(&log);
            let jobs = JobExecutor::builder(env.pool()).background_workers(1);
            let jobs = jobs.resource(move |worker| Ok(Connection(Arc::clone(&own), worker.to_string())));
            let jobs = jobs.build().expect("valid");
            let delayed = Job::stateful("delayed", (), |(): &mut (), _: &mut _| Ok(Step::Done(())));
            let delayed = jobs.submit(delayed.start_delay(std::time::Duration::from_secs(9)), &CancelToken::new());
            env.run_until_idle();
            if drops {
                drop(jobs);
            } else {
                env.pool().shutdown().expect("it ends");
            }
            assert!(matches!(delayed.join(), Ok(Err(JobError::ShutDown))));
            env.run_until_idle();
        }
        assert_eq!(noted(&log), ["dropped 0", "dropped 0"]);
    });
}

/// RES-5: the handle cancels its job, wherever it is; only once, and not one that has its result.
#[test]
fn handle_cancels_its_job() {
    explore(60, |env| {
        let (jobs, log, never) = (single(env), Log::default(), CancelToken::new());
        let (inner, own) = (jobs.clone(), Arc::clone(&log));
        let first = Job::stateful("first", (), move |(): &mut (), _: &mut _| {
            let queued = inner.submit(short(&own, "queued", Priority::UserBlocking), &CancelToken::new());
            let late = short(&own, "late", Priority::UserBlocking).start_delay(Duration::from_secs(1));
            let late = inner.submit(late, &CancelToken::new());
            let stats = inner.stats();
            assert_eq!((stats.queued, stats.delayed, stats.running), ([1, 0, 0], 1, [0, 1, 0]));
            for handle in [&queued, &late] {
                assert!(handle.cancel() && !handle.cancel() && handle.is_finished());
            }
            let stats = inner.stats();
            assert_eq!((stats.queued, stats.delayed), ([0; 3], 0));
            Ok(Step::Done([queued, late]))
        });
        let handles = jobs.execute(first, &never).expect("it runs");
        handles.into_iter().for_each(|handle| assert!(matches!(handle.join(), Ok(Err(JobError::Cancelled)))));
        let endless = Job::stateful("endless", (), |(): &mut (), _: &mut _| Ok(Step::<()>::Again));
        let endless = jobs.submit(endless, &never);
        assert!(endless.cancel());
        assert!(matches!(endless.join(), Ok(Err(JobError::Cancelled))));
        let done = jobs.submit(short(&log, "next", Priority::BestEffort), &never);
        env.run_until_idle();
        assert!(done.is_finished() && !done.cancel());
        assert!(matches!(done.join(), Ok(Ok("next"))));
        assert_eq!((noted(&log), never.is_cancelled()), (vec!["next".to_owned()], false));
    });
}
