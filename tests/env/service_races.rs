//! Services in the hands of several at once, and what happens at a bad moment (SUP-15).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{CancelToken, Service, ServiceError, TaskContext, TaskHandle, TaskResult};

use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn explore(seeds: u64, test: impl Fn(&TestEnvironment)) {
    TestEnvironment::builder().workers(3).baton().explore(0..seeds, test);
}

fn until_told(cx: &TaskContext) -> TaskResult {
    cx.token().wait();
    Ok(())
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

/// Numbers that are the same in each run of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A service that does something else in each run, and checks that it is alone.
struct Actor {
    runs: Gauge,
    beside: Gauge,
    panics: Arc<AtomicUsize>,
}

impl Actor {
    fn service(&self, env: &TestEnvironment, seed: u64) -> Service {
        let (runs, stopping, reloading) = (self.runs.clone(), self.beside.clone(), self.beside.clone());
        let (started, stopped) = (Arc::clone(&self.panics), Arc::clone(&self.panics));
        let (mut dice, mut stops, mut reloads) = (Dice(seed), Dice(!seed), Dice(seed ^ 0xff));
        let start = move |cx: &TaskContext| {
            let whim = dice.below(6);
            if whim > 0 {
                cx.ready();
            }
            runs.run(|| match whim {
                // Ends by itself, in the end.
                0 => _ = cx.sleep(MILLISECOND * 3),
                1 => {}
                _ => cx.token().wait(),
            });
            if whim == 5 {
                started.fetch_add(1, Ordering::SeqCst);
                panic!("the start is broken");
            }
            if whim == 4 { Err("the start failed".into()) } else { Ok(()) }
        };
        let stop = move |_: &TaskContext| {
            let whim = stops.below(4);
            stopping.run(|| ());
            if whim == 3 {
                stopped.fetch_add(1, Ordering::SeqCst);
                panic!("the stop is broken");
            }
            if whim == 2 { Err("the stop failed".into()) } else { Ok(()) }
        };
        let reload = move |cx: &TaskContext| {
            reloading.run(|| if reloads.below(2) == 0 { cx.sleep(MILLISECOND) } else { true });
            Ok(())
        };
        Service::new(start, stop).on_reload(reload).on(env.pool())
    }
}

/// Whatever four threads tell it: never two runs, no reload beside a stop, nobody hangs, and after the last stop it is stopped, for good.
#[test]
fn threads_do_with_it_what_they_like() {
    explore(150, |env| {
        let actor = Actor { runs: Gauge::default(), beside: Gauge::default(), panics: Arc::default() };
        let service = actor.service(env, env.seed());
        let token = CancelToken::new();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (token, mut dice) = (token.clone(), Dice(env.seed() * 4 + thread));
                spawn(env, &service, move |service| {
                    for _ in 0..6 {
                        let result = match dice.below(8) {
                            0 | 1 => service.start(),
                            2 => service.start_with(&token),
                            3 => service.stop(None),
                            4 => service.restart(SECOND),
                            5 => service.reload(SECOND),
                            6 => service.wait_stopped(MILLISECOND),
                            _ => service.wait_ready(MILLISECOND),
                        };
                        let is_fine = matches!(
                            result,
                            Ok(()) | Err(ServiceError::TimedOut | ServiceError::Stopped | ServiceError::Cancelled)
                        );
                        assert!(is_fine, "{result:?}");
                    }
                })
            })
            .collect();
        env.advance(MILLISECOND * 5);
        token.cancel();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        service.stop(SECOND).expect("it stops");
        assert!(!service.is_running() && service.uptime().is_none());
        let runs = actor.runs.runs();
        env.run_until_idle();
        assert_eq!((actor.runs.most().min(1), actor.runs.live(), actor.runs.runs()), (runs.min(1), 0, runs));
        assert!(actor.beside.most() <= 1 && actor.beside.live() == 0);
        assert!(service.errors().len() <= 16);
    });
}

