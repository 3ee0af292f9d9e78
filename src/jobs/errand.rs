//! One job, whatever its types: its state, its saves, and its one answer.
//!
//! The state and the step are dropped before the answer is given, so whoever has the answer finds nothing of the job alive.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use super::context::JobContext;
use super::error::JobError;
use super::job::Step;
use super::store::{StateStore, StoreError};
use crate::error::{BoxError, TaskResult};
use crate::sync::Mutex;
use crate::task::panic::{Panicked, catch, drop_payload, drop_quietly};
use crate::task::promise::Promise;

type StepFn<S, T, R> = Box<dyn FnMut(&mut S, &mut JobContext<R>) -> TaskResult<Step<T>> + Send>;

/// Where and how a state is saved.
pub(super) struct Keeping<S> {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) key: Cow<'static, str>,
    pub(super) save: fn(&S) -> Result<Vec<u8>, BoxError>,
    pub(super) restore: fn(&[u8]) -> Result<S, BoxError>,
}

/// What is the user's in a job.
pub(super) struct Body<S, T, R> {
    state: S,
    step: StepFn<S, T, R>,
    pub(super) keeping: Option<Keeping<S>>,
    pub(super) partial: Option<Box<dyn FnOnce(S) -> T + Send>>,
    has_begun: bool,
    /// Steps were made since the last save.
    is_ahead: bool,
    /// The last yield saved it.
    has_saved: bool,
}

impl<S, T, R> Body<S, T, R> {
    pub(super) fn new(state: S, step: StepFn<S, T, R>) -> Self {
        Self { state, step, keeping: None, partial: None, has_begun: false, is_ahead: false, has_saved: false }
    }

    fn stride(&mut self, cx: &mut JobContext<R>) -> Result<Step<T>, JobError> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.restore().map_err(JobError::Store)?;
        }
        let step = (self.step)(&mut self.state, cx).map_err(JobError::Failed)?;
        self.is_ahead = true;
        match &step {
            Step::Again => {}
            Step::Yield => self.has_saved = self.save().map_err(JobError::Store)?,
            Step::Done(_) => self.forget(),
        }
        Ok(step)
    }

    fn restore(&mut self) -> Result<(), StoreError> {
        let Some(keeping) = &self.keeping else { return Ok(()) };
        if let Some(bytes) = keeping.store.load(&keeping.key)? {
            self.state = (keeping.restore)(&bytes).map_err(StoreError::new)?;
        }
        Ok(())
    }

    /// True when there was something to save, and it is.
    fn save(&mut self) -> Result<bool, StoreError> {
        let is_ahead = std::mem::take(&mut self.is_ahead);
        let Some(keeping) = self.keeping.as_ref().filter(|_| is_ahead) else { return Ok(false) };
        let bytes = (keeping.save)(&self.state).map_err(StoreError::new)?;
        keeping.store.save(&keeping.key, &bytes).map(|()| true)
    }

    fn forget(&self) {
        let Some(keeping) = &self.keeping else { return };
        // WHY not the job's error: the result is there, and a job that begins from this state is done soon.
        if let Err(error) = keeping.store.remove(&keeping.key) {
            tracing::warn!(key = &*keeping.key, %error, "the state of a job that is done was not removed");
        }
    }
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Stride {
    Again,
    /// Whether its state was saved.
    Yield(bool),
    /// The answer has been given.
    Over,
    /// As `Over`; nobody knows in which state the resource is.
    Panicked,
}

/// Who waits for the result; told once.
pub(super) trait Settle: Send + Sync {
    fn fail(&self, why: JobError);
}

pub(super) struct Answer<T: Send + 'static>(Mutex<Option<Promise<Result<T, JobError>>>>);

impl<T: Send + 'static> Answer<T> {
    pub(super) fn new(promise: Promise<Result<T, JobError>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(promise))))
    }

    fn settle(&self, result: Result<T, JobError>) {
        let promise = self.0.lock().take();
        match promise {
            Some(promise) => promise.complete(Ok(result)),
            None => _ = drop_quietly(result),
        }
    }
}

impl<T: Send + 'static> Settle for Answer<T> {
    fn fail(&self, why: JobError) {
        self.settle(Err(why));
    }
}

/// A job without its types.
pub(super) trait Errand<R>: Send {
    /// One step; nothing after it is over.
    fn stride(&mut self, cx: &mut JobContext<R>) -> Stride;
    /// Ends it between two steps; true when its state was saved for that.
    fn end(&mut self, why: JobError) -> bool;
}

pub(super) struct Work<S, T: Send + 'static, R> {
    pub(super) body: Option<Body<S, T, R>>,
    pub(super) answer: Arc<Answer<T>>,
}

impl<S, T: Send + 'static, R> Work<S, T, R> {
    fn settle(&mut self, result: Result<T, JobError>) {
        drop_quietly(self.body.take());
        self.answer.settle(result);
    }

    /// Ends it with a part of its result, if that is what it is for.
    fn end_in_part(&mut self) -> Stride {
        let Some(Body { state, step, partial: Some(partial), .. }) = self.body.take_if(|body| body.partial.is_some())
        else {
            return Stride::Yield(self.body.as_mut().is_some_and(|body| std::mem::take(&mut body.has_saved)));
        };
        let result = catch(|| partial(state)).map_err(|payload| JobError::Panicked(Panicked::new(payload)));
        drop_quietly(step);
        self.settle(result);
        Stride::Over
    }
}

impl<S: Send + 'static, T: Send + 'static, R: 'static> Errand<R> for Work<S, T, R> {
    fn stride(&mut self, cx: &mut JobContext<R>) -> Stride {
        let Some(body) = &mut self.body else { return Stride::Over };
        match catch(|| body.stride(cx)) {
            Ok(Ok(Step::Again)) => return Stride::Again,
            Ok(Ok(Step::Yield)) => return self.end_in_part(),
            Ok(Ok(Step::Done(value))) => self.settle(Ok(value)),
            Ok(Err(error)) => self.settle(Err(error)),
            Err(payload) => {
                self.settle(Err(JobError::Panicked(Panicked::new(payload))));
                return Stride::Panicked;
            }
        }
        Stride::Over
    }

    fn end(&mut self, why: JobError) -> bool {
        let mut has_saved = false;
        if let Some(body) = &mut self.body {
            match catch(|| body.save()) {
                Ok(Ok(saved)) => has_saved = saved,
                Ok(Err(error)) => tracing::warn!(%error, "the state of a job that was ended was not saved"),
                Err(payload) => drop_payload(payload),
            }
        }
        self.settle(Err(why));
        has_saved
    }
}
