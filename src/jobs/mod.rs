//! Resumable jobs: long work that makes room for urgent work, and goes on where it was.
//!
//! | word | means |
//! |---|---|
//! | job | a state, and a step that is called until it is done |
//! | run | from when a worker takes the job to when the job ends or yields |
//! | asked | that run is to yield: something more urgent waits, and no worker is free for it |
//! | lane | the classes that a worker serves |
//! | seat | a worker, as the board knows it |
//! | desk | a worker's resource, on the worker's thread |
//!
//! | file | the question it answers |
//! |---|---|
//! | `board` | which job is next, who is asked to yield, who is woken? Data under one lock; read first |
//! | `executor` | the handle and its builder |
//! | `shared` | what is done after the lock; the turns of workers |
//! | `desk` | resources, built and dropped on their threads |
//! | `errand` | one job, whatever its types: its state, its saves, its one answer |
//! | `job` | what is submitted |
//! | `context` | what a step knows of its run |
//! | `store` | where states survive |
//! | `redb_store`, `record`, `backing` | the store in a file (feature `store-redb`): commits, what a record is, what it is written to |
//! | `supervised` | the same steps under a supervisor, without an executor |
//! | `error` | why a job has no result |
//!
//! No user code runs under the board's lock, and nothing of the user is dropped there. Each worker is a thread of the pool with a runner of its own. One that was woken takes jobs until there is none
//! for it, and says so under the lock: whoever adds a job after that wakes it again.
//!
//! The bad interleaving: a token is cancelled between the moment when its job was taken and its first step. Excluded because the worker looks at the token after it took the job.
//!
//! Witnessed by `tests/env/jobs_classes.rs`, `tests/env/jobs_ends.rs`, `tests/env/jobs_states.rs`, `tests/env/jobs_supervised.rs`; the store in a file by `tests/p_kill.rs` and `jobs::tests`.
#![forbid(unsafe_code)]

#[cfg(feature = "store-redb")]
mod backing;
mod board;
mod context;
mod desk;
mod errand;
mod error;
mod executor;
mod job;
#[cfg(feature = "store-redb")]
mod record;
#[cfg(feature = "store-redb")]
mod redb_store;
mod shared;
mod store;
mod supervised;

#[cfg(all(test, feature = "store-redb", not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

pub use context::JobContext;
pub use error::JobError;
pub use executor::{JobExecutor, JobExecutorBuilder, JobStats};
pub use job::{Job, JobLane, Step};
#[cfg(feature = "store-redb")]
pub use redb_store::{RedbStore, RedbStoreBuilder, StoreStats};
pub use store::{MemoryStore, SavedState, StateStore, StoreError, StoreErrorKind};
