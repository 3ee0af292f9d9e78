//! Work there, go on here: a task on one runner, and a reply to it on another (HND-6).
//!
//! | what happens | the task is dropped | the reply is |
//! |---|---|---|
//! | the task ran | on the target, right after it | run on the origin, and dropped there right after |
//! | the task panicked | on the target, while unwinding; the panic is reported | not run; dropped on the origin |
//! | the target dropped the task unrun (close, shutdown, overflow) | where the target drops it | not run; dropped on the origin |
//! | the target refused the post | given back | given back |
//! | the origin refuses the reply (closed, shut down) | on the target | reported as a rejection; dropped where the task was |
//!
//! "Dropped on the origin" is a task of its own there; if the origin refuses that too, the reply is dropped where it is.
#![forbid(unsafe_code)]

use crate::error::{RejectReason, Rejected};
use crate::pool::ThreadPool;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::task::panic::drop_quietly;

/// A reply on its way: delivered once, or dropped on its origin.
struct Reply<O, G>
where
    O: Target,
    G: Send + 'static,
{
    origin: O,
    spec: Spec,
    reply: Option<G>,
}

impl<O, G> Reply<O, G>
where
    O: Target,
    G: Send + 'static,
{
    fn deliver<T: Send + 'static>(mut self, value: T, call: fn(G, T)) {
        if let Some(reply) = self.reply.take() {
            // A refusal has been reported; reply and value are dropped here then.
            let refused = self.origin.post(self.spec.clone(), move || call(reply, value)).err();
            drop_quietly(refused);
        }
    }
}

impl<O, G> Drop for Reply<O, G>
where
    O: Target,
    G: Send + 'static,
{
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let refused = self.origin.post(self.spec.clone(), move || drop(reply)).err();
            drop_quietly(refused);
        }
    }
}

/// Posts a task to `target` and its reply to `origin`.
fn post<R, O, F, G, T>(
    target: &R,
    origin: &O,
    spec: Spec,
    (task, reply): (F, G),
    call: fn(G, T),
) -> Result<(), Rejected<(F, G)>>
where
    R: Target,
    O: Target,
    F: FnOnce() -> T + Send + 'static,
    G: Send + 'static,
    T: Send + 'static,
{
    let (origin, reply_spec) = (origin.anchor(), Spec { traits: origin.default_traits(), ..spec.clone() });
    target.post_with(spec, (task, reply), move |(task, reply)| {
        let reply = Reply { origin, spec: reply_spec, reply: Some(reply) };
        move || {
            let value = task();
            reply.deliver(value, call);
        }
    })
}

fn no_origin<F, G>(task: F, reply: G) -> Rejected<(F, G)> {
    Rejected::new(RejectReason::NoOrigin, (task, reply))
}

/// The same four posts for each kind of runner.
macro_rules! replies {
    ($runner:ty) => {
        impl $runner {
            /// Runs `task` here, then `reply` on the sequence that posted, if the task did not panic (HND-6).
            ///
            /// # Errors
            ///
            /// [`Rejected`] gives both back: as [`post_task`](Self::post_task), and [`RejectReason::NoOrigin`] outside of a sequence.
            #[track_caller]
            pub fn post_task_and_reply<F, G>(&self, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                F: FnOnce() + Send + 'static,
                G: FnOnce() + Send + 'static,
            {
                let Some(origin) = SequencedTaskRunner::current() else { return Err(no_origin(task, reply)) };
                self.post_task_and_reply_on(&origin, task, reply)
            }

            /// As [`post_task_and_reply`](Self::post_task_and_reply); the reply is given what the task returns.
            ///
            /// # Errors
            ///
            /// As there.
            #[track_caller]
            pub fn post_task_and_reply_with_result<F, G, T>(&self, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                F: FnOnce() -> T + Send + 'static,
                G: FnOnce(T) + Send + 'static,
                T: Send + 'static,
            {
                let Some(origin) = SequencedTaskRunner::current() else { return Err(no_origin(task, reply)) };
                self.post_task_and_reply_with_result_on(&origin, task, reply)
            }

            /// Runs `task` here, then `reply` on that runner, if the task did not panic (HND-6).
            ///
            /// # Errors
            ///
            /// [`Rejected`] gives both back, as [`post_task`](Self::post_task).
            #[track_caller]
            pub fn post_task_and_reply_on<O, F, G>(&self, origin: &O, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                O: Target,
                F: FnOnce() + Send + 'static,
                G: FnOnce() + Send + 'static,
            {
                let spec = Spec::here(self.default_traits());
                post(self, origin, spec, (task, reply), |reply, ()| reply())
            }

            /// As [`post_task_and_reply_on`](Self::post_task_and_reply_on); the reply is given what the task returns.
            ///
            /// # Errors
            ///
            /// As there.
            #[track_caller]
            pub fn post_task_and_reply_with_result_on<O, F, G, T>(
                &self,
                origin: &O,
                task: F,
                reply: G,
            ) -> Result<(), Rejected<(F, G)>>
            where
                O: Target,
                F: FnOnce() -> T + Send + 'static,
                G: FnOnce(T) + Send + 'static,
                T: Send + 'static,
            {
                post(self, origin, Spec::here(self.default_traits()), (task, reply), |reply, value| reply(value))
            }
        }
    };
}

replies!(ThreadPool);
replies!(SequencedTaskRunner);
replies!(SingleThreadTaskRunner);
replies!(ParallelTaskRunner);
