//! Services that are reloaded while they run, and that say when they are ready (SUP-15).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{CancelToken, RunError, Service, ServiceError, TaskContext, TaskHandle, TaskResult};

use crate::AnyResult;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);

fn explore(test: impl Fn(&TestEnvironment)) {
    TestEnvironment::builder().workers(3).baton().explore(0..60, test);
}

fn baton(seed: u64) -> TestEnvironment {
    TestEnvironment::builder().seed(seed).workers(3).baton().build()
}

fn until_told(cx: &TaskContext) -> TaskResult {
    cx.token().wait();
    Ok(())
}

fn server(env: &TestEnvironment) -> Service {
    Service::new(until_told, |_| Ok(())).on(env.pool())
}

/// Calls it elsewhere.
fn spawn<T: Send + 'static>(
    env: &TestEnvironment,
    service: &Service,
    f: impl FnOnce(&Service) -> T + Send + 'static,
) -> TaskHandle<T> {
    let service = service.clone();
    env.pool().spawn(move || f(&service))
}

/// It is called beside the start function, which goes on; what is missing is said.
#[test]
fn reload_does_not_stop_it() {
    explore(|env| {
        let (runs, reloads) = (Gauge::default(), Gauge::default());
        let (run, reloaded) = (runs.clone(), reloads.clone());
        let plain = Service::new(move |cx| run.run(|| until_told(cx)), |_| Ok(())).on(env.pool());
        assert!(matches!(plain.reload(SECOND), Err(ServiceError::NoReload)));
        let service = plain.on_reload(move |cx| {
            assert!(!cx.is_cancelled());
            reloaded.run(|| Ok(()))
        });
        assert!(matches!(service.reload(SECOND), Err(ServiceError::Stopped)));
        service.start().expect("it starts");
        // Also right after the start: it waits until the start function has been called.
        service.reload(SECOND).expect("it runs");
        env.advance(SECOND);
        service.reload(None).expect("it runs");
        assert_eq!((runs.live(), runs.runs(), reloads.runs()), (1, 1, 2));
        assert_eq!(service.uptime(), Some(SECOND));
        service.restart(SECOND).expect("it starts anew");
        service.reload(SECOND).expect("it runs");
        service.stop(SECOND).expect("it stops");
        assert!(matches!(service.reload(SECOND), Err(ServiceError::Stopped)));
        assert_eq!((runs.runs(), reloads.runs(), service.errors().len()), (2, 3, 0));
    });
}

/// Its errors and panics are told and kept, and the next reload is as good as any.
#[test]
fn errors_and_panics_of_a_reload_are_kept() -> AnyResult {
    let env = baton(1);
    let mut turns = ["7", "x", "panic", "8"].into_iter();
    let service = server(&env).on_reload(move |_| {
        let text = turns.next().unwrap_or_default();
        assert_ne!(text, "panic", "a bug");
        text.parse::<u32>()?;
        Ok(())
    });
    service.start()?;
    service.reload(SECOND)?;
    let Err(ServiceError::Failed(error)) = service.reload(SECOND) else { panic!("it is no number") };
    assert!(error.is::<std::num::ParseIntError>());
    let Err(ServiceError::Failed(error)) = service.reload(SECOND) else { panic!("it panics") };
    assert!(matches!(error.downcast_ref(), Some(RunError::Panicked(text)) if text.contains("a bug")));
    service.reload(SECOND)?;
    assert!(service.is_running());
    service.stop(SECOND)?;
    assert_eq!(service.errors().len(), 2, "they are kept beyond the end");
    Ok(())
}

