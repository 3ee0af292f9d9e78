//! Services: start, stop, restart, what is seen of them (SUP-15), and as a body under a supervisor.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{CancelToken, Outcome, Service, ServiceError, TaskContext, TaskResult, TaskSpec, Ticker};

use crate::AnyResult;
use crate::supervise_runs::{Gauge, supervisor};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn explore(test: impl Fn(&TestEnvironment)) {
    TestEnvironment::builder().workers(2).baton().explore(0..40, test);
}

fn baton(seed: u64) -> TestEnvironment {
    TestEnvironment::builder().seed(seed).baton().build()
}

fn until_told(cx: &TaskContext) -> TaskResult {
    cx.token().wait();
    Ok(())
}

/// A service whose start function waits for its token; the gauges count runs and stops.
fn patient(env: &TestEnvironment) -> (Service, Gauge, Gauge) {
    let (runs, stops) = (Gauge::default(), Gauge::default());
    let (run, stop) = (runs.clone(), stops.clone());
    let service = Service::new(
        move |cx| run.run(|| until_told(cx)),
        move |cx| stop.run(|| if cx.is_cancelled() { Err("no time was left".into()) } else { Ok(()) }),
    );
    (service.on(env.pool()), runs, stops)
}

/// Running is true before `start` returns, and a stop after a start always stops; stopping what is stopped is fine.
#[test]
fn stop_after_start_always_stops() {
    explore(|env| {
        let (service, runs, stops) = patient(env);
        service.stop(SECOND).expect("it is stopped");
        assert!(!service.is_running() && service.uptime().is_none());
        for round in 0..3 {
            service.start().expect("it starts");
            assert!(service.is_running() && service.uptime().is_some());
            if round == 1 {
                service.wait_started(SECOND).expect("it is called");
                assert_eq!(runs.live(), 1);
            }
            service.stop(None).expect("it stops");
            assert!(!service.is_running() && service.uptime().is_none());
            assert_eq!((runs.live(), stops.live(), runs.runs()), (0, 0, stops.runs()));
        }
        assert!(runs.runs() >= 1 && service.errors().is_empty());
    });
}

/// A start while it runs stops the old run first, clears the errors, and begins a new uptime.
#[test]
fn start_while_running_stops_the_old_run_first() {
    explore(|env| {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let start = move |cx: &TaskContext| counted.run(|| until_told(cx));
        let service = Service::new(start, |_| Err("the stop failed".into())).on(env.pool());
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        env.advance(SECOND);
        assert_eq!(service.uptime(), Some(SECOND));
        service.stop(SECOND).expect("it stops");
        assert_eq!(service.last_error().expect("it is kept").error.to_string(), "the stop failed");
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        service.start().expect("it starts anew");
        assert_eq!((service.uptime(), service.errors().len()), (Some(Duration::ZERO), 0));
        service.wait_started(SECOND).expect("it is called");
        assert_eq!((gauge.runs(), gauge.most(), gauge.live()), (3, 1, 1));
        service.stop(SECOND).expect("it stops");
    });
}

