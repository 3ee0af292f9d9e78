//! Jobs: classes, preemption, lanes, room (RES-1, RES-2, RES-4, RES-5).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, Job, JobError, JobExecutor, JobLane, Priority, Step};

use crate::AnyResult;

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) fn note(log: &Log, text: impl Into<String>) {
    log.lock().expect("no panic inside").push(text.into());
}

pub(crate) fn noted(log: &Log) -> Vec<String> {
    log.lock().expect("no panic inside").clone()
}

pub(crate) fn single(env: &TestEnvironment) -> JobExecutor {
    JobExecutor::builder(env.pool()).background_workers(1).build().expect("valid")
}

/// A job of one step that says so.
pub(crate) fn short(log: &Log, name: &'static str, class: Priority) -> Job<(), &'static str> {
    let log = Arc::clone(log);
    let step = move |(): &mut (), _: &mut _| {
        note(&log, name);
        Ok(Step::Done(name))
    };
    Job::stateful(name, (), step).priority(class)
}

pub(crate) fn explore(seeds: u64, f: impl Fn(&TestEnvironment)) {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..seeds, &f);
    }
}

/// RES-1: strict order of classes, and of submission within one.
#[test]
fn classes_go_in_strict_order() {
    explore(60, |env| {
        let (jobs, token, log) = (single(env), CancelToken::new(), Log::default());
        let inner = jobs.clone();
        let own = Arc::clone(&log);
        let first = Job::stateful("first", (), move |(): &mut (), _: &mut _| {
            let token = CancelToken::new();
            for (name, class) in [
                ("b1", Priority::BestEffort),
                ("v1", Priority::UserVisible),
                ("b2", Priority::BestEffort),
                ("u1", Priority::UserBlocking),
                ("v2", Priority::UserVisible),
                ("u2", Priority::UserBlocking),
            ] {
                drop(inner.submit(short(&own, name, class), &token));
            }
            Ok(Step::Done(()))
        });
        jobs.execute(first, &token).expect("it runs");
        env.run_until_idle();
        assert_eq!(noted(&log), ["u1", "u2", "v1", "v2", "b1", "b2"]);
    });
}

/// RES-1, RES-2, RES-3: a run is asked when something urgent waits, the wish holds for the run, and is gone in the next one; one final result.
#[test]
fn preempted_job_goes_on_from_the_front() {
    explore(60, |env| {
        let (jobs, token, log) = (single(env), CancelToken::new(), Log::default());
        let (inner, own) = (jobs.clone(), Arc::clone(&log));
        let long = Job::stateful("long", 0_u32, move |step: &mut u32, cx: &mut _| {
            *step += 1;
            note(&own, format!("long {step} {}", cx.should_yield()));
            match *step {
                1 => {
                    drop(inner.submit(short(&own, "later", Priority::BestEffort), cx.cancel_token()));
                    assert!(!cx.should_yield(), "nothing urgent waits");
                    drop(inner.submit(short(&own, "urgent", Priority::UserVisible), &CancelToken::new()));
                    assert!(cx.should_yield());
                    Ok(Step::Again)
                }
                2 => Ok(if cx.should_yield() { Step::Yield } else { Step::Again }),
                3 => Ok(Step::Yield),
                _ => Ok(Step::Done(*step)),
            }
        });
        assert_eq!(jobs.execute(long.priority(Priority::BestEffort), &token).expect("one result"), 4);
        env.run_until_idle();
        assert_eq!(noted(&log)[..5], ["long 1 false", "long 2 true", "urgent", "long 3 false", "long 4 false"]);
    });
}

/// RES-2: nothing but best-effort work is asked, however urgent the rest.
#[test]
fn other_classes_are_never_asked() {
    explore(30, |env| {
        for class in [Priority::UserBlocking, Priority::UserVisible] {
            let (jobs, token, log) = (single(env), CancelToken::new(), Log::default());
            let inner = jobs.clone();
            let job = Job::stateful("job", (), move |(): &mut (), cx: &mut _| {
                drop(inner.submit(short(&log, "urgent", Priority::UserBlocking), &CancelToken::new()));
                Ok(Step::Done(cx.should_yield()))
            });
            assert!(!jobs.execute(job.priority(class), &token).expect("it runs"));
        }
    });
}

