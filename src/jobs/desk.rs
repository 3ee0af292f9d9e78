//! A worker's resource: built, used and dropped on the worker's thread.
//!
//! It is built when the worker starts. If that failed, or after a step panicked with it in hand, it is built for the next job; a job that finds none has that as its error.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::context::{JobContext, Run};
use super::error::JobError;
use super::job::JobLane;
use crate::error::TaskResult;
use crate::task::cancel::CancelToken;
use crate::task::panic::{Panicked, catch, drop_quietly};

/// Builds the resource of a worker, by its number and lane.
pub(super) type Factory<R> = Arc<dyn Fn(usize, JobLane) -> TaskResult<R> + Send + Sync>;

pub(super) struct Desk<R> {
    number: usize,
    lane: JobLane,
    factory: Factory<R>,
    context: Option<JobContext<R>>,
}

impl<R> Desk<R> {
    pub(super) fn new(number: usize, lane: JobLane, factory: Factory<R>) -> Self {
        let mut desk = Self { number, lane, factory, context: None };
        if let Err(error) = desk.build(Run::new(&CancelToken::new())) {
            tracing::warn!(worker = number, %error, "the resource of a job worker was not built");
        }
        desk
    }

    fn build(&mut self, run: Arc<Run>) -> Result<&mut JobContext<R>, JobError> {
        let resource = match catch(|| (self.factory)(self.number, self.lane)) {
            Ok(Ok(resource)) => resource,
            Ok(Err(error)) => return Err(JobError::Resource(error)),
            Err(payload) => return Err(JobError::Resource(Panicked::new(payload).to_string().into())),
        };
        Ok(self.context.insert(JobContext { resource, run, worker: self.number }))
    }

    /// The context of a run.
    pub(super) fn open(&mut self, run: Arc<Run>) -> Result<&mut JobContext<R>, JobError> {
        if self.context.is_none() {
            return self.build(run);
        }
        match &mut self.context {
            Some(context) => {
                context.run = run;
                Ok(context)
            }
            None => unreachable!("looked at above"),
        }
    }

    /// Drops the resource.
    pub(super) fn clear(&mut self) {
        drop_quietly(self.context.take());
    }
}