/// The token is cancelled first, and the stop function has a live token and a deadline of its own: that of the stop.
#[test]
fn stop_function_comes_after_the_cancel_with_its_own_deadline() -> AnyResult {
    for (limit, patience) in [(Some(SECOND * 5), SECOND * 5), (None, SECOND * 2)] {
        let env = baton(1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (cancelled, stopping) = (Arc::new(AtomicBool::new(false)), Arc::clone(&seen));
        let sees = Arc::clone(&cancelled);
        let service = Service::new(
            move |cx| {
                cx.token().wait();
                cancelled.store(true, Ordering::SeqCst);
                Ok(())
            },
            move |cx| {
                wait_until(Duration::MAX, || sees.load(Ordering::SeqCst).then_some(()));
                stopping.lock().expect("no panic").push(cx.is_cancelled());
                let in_time = cx.sleep(SECOND * 60);
                stopping.lock().expect("no panic").push(in_time);
                Ok(())
            },
        )
        .on(env.pool());
        service.start()?;
        service.wait_started(SECOND)?;
        let began = env.now();
        _ = service.stop(limit);
        service.wait_stopped(SECOND)?;
        assert_eq!(*seen.lock().expect("no panic"), [false, false]);
        assert_eq!(env.now() - began, patience);
    }
    Ok(())
}

/// A stop that was not in time says so; it goes on running, is not started a second time, and ends later.
#[test]
fn stop_that_is_late_is_returned() -> AnyResult {
    let env = baton(2);
    let (gauge, open) = (Gauge::default(), Arc::new(AtomicBool::new(false)));
    let (counted, gate) = (gauge.clone(), Arc::clone(&open));
    let deaf = move |_: &TaskContext| {
        counted.run(|| wait_until(Duration::MAX, || gate.load(Ordering::SeqCst).then_some(())));
        Ok(())
    };
    let service = Service::new(deaf, |_| Ok(())).on(env.pool());
    service.start()?;
    service.wait_started(SECOND)?;
    assert!(matches!(service.stop(SECOND), Err(ServiceError::TimedOut)));
    assert_eq!(env.now(), SECOND);
    assert!(matches!(service.stop(None), Err(ServiceError::TimedOut)));
    assert_eq!(env.now(), SECOND * 3, "2 s when nothing is said");
    assert!(matches!(service.start(), Err(ServiceError::TimedOut)));
    assert!(matches!(service.restart(SECOND), Err(ServiceError::TimedOut)));
    assert!(matches!(service.wait_stopped(SECOND), Err(ServiceError::TimedOut)));
    assert!(service.is_running());
    open.store(true, Ordering::SeqCst);
    service.wait_stopped(SECOND)?;
    service.start()?;
    service.stop(SECOND)?;
    assert_eq!(gauge.most(), 1);
    Ok(())
}

/// From inside either of its functions a start, a stop and a wait are errors, and change nothing.
#[test]
fn service_does_not_wait_for_itself() {
    explore(|env| {
        let own: Arc<Mutex<Option<Service>>> = Arc::default();
        let refusals = Arc::new(AtomicUsize::new(0));
        let try_all = {
            let (own, refusals) = (Arc::clone(&own), Arc::clone(&refusals));
            move || {
                let Some(service) = own.lock().expect("no panic").clone() else { return };
                let results =
                    [service.stop(SECOND), service.start(), service.restart(None), service.wait_stopped(SECOND)];
                let refused = |result: &&Result<(), ServiceError>| matches!(result, Err(ServiceError::WouldDeadlock));
                refusals.fetch_add(results.iter().filter(refused).count(), Ordering::SeqCst);
            }
        };
        let stop_too = try_all.clone();
        let service = Service::new(
            move |cx| {
                try_all();
                until_told(cx)
            },
            move |_| {
                stop_too();
                Ok(())
            },
        )
        .on(env.pool());
        *own.lock().expect("no panic") = Some(service.clone());
        service.start().expect("it starts");
        env.run_until_idle();
        assert_eq!(refusals.load(Ordering::SeqCst), 4);
        assert!(service.is_running());
        service.stop(SECOND).expect("it stops");
        assert_eq!(refusals.load(Ordering::SeqCst), 8);
        own.lock().expect("no panic").take();
    });
}

/// Errors and panics of both functions are kept, with their types, the latest 16; the start forgets them.
#[test]
fn errors_and_panics_are_kept() -> AnyResult {
    let env = baton(3);
    let fails = Service::new(|_| Err(io::Error::from(io::ErrorKind::AddrInUse).into()), |_| Ok(())).on(env.pool());
    fails.start()?;
    fails.wait_stopped(SECOND)?;
    let error = fails.last_error().expect("it is kept");
    assert_eq!(error.error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::AddrInUse));
    assert_eq!(error.to_string(), format!("run 1, attempt 1: {}", error.error));

    let panics = Service::new(
        |cx: &TaskContext| {
            cx.token().wait();
            panic!("the start is broken")
        },
        |_| panic!("the stop is broken"),
    )
    .on(env.pool());
    for _ in 0..2 {
        panics.start()?;
        panics.wait_started(SECOND)?;
        panics.stop(SECOND)?;
        let mut texts: Vec<_> = panics.errors().iter().map(|error| error.error.to_string()).collect();
        texts.sort();
        assert_eq!(texts, ["the run panicked: the start is broken", "the run panicked: the stop is broken"]);
    }
    Ok(())
}

/// What starts, stops and restarts at once takes turns: never two runs, and each restart ends with a run.
#[test]
fn restarts_are_atomic() {
    explore(|env| {
        let (service, runs, stops) = patient(env);
        service.start().expect("it starts");
        let restart = |service: &Service| {
            let service = service.clone();
            env.pool().spawn(move || service.restart(SECOND * 9).is_ok())
        };
        let both = [restart(&service), restart(&service)];
        assert!(both.into_iter().all(|done| done.join().expect("no panic")));
        assert!(service.is_running());
        service.wait_started(SECOND).expect("it is called");
        assert_eq!((runs.live(), runs.most()), (1, 1));
        service.stop(SECOND).expect("it stops");
        assert_eq!((runs.live(), runs.most(), stops.most().min(1)), (0, 1, 1));
        service.restart(SECOND).expect("also what is stopped");
        assert!(service.is_running());
        service.stop(SECOND).expect("it stops");
    });
}