/// A job that never gets on is left alone for a run after five preemptions.
#[test]
fn preemption_without_progress_has_an_end() {
    explore(30, |env| {
        let (jobs, token, log) = (single(env), CancelToken::new(), Log::default());
        let inner = jobs.clone();
        let job = Job::stateful("unlucky", 0_u32, move |runs: &mut u32, cx: &mut _| {
            *runs += 1;
            drop(inner.submit(short(&log, "urgent", Priority::UserBlocking), &CancelToken::new()));
            Ok(if cx.should_yield() { Step::Yield } else { Step::Done(*runs) })
        });
        assert_eq!(jobs.execute(job.priority(Priority::BestEffort), &token).expect("it gets on"), 6);
    });
}

/// RES-4: with several workers, and yields without end, never two runs of one job at once.
#[test]
fn job_never_runs_twice_at_once() {
    TestEnvironment::builder().workers(2).baton().explore(0..40, |env| {
        let jobs = JobExecutor::builder(env.pool()).ui_workers(3).background_workers(3).build().expect("valid");
        let handles: Vec<_> = (0..6)
            .map(|number| {
                let inside = Arc::new(AtomicUsize::new(0));
                let job = Job::stateful("job", 0_u32, move |steps: &mut u32, _: &mut _| {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    overstrand::testing::yield_point("inside");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    *steps += 1;
                    Ok(if *steps == 5 { Step::Done(*steps) } else { Step::Yield })
                });
                let class = if number % 2 == 0 { Priority::BestEffort } else { Priority::UserVisible };
                jobs.submit(job.priority(class), &CancelToken::new())
            })
            .collect();
        for handle in handles {
            assert_eq!(handle.join().expect("kept").expect("it runs"), 5);
        }
    });
}

/// RES-5: `submit` says when there is no room, `execute` waits for it.
#[test]
fn full_class_refuses_or_waits() {
    TestEnvironment::builder().workers(2).baton().explore(0..60, |env| {
        let jobs = JobExecutor::builder(env.pool()).ui_workers(1).queue_capacity(Priority::UserVisible, 1);
        let jobs = jobs.build().expect("valid");
        let (log, gate) = (Log::default(), CancelToken::new());
        let wait = gate.clone();
        let blocker = Job::stateful("blocker", (), move |(): &mut (), _: &mut _| {
            wait.wait();
            Ok(Step::Done(()))
        });
        let blocker = jobs.submit(blocker, &CancelToken::new());
        env.run_until_idle();
        let queued = jobs.submit(short(&log, "queued", Priority::UserVisible), &CancelToken::new());
        let refused = jobs.submit(short(&log, "refused", Priority::UserVisible), &CancelToken::new());
        assert!(matches!(refused.join(), Ok(Err(JobError::Full))));
        let other = jobs.submit(short(&log, "other class", Priority::BestEffort), &CancelToken::new());
        let (patient, own) = (jobs.clone(), Arc::clone(&log));
        let patient = env
            .pool()
            .spawn(move || patient.execute(short(&own, "patient", Priority::UserVisible), &CancelToken::new()));
        let (leaves, impatient, own) = (CancelToken::new(), jobs.clone(), Arc::clone(&log));
        let left = leaves.clone();
        let impatient = env.pool().spawn(move || impatient.execute(short(&own, "left", Priority::UserVisible), &left));
        env.run_until_idle();
        leaves.cancel();
        assert!(matches!(impatient.join().expect("returned"), Err(JobError::Cancelled)));
        gate.cancel();
        blocker.join().expect("kept").expect("done");
        assert_eq!(queued.join().expect("kept").expect("done"), "queued");
        assert_eq!(patient.join().expect("returned").expect("done"), "patient");
        assert_eq!(other.join().expect("kept").expect("done"), "other class");
        assert_eq!(noted(&log).len(), 3);
    });
}

