//! How work is posted: the runners, and what tasks can learn about theirs.
//!
//! | file | the question it answers |
//! |---|---|
//! | `lane` | who may run the tasks of a sequence, and when it is idle; read first |
//! | `sequence`, `sequenced` | a lane that a pool gives turns to; its handle |
//! | `single`, `main_thread` | sequences with a thread of their own, or yours |
//! | `slots`, `group`, `parallel` | how many tasks of a parallel runner run: the word, what is behind it, the handle |
//! | `crew`, `job` | how many workers one body has: the word, the handle |
//! | `task_runner`, `current`, `listed` | any runner; the one that runs now; what a dump is told |
//! | `barrier`, `sync_call`, `scope` | who waits: for a parallel runner, for a turn, for tasks that borrow |
//! | `repeating`, `arming`, `timer` | what comes again |
//! | `futures`, `polled` | what is polled |
//! | `reply`, `deposit`, `then`, `fan_in` | what follows a task |
//! | `owned`, `weak_bound`, `sequence_local`, `sequence_cell`, `drop_on` | what belongs to a sequence |
//! | `tracker`, `one_shot_event`, `event_bus` | what belongs together, what waits for an event, who hears of it |
#![forbid(unsafe_code)]

mod arming;
mod barrier;
mod crew;
pub(crate) mod current;
mod deposit;
mod drop_on;
pub(crate) mod event_bus;
mod fan_in;
pub(crate) mod futures;
mod group;
mod job;
mod lane;
mod listed;
mod main_thread;
mod one_shot_event;
mod owned;
mod parallel;
pub(crate) mod polled;
mod repeating;
mod reply;
mod scope;
mod sequence;
mod sequence_cell;
mod sequence_local;
pub(crate) mod sequenced;
mod single;
mod slots;
mod sync_call;
mod task_runner;
mod then;
mod timer;
mod tracker;
mod weak_bound;

#[cfg(test)]
mod tests;

use crate::sync::unmodelled::{AtomicU64, Ordering};

/// The next runner's number; 0 means "none".
static IDS: AtomicU64 = AtomicU64::new(1);

/// A number that no other runner has.
fn next_id() -> u64 {
    // Relaxed: a number of its own, nothing more.
    IDS.fetch_add(1, Ordering::Relaxed)
}

pub use crate::pool::bound::Overflow;
pub use drop_on::DropOn;
pub use event_bus::{EventBus, Subscription};
pub use fan_in::{Barrier, join_all, race};
pub use futures::{Sleep, sleep};
pub use job::{JobDelegate, JobHandle};
pub use main_thread::{MainThreadTaskRunner, MainThreadTaskRunnerBuilder, QuitHandle};
pub use one_shot_event::OneShotEvent;
pub use owned::SequenceBound;
pub use parallel::{ParallelTaskRunner, ParallelTaskRunnerBuilder};
pub use repeating::RepeatingTaskHandle;
pub(crate) use repeating::repeat_until;
pub use scope::{Scope, ScopedTaskHandle, TryScope};
pub use sequence::RunnerStats;
pub use sequence_cell::{SequenceCell, SequenceCellError};
pub use sequence_local::{SequenceLocal, SequenceLocalError};
pub use sequenced::{Close, SequencedTaskRunner, SequencedTaskRunnerBuilder};
pub use single::{SingleThreadTaskRunner, SingleThreadTaskRunnerBuilder, ThreadMode};
pub use task_runner::{BoxedTask, TaskRunner, runner};
pub use timer::Timer;
pub use tracker::TaskTracker;
pub use weak_bound::WeakBound;