/// Never beside the stop function, never beside itself, whatever comes at once; a stop tells it to end.
#[test]
fn reload_and_stop_are_never_called_at_once() {
    explore(|env| {
        let (beside, runs) = (Gauge::default(), Gauge::default());
        let (run, reload, stop) = (runs.clone(), beside.clone(), beside.clone());
        let start = move |cx: &TaskContext| run.run(|| until_told(cx));
        let stop = move |cx: &TaskContext| {
            stop.run(|| cx.sleep(SECOND / 100));
            Ok(())
        };
        let service = Service::new(start, stop)
            .on_reload(move |cx| {
                reload.run(|| {
                    let in_time = cx.sleep(SECOND / 10);
                    // It takes its time when it is told.
                    _ = CancelToken::new().wait_timeout(SECOND / 100);
                    if in_time { Ok(()) } else { Err("no time".into()) }
                })
            })
            .on(env.pool());
        service.start().expect("it starts");
        let reloads: Vec<_> = (0..3).map(|_| spawn(env, &service, |service| service.reload(SECOND))).collect();
        let restart = spawn(env, &service, |service| service.restart(SECOND * 2));
        for reload in reloads {
            let result = reload.join().expect("no panic");
            assert!(matches!(result, Ok(()) | Err(ServiceError::Failed(_) | ServiceError::Stopped)), "{result:?}");
        }
        restart.join().expect("no panic").expect("it is in time");
        service.stop(SECOND).expect("it stops");
        assert_eq!((beside.most(), beside.live(), runs.most(), runs.live()), (1, 0, 1, 0));
    });
}

/// A reload that is late is told to end, and says so; its error is kept when it comes. A stop waits until it has returned.
#[test]
fn late_reload_is_told_to_end_and_waited_for() -> AnyResult {
    let env = baton(2);
    let (open, order) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (gate, reloaded, stopped) = (Arc::clone(&open), Arc::clone(&order), Arc::clone(&order));
    let note = |order: &Mutex<Vec<&'static str>>, what| order.lock().expect("no panic").push(what);
    let stop = move |_: &TaskContext| {
        note(&stopped, "stop");
        Ok(())
    };
    let service = Service::new(until_told, stop).on(env.pool()).on_reload(move |cx| {
        until_told(cx)?;
        note(&reloaded, "told");
        wait_until(Duration::MAX, || gate.load(Ordering::SeqCst).then_some(()));
        note(&reloaded, "returned");
        Err("at last".into())
    });
    service.start()?;
    assert!(matches!(service.reload(SECOND), Err(ServiceError::TimedOut)));
    assert_eq!(env.now(), SECOND);
    assert!(matches!(service.reload(SECOND), Err(ServiceError::TimedOut)), "the first goes on");
    assert!(matches!(service.stop(SECOND), Err(ServiceError::TimedOut)));
    assert_eq!(*order.lock().expect("no panic"), ["told"]);
    open.store(true, Ordering::SeqCst);
    service.wait_stopped(SECOND)?;
    assert_eq!(*order.lock().expect("no panic"), ["told", "returned", "stop"]);
    assert_eq!(service.last_error().map(|error| error.error.to_string()).as_deref(), Some("at last"));
    Ok(())
}

/// A start function that ends by itself ends the reload, and is over when that has returned.
#[test]
fn end_of_the_run_ends_the_reload() {
    explore(|env| {
        let (end, reloads, told) =
            (Arc::new(AtomicBool::new(false)), Gauge::default(), Arc::new(AtomicBool::new(false)));
        let (ends, counted, tell) = (Arc::clone(&end), reloads.clone(), Arc::clone(&told));
        let start = move |_: &TaskContext| {
            wait_until(Duration::MAX, || ends.load(Ordering::SeqCst).then_some(()));
            Ok(())
        };
        let service = Service::new(start, |_| Err("nobody told it".into())).on(env.pool()).on_reload(move |cx| {
            counted.run(|| cx.token().wait());
            tell.store(true, Ordering::SeqCst);
            Ok(())
        });
        service.start().expect("it starts");
        let reload = spawn(env, &service, |service| service.reload(SECOND));
        wait_until(SECOND, || (reloads.live() == 1).then_some(()));
        end.store(true, Ordering::SeqCst);
        service.wait_stopped(SECOND).expect("it ends");
        assert!(told.load(Ordering::SeqCst), "its end waits for the reload");
        reload.join().expect("no panic").expect("it returned in time");
        assert_eq!((env.now(), service.errors().len()), (Duration::ZERO, 0));
    });
}

