//! Tasks that share a slot: the newest sync of a tenant wins, reports wait for their turn, one import is enough.
//!
//! ```text
//! cargo run --release --example slots
//! ```
//!
//! Prints:
//!
//! ```text
//! sync of acme, version 1: cancelled
//! sync of acme, version 2: rejected: a newer one took its turn
//! sync of acme, version 3: completed
//! sync of zeta, version 1: completed
//! second import: refused
//! import: completed
//! reports: [1, 2, 3]
//! ```

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Admission, SubmitError, Supervisor, TaskContext, TaskSpec, ThreadPool};

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A body that is in the middle of something until it is told.
fn busy() -> (impl FnMut(&TaskContext) -> AnyResult + Send + 'static, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let body = move |cx: &TaskContext| {
        cx.ready();
        let _ = released.recv();
        Ok(())
    };
    (body, release)
}

/// Only the newest version counts.
fn newest_wins(supervisor: &Supervisor) -> AnyResult {
    let (body, release) = busy();
    // The slot is the tenant; who replaces may have the same name.
    let first = supervisor.submit(TaskSpec::blocking("sync acme", body).slot("acme", Admission::Replace))?;
    first.wait_ready(Duration::from_secs(60))?;
    let sync = |tenant: &'static str| {
        TaskSpec::blocking(format!("sync {tenant}"), |_| Ok(())).slot(tenant, Admission::Replace)
    };
    // The first is told to stop. While it has not returned nobody else runs, and the third takes the turn of the second.
    let (second, third) = (supervisor.submit(sync("acme"))?, supervisor.submit(sync("acme"))?);
    let other = supervisor.submit(sync("zeta"))?;
    assert!(other.outcome().join()?.is_completed(), "another slot");
    drop(release);
    for (version, task) in [(1, first), (2, second), (3, third)] {
        println!("sync of acme, version {version}: {}", task.outcome().join()?);
    }
    println!("sync of zeta, version 1: completed");
    Ok(())
}

/// Somebody does it already.
fn once(supervisor: &Supervisor) -> AnyResult {
    let (body, release) = busy();
    let import = supervisor.submit(TaskSpec::blocking("import", body).slot("import", Admission::DropIfRunning))?;
    let again = TaskSpec::blocking("import again", |_| Ok(())).slot("import", Admission::DropIfRunning);
    assert!(matches!(supervisor.submit(again), Err(SubmitError::SlotBusy(_))));
    println!("second import: refused");
    drop(release);
    println!("import: {}", import.outcome().join()?);
    Ok(())
}

/// All of them, in the order of submission, one at a time.
fn in_turn(supervisor: &Supervisor) -> AnyResult {
    let (tell, told) = mpsc::channel();
    for number in 1..=3 {
        let tell = tell.clone();
        let report = TaskSpec::blocking(format!("report {number}"), move |_| Ok(tell.send(number)?));
        // Who is waiting in a slot has a name of its own.
        supervisor.submit(report.slot("reports", Admission::Queue))?;
    }
    let order: Vec<i32> = told.iter().take(3).collect();
    assert_eq!(order, [1, 2, 3]);
    println!("reports: {order:?}");
    Ok(())
}

fn main() -> AnyResult {
    let pool = ThreadPool::builder().workers(2).build()?;
    let supervisor = Supervisor::builder(&pool).capacity(10).build()?;
    newest_wins(&supervisor)?;
    once(&supervisor)?;
    in_turn(&supervisor)?;
    assert!(supervisor.shutdown()?.stuck.is_empty());
    Ok(())
}
