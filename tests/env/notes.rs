//! What several of these tests use.

use std::sync::{Arc, Mutex};

use overstrand::testing::TestEnvironment;
use overstrand::{SequencedTaskRunner, TaskTraits};

/// What happened, in order.
pub(crate) type Log = Arc<Mutex<Vec<&'static str>>>;

/// A task that writes one line.
pub(crate) fn note(log: &Log, what: &'static str) -> impl FnOnce() + Send + 'static {
    let log = Arc::clone(log);
    move || log.lock().expect("no panic").push(what)
}

/// What has been written.
pub(crate) fn seen(log: &Log) -> Vec<&'static str> {
    log.lock().expect("no panic").clone()
}

/// A sequence with the usual traits.
pub(crate) fn strand(env: &TestEnvironment) -> SequencedTaskRunner {
    env.pool().create_sequenced_task_runner(TaskTraits::default())
}
