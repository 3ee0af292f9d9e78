//! Keeping tasks alive.
//!
//! The policies are plain data and plain decisions: nothing of them reads a clock, starts a thread, takes a lock or runs user code. Around them is the house, data under one lock that says what is to be done, and the
//! keeper, who does it.
//!
//! | file | the question it answers |
//! |---|---|
//! | `backoff` | [`Backoff`]: how long is the pause before the next attempt? |
//! | `choice` | who gives up a place for a newcomer? |
//! | `intensity` | [`Exhausted`]: do restarts come too often, and what then? |
//! | `restart` | [`RestartPolicy`]: is there a next attempt? |
//! | `settings`, `spec` | what can be said about a task, and what is submitted |
//! | `outcome` | how did it end? |
//! | `context` | what does a run know of itself? |
//! | `house`, `roll` | the data, and the table of phases; read first |
//! | `admission`, `life`, `stopping`, `watchdog`, `group` | who gets in; how runs begin and end; how they are stopped; who is silent; who belongs together |
//! | `keeper` | what is done after the lock, and the one timer |
//! | `body`, `halt` | runs, as tasks of the pool; bodies that are told to stop by a function |
//! | `task`, `supervisor`, `report` | the handles, and what they tell |
//! | `event`, `subscriber` | what is told, and to whom |
//! | `signals` | when does a daemon end? |
//!
//! Witnessed by `tests/env/supervise_*.rs`; the policies by `tests`, cell by cell.
#![forbid(unsafe_code)]

mod admission;
mod backoff;
mod body;
mod choice;
mod context;
mod event;
mod group;
mod halt;
mod house;
mod intensity;
mod keeper;
mod life;
mod outcome;
mod report;
mod restart;
mod roll;
mod settings;
#[cfg(feature = "signals")]
mod signals;
mod spec;
mod stopping;
mod subscriber;
mod supervisor;
mod task;
mod watchdog;

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

pub use backoff::{Backoff, Jitter};
pub use context::TaskContext;
pub use event::{Event, EventKind, EventWriter, StopReason, Subscribe, TracingSubscriber};
pub(crate) use halt::{Halves, ReloadError};
pub use intensity::Exhausted;
pub use outcome::{ErrorRecord, Fatal, Outcome, OutcomeKind, Rejection, RunError, SelfCancelled, SharedError};
pub use report::{SupervisorReport, SupervisorStats, TaskInfo};
pub use restart::RestartPolicy;
pub use settings::OnStuck;
pub use spec::{Admission, Strategy, SubmitError, TaskId, TaskSpec};
pub use supervisor::{Supervisor, SupervisorBuilder};
pub use task::{SupervisedTask, TaskControl, TaskStatus};
