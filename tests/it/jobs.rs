//! RES, SUP-16: resumable jobs and tickers on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::{CancelToken, Job, JobContext, JobError, JobExecutor, Priority, Step, Ticker};

use crate::{pool, wait_until};

const ROWS: u64 = 200;
const CLASSES: [Priority; 3] = [Priority::UserBlocking, Priority::UserVisible, Priority::BestEffort];

/// Counts those that are alive.
struct Connection(Arc<AtomicUsize>);

impl Connection {
    fn open(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A sum that makes room when it is asked to, and now and then without; fails if it runs twice at once.
fn sum(priority: Priority) -> Job<(u64, u64), u64, Connection> {
    let is_inside = AtomicBool::new(false);
    let step = move |(row, total): &mut (u64, u64), cx: &mut JobContext<Connection>| {
        assert!(!is_inside.swap(true, Ordering::SeqCst), "it runs twice at once");
        *row += 1;
        *total += *row;
        is_inside.store(false, Ordering::SeqCst);
        if *row == ROWS {
            return Ok(Step::Done(*total));
        }
        Ok(if cx.should_yield() || *row % 50 == 0 { Step::Yield } else { Step::Again })
    };
    Job::stateful("sum", (0, 0), step).priority(priority)
}

/// RES-1 to RES-6: threads that hand jobs over in every way, callers that leave, a shutdown: each caller has one answer, each sum is right, nothing of the resources is left.
#[test]
fn every_caller_has_one_answer() {
    for (ui, background) in [(1, 0), (1, 2), (2, 1)] {
        let (pool, open) = (pool(2), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&open);
        let jobs = JobExecutor::builder(&pool)
            .ui_workers(ui)
            .background_workers(background)
            .queue_capacity(Priority::BestEffort, 4)
            .resource(move |_| Ok(Connection::open(&counted)))
            .build()
            .expect("valid");
        let (right, left, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let count = |answer: Result<u64, JobError>| match answer {
            Ok(total) => {
                assert_eq!(total, ROWS * (ROWS + 1) / 2);
                right.fetch_add(1, Ordering::SeqCst);
            }
            Err(JobError::Cancelled) => _ = left.fetch_add(1, Ordering::SeqCst),
            Err(JobError::Full) => _ = refused.fetch_add(1, Ordering::SeqCst),
            Err(error) => panic!("{error}"),
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (jobs, count) = (&jobs, &count);
                scope.spawn(move || {
                    for number in 0..60 {
                        let token = CancelToken::new();
                        let priority = CLASSES[(thread + number) % 3];
                        match number % 4 {
                            0 => count(jobs.submit(sum(priority), &token).join().expect("it is answered")),
                            1 => {
                                let answer = jobs.submit(sum(priority), &token);
                                token.cancel();
                                count(answer.join().expect("it is answered"));
                            }
                            _ => count(jobs.execute(sum(priority), &token)),
                        }
                    }
                });
            }
        });
        let [right, left, refused] = [right, left, refused].map(AtomicUsize::into_inner);
        assert_eq!(right + left + refused, 4 * 60);
        assert!(right >= 4 * 30, "who waits for room has a sum: {right}");
        assert!(open.load(Ordering::SeqCst) <= ui + background);
        let late = jobs.submit(sum(Priority::BestEffort), &CancelToken::new());
        jobs.shutdown().expect("outside");
        assert!(matches!(late.join().expect("it is answered"), Ok(_) | Err(JobError::ShutDown)));
        assert!(matches!(jobs.execute(sum(Priority::UserBlocking), &CancelToken::new()), Err(JobError::ShutDown)));
        assert_eq!(open.load(Ordering::SeqCst), 0, "resources are dropped by the shutdown");
    }
}

/// SUP-16: a ticker ticks until it is stopped, one tick at a time, and not after that.
#[test]
fn ticker_ticks_until_it_is_stopped() {
    let (pool, inside) = (pool(2), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&inside);
    let tick = move |cx: &overstrand::TickContext| {
        assert_eq!(seen.fetch_add(1, Ordering::SeqCst), 0, "two ticks at once");
        seen.fetch_sub(1, Ordering::SeqCst);
        if cx.tick() % 2 == 0 { Err("each second one fails".into()) } else { Ok(()) }
    };
    let ticker = Ticker::new(Duration::from_millis(1), tick).immediate().on(&pool);
    for _ in 0..3 {
        ticker.start().expect("it starts");
        wait_until(|| ticker.ticks() >= 5);
        ticker.stop(Duration::from_secs(60)).expect("it ends");
        let ticks = ticker.ticks();
        assert!(!ticker.is_running() && ticker.last_error().is_some());
        assert_eq!((ticker.ticks(), inside.load(Ordering::SeqCst)), (ticks, 0));
    }
}
