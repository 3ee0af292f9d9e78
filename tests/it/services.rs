//! SUP-15: services on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::{CancelToken, Service, ServiceError, TaskContext, Ticker};

use crate::pool;

const PATIENCE: Duration = Duration::from_secs(60);
const THREADS: usize = 6;
const OPERATIONS: usize = 60;

/// How many are under way, and the most that ever were.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

impl Inside {
    fn enter(&self) {
        self.0.1.fetch_max(self.0.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn now_and_most(&self) -> (usize, usize) {
        (self.0.0.load(Ordering::SeqCst), self.0.1.load(Ordering::SeqCst))
    }
}

/// Threads that start, stop, restart and reload at will: never two runs, no reload beside a stop, each call comes back, and the last stop leaves nothing behind.
#[test]
fn threads_start_stop_and_restart_at_will() {
    let pool = pool(2);
    let (runs, beside) = (Inside::default(), Inside::default());
    let (run, stopping, reloading) = (runs.clone(), beside.clone(), beside.clone());
    let mut number = 0;
    let start = move |cx: &TaskContext| {
        number += 1;
        run.enter();
        cx.ready();
        // Each third ends by itself.
        if number % 3 > 0 {
            cx.token().wait();
        }
        run.leave();
        assert_ne!(number % 5, 0, "now and then one panics");
        Ok(())
    };
    let stop = move |_: &TaskContext| {
        stopping.enter();
        std::thread::yield_now();
        stopping.leave();
        Ok(())
    };
    let reload = move |_: &TaskContext| {
        reloading.enter();
        std::thread::yield_now();
        reloading.leave();
        Ok(())
    };
    let service = Service::new(start, stop).on_reload(reload).on(&pool);
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (service, token) = (&service, &token);
            scope.spawn(move || {
                for operation in 0..OPERATIONS {
                    let result = match (thread + operation) % 6 {
                        0 => service.restart(PATIENCE),
                        1 => service.stop(PATIENCE),
                        2 => service.start_with(token),
                        3 => service.reload(PATIENCE),
                        4 => service.restart(PATIENCE),
                        _ => service.wait_ready(PATIENCE),
                    };
                    assert!(matches!(result, Ok(()) | Err(ServiceError::Stopped)), "{result:?}");
                    assert!(service.uptime().is_none_or(|uptime| uptime < PATIENCE));
                    assert!(service.errors().len() <= 16);
                }
            });
        }
    });
    service.start_with(&token).expect("it starts");
    token.cancel();
    service.wait_stopped(PATIENCE).expect("it ends with its token");
    assert!(!service.is_running() && service.uptime().is_none());
    assert_eq!(runs.now_and_most(), (0, 1));
    assert_eq!(beside.now_and_most(), (0, 1));
}

/// A service and a ticker that are started and dropped, again and again, leave no run behind.
#[test]
fn dropped_handles_leave_nothing_behind() {
    let pool = pool(2);
    let runs = Inside::default();
    for round in 0..100 {
        let (run, tick) = (runs.clone(), runs.clone());
        let start = move |cx: &TaskContext| {
            run.enter();
            cx.token().wait();
            run.leave();
            Ok(())
        };
        let service = Service::new(start, |_| Ok(())).on(&pool);
        let tick = move |_: &overstrand::TickContext| {
            tick.enter();
            tick.leave();
            Ok(())
        };
        let ticker = Ticker::new(Duration::from_millis(1), tick).immediate().on(&pool);
        service.start().expect("it starts");
        ticker.start().expect("it starts");
        if round % 2 == 0 {
            service.wait_started(PATIENCE).expect("it is called");
            ticker.wait_started(PATIENCE).expect("it is called");
        }
    }
    assert!(pool.shutdown().expect("outside of the pool").stragglers.is_empty());
    assert_eq!(runs.now_and_most().0, 0);
}