/// From inside a reload a stop, a restart and a reload are errors; so they are under a fence, and nothing is told to end.
#[test]
fn reload_does_not_wait_for_itself() -> AnyResult {
    let env = baton(3);
    let own: Arc<Mutex<Option<Service>>> = Arc::default();
    let inside = Arc::clone(&own);
    let service = server(&env).on_reload(move |_| {
        let Some(service) = inside.lock().expect("no panic").clone() else { return Ok(()) };
        let ready = service.wait_ready(SECOND);
        for result in [service.stop(SECOND), service.restart(SECOND), service.reload(SECOND), ready] {
            assert!(matches!(result, Err(ServiceError::WouldDeadlock)), "{result:?}");
        }
        Ok(())
    });
    *own.lock().expect("no panic") = Some(service.clone());
    service.start()?;
    service.reload(SECOND)?;
    let fence = env.pool().fence();
    let waits = [service.stop(SECOND), service.reload(SECOND), service.wait_stopped(SECOND), service.restart(SECOND)];
    for result in waits {
        assert!(matches!(result, Err(ServiceError::WouldDeadlock)), "{result:?}");
    }
    drop(fence);
    assert!(service.is_running() && service.errors().is_empty());
    service.stop(SECOND)?;
    own.lock().expect("no panic").take();
    Ok(())
}

/// Ready is what the run says, not that it was called; of the latest start, and also when it has ended since.
#[test]
fn ready_is_waited_for() {
    explore(|env| {
        let open = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&open);
        let start = move |cx: &TaskContext| {
            let opened = || gate.load(Ordering::SeqCst).then_some(());
            if wait_until(SECOND * 3, opened).is_some() {
                cx.ready();
                until_told(cx)?;
            }
            Ok(())
        };
        let service = Service::new(start, |_| Ok(())).on(env.pool());
        assert!(matches!(service.wait_ready(SECOND), Err(ServiceError::Stopped)));
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        assert!(matches!(service.wait_ready(SECOND), Err(ServiceError::TimedOut)));
        assert!(matches!(service.wait_ready(SECOND * 9), Err(ServiceError::Stopped)), "it gave up");
        open.store(true, Ordering::SeqCst);
        service.start().expect("it starts");
        service.wait_ready(SECOND).expect("it is ready");
        service.stop(SECOND).expect("it stops");
        service.wait_ready(SECOND).expect("it has been");
    });
}

/// A pool that shuts down during a reload tells it to end, and calls the stop function after it.
#[test]
fn shutdown_during_a_reload_ends_both() {
    explore(|env| {
        let (beside, stops) = (Gauge::default(), Gauge::default());
        let (reloads, stop) = (beside.clone(), stops.clone());
        let service = Service::new(until_told, move |_| stop.run(|| Ok(())))
            .on(env.pool())
            .on_reload(move |cx| reloads.run(|| until_told(cx)));
        service.start().expect("it starts");
        let reload = spawn(env, &service, |service| service.reload(SECOND * 60));
        wait_until(SECOND, || (beside.live() == 1).then_some(()));
        env.pool().shutdown().expect("no deadlock");
        assert_eq!((beside.live(), stops.runs(), service.is_running()), (0, 1, false));
        assert!(reload.join().is_ok_and(|result| result.is_ok()));
        assert!(matches!(service.reload(SECOND), Err(ServiceError::Stopped)));
    });
}

/// A reload that no thread has come to is in nobody's way: a stop is not kept from ending, and it is not called after it.
#[test]
fn reload_that_has_not_begun_is_not_waited_for() {
    explore(|env| {
        let (reloads, stops, go) = (Gauge::default(), Gauge::default(), [CancelToken::new(), CancelToken::new()]);
        let (reloaded, stopped) = (reloads.clone(), stops.clone());
        let service = Service::new(until_told, move |_| stopped.run(|| Ok(())))
            .on(env.pool())
            .on_reload(move |_| reloaded.run(|| Ok(())));
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        let [first, second] = go.clone();
        let reload = spawn(env, &service, move |service| {
            first.wait();
            service.reload(SECOND * 9)
        });
        let stop = spawn(env, &service, move |service| {
            second.wait();
            service.stop(SECOND)
        });
        env.run_until_idle();
        // No task begins from here on.
        let fence = env.pool().fence();
        for gate in &go {
            gate.cancel();
            env.run_until_idle();
        }
        assert!(!service.is_running(), "both functions were called by the run");
        drop(fence);
        stop.join().expect("no panic").expect("in time");
        assert!(matches!(reload.join(), Ok(Err(ServiceError::Stopped))));
        assert_eq!((reloads.runs(), stops.runs(), env.now()), (0, 1, Duration::ZERO));
    });
}
