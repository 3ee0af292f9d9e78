//! Work there, go on here: a task on one runner, and a reply to it on another (HND-6).
//!
//! | what happens | the task is dropped | the reply is |
//! |---|---|---|
//! | the task ran | on the target, right after it | run on the origin, and dropped there right after |
//! | the task panicked | on the target, while unwinding; the panic is reported | not run; dropped on the origin |
//! | the target dropped the task unrun (close, shutdown, overflow) | where the target drops it | not run; dropped on the origin |
//! | the target refused the post | given back | given back |
//! | its token is signalled before it starts | by who signals | not run; dropped on the origin |
//! | its token is signalled after that, before the reply starts | on the target | not run; dropped on the origin |
//! | the origin refuses the reply (closed, shut down) | on the target | reported as a rejection; dropped where the task was |
//!
//! "Dropped on the origin" is a task of its own there; if the origin refuses that too, the reply is dropped where it is.
#![forbid(unsafe_code)]

use crate::error::{RejectReason, Rejected};
use crate::pool::task_builder::{Spec, Target};
use crate::pool::{TaskBuilder, ThreadPool};
use crate::runner::deposit::Deposit;
use crate::runner::task_runner::post_boxed_with;
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner, TaskRunner};
use crate::task::cancel::CancelToken;
use crate::task::panic::drop_quietly;
use crate::task::traits::TaskTraits;

/// A reply on its way: delivered once, or dropped on its origin.
struct Reply<O, G>
where
    O: Target,
    G: Send + 'static,
{
    origin: O,
    spec: Spec,
    /// Calls the task off, and the reply.
    token: Option<CancelToken>,
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
            let Some(token) = self.token.take() else {
                let refused = self.origin.post(self.spec.clone(), move || call(reply, value)).err();
                drop_quietly(refused);
                return;
            };
            let run = move || {
                // WHY here: who signals on the origin can rely on it that no reply runs after that.
                if !token.is_cancelled() {
                    call(reply, value);
                }
                // Not before: what a tracker counts is over when its reply is.
                drop(token);
            };
            let refused = self.origin.post(self.spec.clone(), run).err();
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

/// Where a reply goes, and how it is called.
struct Errand<O, G, T> {
    origin: O,
    spec: Spec,
    token: Option<CancelToken>,
    call: fn(G, T),
}

impl<O, G, T> Errand<O, G, T>
where
    O: Target + Send + 'static,
    G: Send + 'static,
    T: Send + 'static,
{
    fn new(origin: &impl Target<Anchor = O>, task: &Spec, call: fn(G, T)) -> Self {
        let spec = Spec { traits: origin.default_traits(), ..task.clone() };
        Self { origin: origin.anchor(), spec, token: None, call }
    }

    /// One closure of a task and its reply.
    fn of<F>(self, (task, reply): (F, G)) -> impl FnOnce() + Send + 'static
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let Self { origin, spec, token, call } = self;
        let reply = Reply { origin, spec, token, reply: Some(reply) };
        move || {
            let value = task();
            reply.deliver(value, call);
        }
    }
}

/// Posts a task to `target` and its reply to `origin`.
#[track_caller]
fn post<R, O, F, G, T>(target: &R, origin: &O, parts: (F, G), call: fn(G, T)) -> Result<(), Rejected<(F, G)>>
where
    R: Target,
    O: Target,
    F: FnOnce() -> T + Send + 'static,
    G: Send + 'static,
    T: Send + 'static,
{
    let spec = Spec::here(target.default_traits());
    let errand = Errand::new(origin, &spec, call);
    target.post_with(spec, parts, move |parts| errand.of(parts))
}

/// As [`post`], to a runner of any kind.
#[track_caller]
fn post_to_any<O, F, G, T>(
    target: &dyn TaskRunner,
    origin: &O,
    parts: (F, G),
    call: fn(G, T),
) -> Result<(), Rejected<(F, G)>>
where
    O: Target,
    F: FnOnce() -> T + Send + 'static,
    G: Send + 'static,
    T: Send + 'static,
{
    let spec = Spec::here(TaskTraits::default());
    let errand = Errand::new(origin, &spec, call);
    post_boxed_with(target, spec, parts, move |parts| errand.of(parts))
}