/// Started with a token it is stopped with it; with one that is cancelled nothing is started, and nothing stopped.
#[test]
fn token_ends_the_service() {
    explore(|env| {
        let (service, runs, stops) = patient(env);
        let session = CancelToken::new();
        service.start_with(&session).expect("it starts");
        service.restart(SECOND).expect("it keeps its token");
        service.wait_started(SECOND).expect("it is called");
        session.cancel();
        service.wait_stopped(SECOND).expect("it ends");
        assert_eq!((runs.live(), runs.runs(), stops.runs()), (0, stops.runs(), stops.runs()));
        assert!(matches!(service.start_with(&session), Err(ServiceError::Cancelled)));
        service.start().expect("it starts");
        assert!(matches!(service.start_with(&session), Err(ServiceError::Cancelled)));
        assert!(service.is_running());
        service.stop(SECOND).expect("it stops");
    });
}

/// A dropped service, and one whose pool shuts down, is stopped with its stop function.
#[test]
fn end_of_the_handles_and_of_the_pool_stops_it() {
    explore(|env| {
        let (service, runs, stops) = patient(env);
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        drop(service);
        env.run_until_idle();
        assert_eq!((runs.live(), stops.runs()), (0, 1));
        let (service, runs, stops) = patient(env);
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        env.pool().shutdown().expect("no deadlock");
        assert_eq!((runs.live(), stops.runs(), service.is_running()), (0, 1, false));
        assert!(matches!(service.start(), Err(ServiceError::ShutDown)));
    });
}

/// Without a pool it runs on that of the process.
#[test]
fn pool_of_the_process_is_the_default() -> AnyResult {
    let env = baton(4);
    env.as_global(|| {
        let service = Service::new(until_told, |_| Ok(()));
        assert!(matches!(service.wait_started(MILLISECOND), Err(ServiceError::Stopped)));
        service.start()?;
        service.wait_started(SECOND)?;
        service.stop(SECOND)?;
        Ok(())
    })
}

/// SUP-1: as a body under a supervisor, `stop` is called for each run that is told to end, with the grace for its deadline.
#[test]
fn supervised_service_is_stopped_by_its_function() {
    explore(|env| {
        let supervisor = supervisor(env);
        let (runs, stops, open) = (Gauge::default(), Gauge::default(), Arc::new(AtomicUsize::new(0)));
        let (run, stop, opened, opens) = (runs.clone(), stops.clone(), Arc::clone(&open), Arc::clone(&open));
        let serve = move |cx: &TaskContext| {
            cx.ready();
            run.run(|| wait_until(Duration::MAX, || (opened.load(Ordering::SeqCst) >= run.runs()).then_some(())));
            Ok(())
        };
        let drain = move |cx: &TaskContext| {
            assert!(!cx.is_cancelled());
            opens.fetch_add(1, Ordering::SeqCst);
            stop.run(|| Err("it drips".into()))
        };
        let task = supervisor.submit(TaskSpec::service("http", serve, drain)).expect("there is room");
        task.wait_ready(SECOND).expect("it serves");
        assert!(task.restart());
        wait_until(SECOND, || (runs.runs() == 2).then_some(()));
        assert_eq!((stops.runs(), runs.most()), (1, 1));
        assert!(task.cancel());
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
        assert_eq!((stops.runs(), runs.live(), task.errors().len()), (2, 0, 2));
    });
}

/// Services and tickers have names, which dumps show.
#[test]
fn names_are_shown() {
    let env = TestEnvironment::builder().baton().workers(2).build();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    let note = move || seen.lock().expect("no panic").push(overstrand::current::task_name());
    let noted = note.clone();
    let web = Service::new(
        move |cx| {
            note();
            cx.token().wait();
            Ok(())
        },
        |_| Ok(()),
    );
    let web = web.name("web").on(env.pool());
    web.start().expect("it starts");
    web.wait_started(Duration::from_secs(9)).expect("it is called");
    let beat = Ticker::new(Duration::from_secs(1), move |_| {
        noted();
        Ok(())
    });
    let beat = beat.on(env.pool());
    beat.start().expect("it starts");
    env.advance(Duration::from_secs(1));
    beat.stop(None).expect("it ends");
    web.stop(None).expect("it ends");
    let names = log.lock().expect("no panic").iter().flatten().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["web", "ticker"]);
}
