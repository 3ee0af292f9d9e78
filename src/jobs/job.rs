//! What is submitted: a state, a step, and what is said about them.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::context::JobContext;
use super::errand::{Body, Keeping};
use super::store::{SavedState, StateStore};
use crate::error::TaskResult;
use crate::task::current::{Name, name_of};
use crate::task::traits::Priority;

/// What a step says about what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<T> {
    /// The job is done, and this is its result.
    Done(T),
    /// The run is over; the job goes on in a later one, from the front of its class.
    Yield,
    /// The step is to be called again at once.
    Again,
}

/// Which classes a worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobLane {
    /// `UserBlocking`, then `UserVisible`.
    Ui,
    /// `BestEffort`; and what is urgent, while the UI lane has no worker free for it.
    Background,
    /// All three: the one worker in all.
    Single,
}

/// A job: a state, and a step that is called with it until it is done; for a [`JobExecutor`](crate::JobExecutor).
///
/// A step does a bounded piece of work and says what comes next. It should look at [`JobContext::should_yield`], and yield then. A body that many workers run at once is another thing:
/// [`ThreadPool::post_job`](crate::ThreadPool::post_job).
///
/// | setting | default |
/// |---|---|
/// | `priority` | `UserVisible` |
/// | `start_delay` | the executor's |
/// | `saved_in` | the state stays in memory |
/// | `no_reschedule` | a job that yields goes on later |
pub struct Job<S, T, R = ()> {
    pub(super) name: Name,
    pub(super) priority: Priority,
    pub(super) delay: Option<Duration>,
    pub(super) body: Body<S, T, R>,
}

impl<S: Send + 'static, T: Send + 'static, R: 'static> Job<S, T, R> {
    /// A job that begins with that state.
    pub fn stateful<F>(name: impl Into<Cow<'static, str>>, state: S, step: F) -> Self
    where
        F: FnMut(&mut S, &mut JobContext<R>) -> TaskResult<Step<T>> + Send + 'static,
    {
        Self { name: name_of(name), priority: Priority::default(), delay: None, body: Body::new(state, Box::new(step)) }
    }

    /// Its class. `UserBlocking` goes before `UserVisible`, that before `BestEffort`; only `BestEffort` is ever asked to yield.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// It waits so long before it is queued, never less. It has its place among those that wait, and holds no worker; a cancel ends it as if it were queued.
    #[must_use]
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// It begins with the state that the store has for `key`, if there is one. It is saved there when it yields, asked or not, and when a cancel or a shutdown ends it between two steps: to lose
    /// little when the process dies, yield now and then. The state is removed when the job is done; when a step fails or panics, what was saved last stays.
    ///
    /// If it cannot be restored, or saved at a yield, that is the job's error: [`JobError::Store`](crate::JobError::Store). One that cannot be removed, or saved at the end, is logged.
    #[must_use]
    pub fn saved_in(mut self, store: Arc<dyn StateStore>, key: impl Into<Cow<'static, str>>) -> Self
    where
        S: SavedState,
    {
        self.body.keeping = Some(Keeping { store, key: key.into(), save: S::save, restore: S::restore });
        self
    }

    /// It has one run: when it yields it ends, with this part of its result.
    #[must_use]
    pub fn no_reschedule(mut self, partial: impl FnOnce(S) -> T + Send + 'static) -> Self {
        self.body.partial = Some(Box::new(partial));
        self
    }
}

impl<S, T, R> fmt::Debug for Job<S, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("name", &self.name).field("priority", &self.priority).finish_non_exhaustive()
    }
}
