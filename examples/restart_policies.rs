//! Which runs are followed by another, and what the outcome is when none follows.
//!
//! ```text
//! cargo run --release --example restart_policies
//! ```
//!
//! Prints (and the message of the panic on the standard error):
//!
//! ```text
//! invoice: 1 run, failed: no paper
//! download: 3 runs, completed
//! upload: 3 runs, failed: the line is cut
//! port: 1 run, failed for good: invalid digit found in string
//! parser: 2 runs, completed
//! query: 2 runs, timed out
//! sync: 3 runs, cancelled
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use overstrand::{
    Backoff, Fatal, Outcome, RestartPolicy, SelfCancelled, Supervisor, TaskContext, TaskResult, TaskSpec, ThreadPool,
};

/// Lets the task come to its end, and tells it.
fn live<F>(
    supervisor: &Supervisor,
    name: &'static str,
    say: impl FnOnce(TaskSpec) -> TaskSpec,
    mut body: F,
) -> Result<(u64, Outcome), Box<dyn Error + Send + Sync>>
where
    F: FnMut(&TaskContext) -> TaskResult + Send + 'static,
{
    let runs = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&runs);
    let spec = TaskSpec::blocking(name, move |cx: &TaskContext| {
        counter.store(cx.generation(), Ordering::Relaxed);
        body(cx)
    });
    let outcome = supervisor.submit(say(spec))?.outcome().join()?;
    let runs = runs.load(Ordering::Relaxed);
    println!("{name}: {runs} run{}, {outcome}", if runs == 1 { "" } else { "s" });
    Ok((runs, outcome))
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    use RestartPolicy::{Always, Never, OnFailure};

    let pool = ThreadPool::builder().workers(2).build()?;
    let pause = Backoff::exponential(Duration::from_millis(1)).max(Duration::from_millis(50));
    let supervisor = Supervisor::builder(&pool).backoff(pause).build()?;

    // What must not be done twice.
    let (runs, outcome) = live(&supervisor, "invoice", |spec| spec.restart(Never), |_| Err("no paper".into()))?;
    assert!(runs == 1 && matches!(outcome, Outcome::Failed(_)));

    // Until it succeeds; this is also what holds if nothing is said.
    let download = |cx: &TaskContext| if cx.attempt() < 3 { Err("not yet".into()) } else { Ok(()) };
    let (runs, outcome) = live(&supervisor, "download", |spec| spec.restart(OnFailure), download)?;
    assert!(runs == 3 && outcome.is_completed());

    // Two retries are three runs.
    let (runs, outcome) = live(&supervisor, "upload", |spec| spec.max_retries(2), |_| Err("the line is cut".into()))?;
    assert!(runs == 3 && matches!(outcome, Outcome::Failed(_)));

    // No retry makes this a number.
    let port = |_: &TaskContext| "80a".parse::<u16>().map(drop).map_err(|error| Fatal::new(error).into());
    let (runs, outcome) = live(&supervisor, "port", |spec| spec.restart(OnFailure), port)?;
    assert!(runs == 1 && matches!(outcome, Outcome::Fatal(_)));

    // A panic is a failure like others.
    let parser = |cx: &TaskContext| {
        assert!(cx.generation() > 1, "a bug that shows once");
        Ok(())
    };
    let (runs, outcome) = live(&supervisor, "parser", |spec| spec.restart(OnFailure), parser)?;
    assert!(runs == 2 && outcome.is_completed());

    // So is a run that takes too long; it is told to stop, and heeds that.
    let query = |cx: &TaskContext| {
        cx.token().wait();
        Ok(())
    };
    let limits = |spec: TaskSpec| spec.max_retries(1).attempt_timeout(Duration::from_millis(100));
    let (runs, outcome) = live(&supervisor, "query", limits, query)?;
    assert!(runs == 2 && matches!(outcome, Outcome::TimedOut));

    // For ever, or until it does not want to any more.
    let sync = |cx: &TaskContext| if cx.generation() < 3 { Ok(()) } else { Err(SelfCancelled.into()) };
    let interval = Duration::from_millis(1);
    let (runs, outcome) = live(&supervisor, "sync", |spec| spec.restart(Always { interval }), sync)?;
    assert!(runs == 3 && matches!(outcome, Outcome::Cancelled));
    Ok(())
}
