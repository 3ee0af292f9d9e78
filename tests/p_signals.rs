//! SUP-13: SIGTERM ends a daemon in order, when that is asked for. Signals belong to the process, so this is a test binary of its own.

use overstrand::{Outcome, Supervisor, TaskContext, TaskSpec, ThreadPool};

#[test]
fn daemon_ends_with_a_signal() {
    let pool = ThreadPool::builder().workers(2).build().expect("there are threads");
    let supervisor = Supervisor::builder(&pool).build().expect("valid");
    let task = TaskSpec::blocking("daemon", |cx: &TaskContext| {
        // Again and again: one that comes before anybody listens is not for us.
        while !cx.is_cancelled() {
            cx.ready();
            cx.token().wait();
        }
        Ok(())
    });
    let task = supervisor.submit(task).expect("there is room");
    let sender = TaskSpec::blocking("sender", |cx: &TaskContext| {
        while cx.sleep(std::time::Duration::from_millis(5)) {
            if signals_are_caught() {
                signal_hook::low_level::raise(signal_hook::consts::SIGTERM)?;
            }
        }
        Ok(())
    });
    supervisor.submit(sender).expect("there is room");
    let report = supervisor.run_until_signal().expect("from outside");
    assert!(report.stuck.is_empty());
    assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
}

/// True when this process has a handler of its own for SIGTERM.
fn signals_are_caught() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
    u64::from_str_radix(&caught, 16).is_ok_and(|mask| mask & 1 << (signal_hook::consts::SIGTERM - 1) != 0)
}