/// An error or panic that comes by itself is kept, also when a stop comes at that moment: then either it was first, or the stop function was called.
#[test]
fn error_is_not_lost_to_a_stop_of_that_moment() {
    explore(200, |env| {
        let (go, stops) = (CancelToken::new(), Gauge::default());
        let (gone, stop) = (go.clone(), stops.clone());
        let panics = env.seed() % 2 == 0;
        let start = move |_: &TaskContext| {
            gone.wait();
            assert!(!panics, "broken");
            Err("broken".into())
        };
        let service = Service::new(start, move |_| stop.run(|| Ok(()))).on(env.pool());
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        let stopping = spawn(env, &service, |service| service.stop(SECOND));
        go.cancel();
        stopping.join().expect("no panic").expect("it stops");
        let kept = service.errors().len();
        match stops.runs() {
            0 => assert_eq!(kept, 1, "it ended by itself"),
            calls => assert_eq!((calls, kept), (1, usize::from(panics)), "it was told"),
        }
    });
}

/// A wait for the end of a run is not prolonged by the run after it, nor one for the begin by its end.
#[test]
fn waits_are_for_the_run_of_their_time() {
    explore(200, |env| {
        let runs = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&runs);
        let start = move |cx: &TaskContext| {
            count.fetch_add(1, Ordering::SeqCst);
            until_told(cx)
        };
        let service = Service::new(start, |_| Ok(())).on(env.pool());
        service.start().expect("it starts");
        let begin = spawn(env, &service, |service| service.wait_started(SECOND));
        service.wait_started(SECOND).expect("it is called");
        let (tell, told) = std::sync::mpsc::channel();
        let end = spawn(env, &service, move |service| {
            tell.send(service.is_running()).expect("the test waits");
            service.wait_stopped(SECOND)
        });
        wait_until(SECOND, || told.try_recv().ok()).expect("it runs");
        env.run_until_idle();
        service.restart(SECOND).expect("it starts anew");
        end.join().expect("no panic").expect("that run has ended");
        assert!(begin.join().expect("no panic").is_ok());
        assert_eq!(env.now(), Duration::ZERO, "nobody waited for the second run");
        assert!(service.is_running());
        service.stop(SECOND).expect("it stops");
    });
}

/// Turns are taken in the order in which they were asked for.
#[test]
fn turns_come_in_order() {
    explore(60, |env| {
        let (open, runs) = (CancelToken::new(), Gauge::default());
        let (gate, run) = (open.clone(), runs.clone());
        let deaf = move |_: &TaskContext| {
            run.run(|| gate.wait());
            Ok(())
        };
        let service = Service::new(deaf, |_| Ok(())).on(env.pool());
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        let first = spawn(env, &service, |service| service.stop(SECOND * 60));
        env.run_until_idle();
        let start = spawn(env, &service, |service| service.start());
        env.run_until_idle();
        let last = spawn(env, &service, |service| service.stop(SECOND * 60));
        env.run_until_idle();
        open.cancel();
        first.join().expect("no panic").expect("it stops");
        start.join().expect("no panic").expect("it starts");
        last.join().expect("no panic").expect("it stops");
        assert!(!service.is_running(), "the stop was behind the start");
    });
}

/// Whoever gave up waiting for his turn has changed nothing, and is in nobody's way; all waits of one call together take its limit.
#[test]
fn turn_that_was_given_up_is_in_nobodys_way() {
    explore(40, |env| {
        let open = CancelToken::new();
        let gate = open.clone();
        let deaf = move |_: &TaskContext| {
            gate.wait();
            Ok(())
        };
        let service = Service::new(deaf, |_| Ok(())).on(env.pool());
        service.start().expect("it starts");
        service.wait_started(SECOND).expect("it is called");
        let restart = spawn(env, &service, |service| service.restart(SECOND * 10));
        env.run_until_idle();
        let stop = spawn(env, &service, |service| service.stop(SECOND * 4));
        assert!(matches!(stop.join(), Ok(Err(ServiceError::TimedOut))));
        assert_eq!(env.now(), SECOND * 4);
        let patient = spawn(env, &service, |service| service.stop(SECOND * 8));
        assert!(matches!(restart.join(), Ok(Err(ServiceError::TimedOut))));
        assert!(matches!(patient.join(), Ok(Err(ServiceError::TimedOut))));
        assert_eq!(env.now(), SECOND * 12, "6 s for the turn, 2 s for the end");
        open.cancel();
        service.wait_stopped(SECOND).expect("it ends");
        env.run_until_idle();
        assert!(!service.is_running(), "the restart was not in time, and starts nothing later");
    });
}