/// As [`post`], with all that was said about the task.
#[track_caller]
fn post_built<R, O, F, G, T>(
    mut task: TaskBuilder<'_, R>,
    origin: &O,
    parts: (F, G),
    call: fn(G, T),
) -> Result<(), Rejected<(F, G)>>
where
    R: Target,
    O: Target,
    F: FnOnce() -> T + Send + 'static,
    G: Send + 'static,
    T: Send + 'static,
{
    let (spec, delay, token) = (task.spec(), task.first_delay(), task.token());
    if token.as_ref().is_some_and(CancelToken::is_cancelled) {
        return Err(Rejected::new(RejectReason::Cancelled, parts));
    }
    let errand = Errand { token: token.clone(), ..Errand::new(origin, &spec, call) };
    let wrap = move |parts| errand.of(parts);
    if delay.is_none() && token.is_none() {
        return task.target().post_with(spec, parts, wrap);
    }
    let (deposit, run) = Deposit::new(parts, wrap);
    match task.target().post_delayed(spec, delay.unwrap_or_default(), run) {
        Ok(posted) => {
            if let Some(token) = token {
                posted.bind(&token);
            }
            Ok(())
        }
        Err(rejected) => Err(deposit.back(rejected)),
    }
}

fn no_origin<F, G>(task: F, reply: G) -> Rejected<(F, G)> {
    Rejected::new(RejectReason::NoOrigin, (task, reply))
}

/// The same four posts for each kind of runner, and for what is said about one task.
macro_rules! replies {
    (
        $post:path, [$($target:tt)+], $this:ty,
        $reply:ident, $reply_with:ident, $reply_on:ident, $reply_with_on:ident
    ) => {
        impl $($target)+ {
            /// Runs `task` here, then `reply` on the sequence that posted, if the task did not panic (HND-6). A delay is the task's alone.
            ///
            /// # Errors
            ///
            /// [`Rejected`] gives both back: as any post, and [`RejectReason::NoOrigin`] outside of a sequence.
            #[track_caller]
            pub fn $reply<F, G>(self: $this, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                F: FnOnce() + Send + 'static,
                G: FnOnce() + Send + 'static,
            {
                let Some(origin) = SequencedTaskRunner::current() else { return Err(no_origin(task, reply)) };
                $post(self, &origin, (task, reply), |reply, ()| reply())
            }

            /// The same; the reply is given what the task returns.
            ///
            /// # Errors
            ///
            /// The same.
            #[track_caller]
            pub fn $reply_with<F, G, T>(self: $this, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                F: FnOnce() -> T + Send + 'static,
                G: FnOnce(T) + Send + 'static,
                T: Send + 'static,
            {
                let Some(origin) = SequencedTaskRunner::current() else { return Err(no_origin(task, reply)) };
                $post(self, &origin, (task, reply), |reply, value| reply(value))
            }

            /// Runs `task` here, then `reply` on that runner, if the task did not panic (HND-6). A delay is the task's alone. An `Arc<dyn TaskRunner>` is
            /// a runner, too.
            ///
            /// # Errors
            ///
            /// [`Rejected`] gives both back, as any post.
            #[track_caller]
            pub fn $reply_on<O, F, G>(self: $this, origin: &O, task: F, reply: G) -> Result<(), Rejected<(F, G)>>
            where
                O: Target,
                F: FnOnce() + Send + 'static,
                G: FnOnce() + Send + 'static,
            {
                $post(self, origin, (task, reply), |reply, ()| reply())
            }

            /// The same; the reply is given what the task returns.
            ///
            /// # Errors
            ///
            /// The same.
            #[track_caller]
            pub fn $reply_with_on<O, F, G, T>(
                self: $this,
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
                $post(self, origin, (task, reply), |reply, value| reply(value))
            }
        }
    };
    ($post:path, $runner:ty) => {
        replies! {
            $post, [$runner], &Self,
            post_task_and_reply, post_task_and_reply_with_result, post_task_and_reply_on, post_task_and_reply_with_result_on
        }
    };
}

replies!(post, ThreadPool);
replies!(post, SequencedTaskRunner);
replies!(post, SingleThreadTaskRunner);
replies!(post, ParallelTaskRunner);
replies!(post_to_any, dyn TaskRunner);
replies! {
    post_built, [<R: Target> TaskBuilder<'_, R>], Self,
    post_and_reply, post_and_reply_with_result, post_and_reply_on, post_and_reply_with_result_on
}
