//! Jobs: what becomes of their states (RES-3).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overstrand::testing::TestEnvironment;
use overstrand::{
    BoxError, CancelToken, Job, JobError, MemoryStore, Priority, SavedState, StateStore, Step, StoreError,
};

use crate::AnyResult;
use crate::jobs_classes::{Log, explore, short, single};

/// How far it is.
#[derive(Debug, Default)]
struct Row(u64);

impl SavedState for Row {
    fn save(&self) -> Result<Vec<u8>, BoxError> {
        if self.0 == 13 { Err("unlucky".into()) } else { Ok(self.0.to_le_bytes().into()) }
    }

    fn restore(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(Self(u64::from_le_bytes(bytes.try_into()?)))
    }
}

/// Counts to `end` and yields at each row.
fn count_to(end: u64, steps: &Arc<AtomicUsize>) -> Job<Row, u64> {
    let steps = Arc::clone(steps);
    Job::stateful("count", Row::default(), move |row: &mut Row, _: &mut _| {
        steps.fetch_add(1, Ordering::SeqCst);
        row.0 += 1;
        Ok(if row.0 >= end { Step::Done(row.0) } else { Step::Yield })
    })
}

/// RES-3: what was saved is where the next one begins, after a cancel too; done, nothing is left.
#[test]
fn job_goes_on_from_its_last_save() {
    explore(40, |env| {
        let (jobs, store) = (single(env), Arc::new(MemoryStore::default()));
        let (token, steps) = (CancelToken::new(), Arc::new(AtomicUsize::new(0)));
        let left = token.clone();
        let first = Job::stateful("first", Row::default(), move |row: &mut Row, _: &mut _| {
            row.0 += 1;
            if row.0 == 4 {
                left.cancel();
            }
            Ok(if row.0 % 2 == 0 { Step::<u64>::Again } else { Step::Yield })
        });
        let first = jobs.submit(first.saved_in(Arc::clone(&store) as Arc<_>, "row"), &token);
        assert!(matches!(first.join(), Ok(Err(JobError::Cancelled))));
        env.run_until_idle();
        let kept = store.load("row").expect("it is there");
        assert_eq!(kept.as_deref(), Some(&4_u64.to_le_bytes()[..]));
        let second = count_to(6, &steps).saved_in(Arc::clone(&store) as Arc<_>, "row");
        assert_eq!(jobs.execute(second, &CancelToken::new()).expect("done"), 6);
        assert_eq!(steps.load(Ordering::SeqCst), 2);
        assert_eq!(store.load("row").expect("it can be asked"), None);
        let stats = jobs.stats();
        assert_eq!(
            (stats.yields, stats.preemptions, stats.saves, stats.queued, stats.running),
            (3, 0, 4, [0; 3], [0; 3])
        );
    });
}

/// A store that fails on demand.
struct Broken(&'static str);

impl StateStore for Broken {
    fn save(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        if self.0 == "save" { Err(StoreError::new("disk full")) } else { Ok(()) }
    }

    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0 {
            "load" => Err(StoreError::new("no disk")),
            "restore" => Ok(Some(vec![1, 2, 3])),
            _ => Ok(None),
        }
    }

    fn remove(&self, _: &str) -> Result<(), StoreError> {
        if self.0 == "remove" { Err(StoreError::new("read only")) } else { Ok(()) }
    }
}

/// RES-3: a failing save or restore is the error of that job, and of nothing else; no step is made from a state that is not there.
#[test]
fn failing_store_is_an_error_of_that_job() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let (jobs, token) = (single(&env), CancelToken::new());
    for (defect, made) in [("load", 0), ("restore", 0), ("save", 1)] {
        let steps = Arc::new(AtomicUsize::new(0));
        let failed = jobs.execute(count_to(3, &steps).saved_in(Arc::new(Broken(defect)), "row"), &token);
        assert!(matches!(failed, Err(JobError::Store(_))), "{defect}: {failed:?}");
        assert_eq!(steps.load(Ordering::SeqCst), made, "{defect}");
    }
    let steps = Arc::new(AtomicUsize::new(0));
    assert_eq!(jobs.execute(count_to(3, &steps).saved_in(Arc::new(Broken("remove")), "row"), &token)?, 3);
    let unlucky = jobs.execute(count_to(20, &steps).saved_in(Arc::new(MemoryStore::default()), "row"), &token);
    assert!(matches!(unlucky, Err(JobError::Store(_))));
    assert_eq!(jobs.execute(count_to(3, &steps), &token)?, 3);
    Ok(())
}

/// RES-3: `no_reschedule` has one run, and ends with its part.
#[test]
fn preempted_job_may_end_in_part() {
    explore(40, |env| {
        let (jobs, log) = (single(env), Log::default());
        let inner = jobs.clone();
        let estimate = Job::stateful("estimate", 0_u32, move |rows: &mut u32, cx: &mut _| {
            *rows += 10;
            if *rows == 30 {
                drop(inner.submit(short(&log, "urgent", Priority::UserBlocking), &CancelToken::new()));
            }
            Ok(if cx.should_yield() { Step::Yield } else { Step::Again })
        });
        let estimate = estimate.priority(Priority::BestEffort).no_reschedule(|rows| rows);
        assert_eq!(jobs.execute(estimate, &CancelToken::new()).expect("a part"), 30);
    });
}