/// A token that is cancelled while its service starts: it is refused, or started and stopped, and nothing is left.
#[test]
fn token_that_is_cancelled_during_the_start() {
    explore(150, |env| {
        let (runs, session) = (Gauge::default(), CancelToken::new());
        let run = runs.clone();
        let service = Service::new(move |cx| run.run(|| until_told(cx)), |_| Ok(())).on(env.pool());
        let start = {
            let session = session.clone();
            spawn(env, &service, move |service| service.start_with(&session))
        };
        let cancel = env.pool().spawn(move || session.cancel());
        cancel.join().expect("no panic");
        let result = start.join().expect("no panic");
        assert!(matches!(result, Ok(()) | Err(ServiceError::Cancelled)), "{result:?}");
        service.wait_stopped(SECOND).expect("it ends by its token");
        assert!(matches!(service.restart(SECOND), Ok(()) | Err(ServiceError::Cancelled)));
        env.run_until_idle();
        assert_eq!(service.is_running(), result.is_err() && service.uptime().is_some());
        service.stop(SECOND).expect("it stops");
        assert_eq!(runs.live(), 0);
    });
}

/// The last handle goes while others start and stop it: it ends, with its stop function for each run that was told.
#[test]
fn last_handle_is_dropped_at_any_moment() {
    explore(100, |env| {
        let (runs, stops) = (Gauge::default(), Gauge::default());
        let (run, stop) = (runs.clone(), stops.clone());
        let service = Service::new(move |cx| run.run(|| until_told(cx)), move |_| stop.run(|| Ok(()))).on(env.pool());
        let start = spawn(env, &service, |service| service.start());
        let restart = spawn(env, &service, |service| service.restart(SECOND));
        drop(service);
        start.join().expect("no panic").expect("it has a handle");
        restart.join().expect("no panic").expect("it has a handle");
        env.run_until_idle();
        assert_eq!((runs.live(), runs.most().min(1)), (0, runs.runs().min(1)));
        assert_eq!(stops.runs(), runs.runs());
    });
}

/// The pool shuts down while the service is started, stopped and reloaded: nothing runs after it, and each call has an answer.
#[test]
fn pool_shuts_down_under_a_service() {
    explore(150, |env| {
        let actor = Actor { runs: Gauge::default(), beside: Gauge::default(), panics: Arc::default() };
        let service = actor.service(env, env.seed());
        service.start().expect("it starts");
        let calls = [
            spawn(env, &service, |service| service.restart(SECOND)),
            spawn(env, &service, |service| service.reload(SECOND)),
            spawn(env, &service, |service| service.stop(SECOND)),
            spawn(env, &service, |service| service.start()),
        ];
        env.pool().shutdown().expect("no deadlock");
        assert!(!service.is_running());
        assert_eq!((actor.runs.live(), actor.beside.live()), (0, 0));
        let answers = calls.into_iter().filter_map(|call| call.join().ok());
        for result in answers {
            let is_fine =
                matches!(result, Ok(()) | Err(ServiceError::ShutDown | ServiceError::Stopped | ServiceError::TimedOut));
            assert!(is_fine, "{result:?}");
        }
        assert!(matches!(service.start(), Err(ServiceError::ShutDown)));
        service.stop(SECOND).expect("it is stopped");
    });
}

/// A service that fails in each run: only the errors of the latest start are there.
#[test]
fn errors_are_those_of_the_latest_start() {
    explore(40, |env| {
        let mut run = 0;
        let start = move |_: &TaskContext| {
            run += 1;
            Err(format!("run {run}").into())
        };
        let service = Service::new(start, |_| Ok(())).on(env.pool());
        for round in 1..=3 {
            service.restart(SECOND).expect("also what has ended");
            service.wait_stopped(SECOND).expect("it ends");
            let texts: Vec<_> = service.errors().iter().map(|error| error.error.to_string()).collect();
            assert_eq!(texts, [format!("run {round}")]);
        }
    });
}