/// RES-5: counts that make no sense are build errors.
#[test]
fn invalid_counts_are_build_errors() {
    let env = TestEnvironment::with_seed(1);
    let field = |ui, background, room| {
        let builder = JobExecutor::builder(env.pool()).ui_workers(ui).background_workers(background);
        builder.queue_capacity(Priority::BestEffort, room).build().err().map(|error| error.field())
    };
    assert_eq!(field(0, 0, 1), Some("ui_workers"));
    assert_eq!(field(0, 2, 1), Some("ui_workers"));
    assert_eq!(field(2, 0, 1), Some("background_workers"));
    assert_eq!(field(1, 1, 0), Some("queue_capacity"));
    for (ui, background) in [(1, 0), (0, 1), (1, 1), (2, 3)] {
        assert_eq!(field(ui, background, 1), None);
    }
}

/// RES-5: lanes serve their classes, and each worker's factory is told number and lane.
#[test]
fn lanes_serve_their_classes() {
    explore(30, |env| {
        let jobs = JobExecutor::builder(env.pool()).ui_workers(1).background_workers(2);
        let jobs = jobs.resource_of_lane(|worker, lane| Ok((worker, lane))).build().expect("valid");
        for class in [Priority::UserBlocking, Priority::UserVisible, Priority::BestEffort] {
            let who = Job::stateful("who", (), |(): &mut (), cx: &mut overstrand::JobContext<(usize, JobLane)>| {
                let resource = *cx.resource();
                assert_eq!(resource.0, cx.worker());
                Ok(Step::Done(resource))
            });
            let (worker, lane) = jobs.execute(who.priority(class), &CancelToken::new()).expect("it runs");
            assert_eq!(lane == JobLane::Background, class == Priority::BestEffort);
            assert_eq!(worker == 0, lane == JobLane::Ui);
        }
    });
}

/// RES-2: with several workers, too: while the UI lane is busy a background run is asked, and its worker serves what is urgent.
#[test]
fn background_makes_room_while_the_ui_lane_is_busy() {
    TestEnvironment::builder().workers(2).baton().explore(0..40, |env| {
        let jobs = JobExecutor::builder(env.pool()).ui_workers(1).background_workers(1).build().expect("valid");
        let (log, token) = (Log::default(), CancelToken::new());
        let [begun, asked, served] = [(); 3].map(|()| CancelToken::new());
        let (wait, tell, end) = (begun.clone(), asked.clone(), served.clone());
        let (own, executor) = (Arc::clone(&log), jobs.clone());
        let hold = Job::stateful("hold", (), move |(): &mut (), _| {
            wait.wait();
            drop(executor.submit(short(&own, "urgent", Priority::UserBlocking), &CancelToken::new()));
            tell.cancel();
            end.wait();
            Ok(Step::Done(()))
        });
        let own = Arc::clone(&log);
        let back = Job::stateful("back", false, move |has_begun: &mut bool, cx| {
            if std::mem::replace(has_begun, true) {
                note(&own, "back");
                served.cancel();
                return Ok(Step::Done(()));
            }
            begun.cancel();
            asked.wait();
            assert!(cx.should_yield(), "the UI lane is busy");
            Ok(Step::Yield)
        });
        let hold = jobs.submit(hold.priority(Priority::UserVisible), &token);
        let back = jobs.submit(back.priority(Priority::BestEffort), &token);
        assert!(matches!((hold.join(), back.join()), (Ok(Ok(())), Ok(Ok(())))));
        assert_eq!(noted(&log), ["urgent", "back"]);
        assert_eq!(jobs.stats().preemptions, 1);
    });
}

/// RES-5: a start delay holds no worker, and a cancel reaches it.
#[test]
fn delayed_start_can_be_cancelled() -> AnyResult {
    let env = TestEnvironment::with_seed(5);
    let (jobs, log, token) = (single(&env), Log::default(), CancelToken::new());
    let hour = Duration::from_secs(3600);
    let late = jobs.submit(short(&log, "late", Priority::UserBlocking).start_delay(hour), &CancelToken::new());
    let never = jobs.submit(short(&log, "never", Priority::UserBlocking).start_delay(hour), &token);
    jobs.execute(short(&log, "now", Priority::BestEffort), &CancelToken::new())?;
    env.advance(hour / 2);
    token.cancel();
    assert!(matches!(never.join()?, Err(JobError::Cancelled)));
    env.advance(hour / 2);
    assert_eq!(late.join()??, "late");
    assert_eq!(noted(&log), ["now", "late"]);
    Ok(())
}
