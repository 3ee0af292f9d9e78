//! Many into one: all results, the first result, or a call when the last part is done.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::error::{JoinError, RejectReason};
use crate::pool::task_builder::{Spec, Target};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::handle::{Pending, TaskHandle, Waited};
use crate::task::panic::drop_quietly;

/// One of several results that are waited for.
enum Part<T> {
    Missing(TaskHandle<T>),
    There(Result<T, JoinError>),
}

impl<T> Part<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Self::Missing(handle) = self {
            match Pin::new(handle).poll(context) {
                Poll::Pending => return false,
                Poll::Ready(result) => *self = Self::There(result),
            }
        }
        true
    }

    fn handle(&self) -> Option<&TaskHandle<T>> {
        match self {
            Self::Missing(handle) => Some(handle),
            Self::There(_) => None,
        }
    }
}

/// Makes an answer of the parts, or leaves them for later.
type Answer<T, A> = fn(&mut Vec<Part<T>>) -> Option<Result<A, JoinError>>;

/// Several handles that answer as one.
struct Several<T, A> {
    parts: Mutex<Vec<Part<T>>>,
    /// The answer, if there is one; takes the parts that it is made of.
    answer: Answer<T, A>,
    location: &'static Location<'static>,
}

impl<T, A> Several<T, A> {
    fn handle(
        handles: impl IntoIterator<Item = TaskHandle<T>>,
        answer: Answer<T, A>,
        location: &'static Location<'static>,
    ) -> TaskHandle<A>
    where
        T: Send + 'static,
        A: Send + 'static,
    {
        let parts = handles.into_iter().map(Part::Missing).collect();
        TaskHandle::new(Arc::new(Self { parts: Mutex::new(parts), answer, location }))
    }

    /// Calls `f` with each handle that has not answered.
    fn each(&self, mut f: impl FnMut(&TaskHandle<T>)) {
        self.parts.lock().iter().filter_map(Part::handle).for_each(&mut f);
    }
}

impl<T: Send + 'static, A: Send + 'static> Pending<A> for Several<T, A> {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<A, JoinError>> {
        let mut context = Context::from_waker(waker.unwrap_or(Waker::noop()));
        // WHY taken out: results are user values, and polling may wake; neither happens under the lock.
        let mut parts = std::mem::take(&mut *self.parts.lock());
        parts.iter_mut().for_each(|part| _ = part.poll(&mut context));
        let answer = (self.answer)(&mut parts);
        if answer.is_none() {
            *self.parts.lock() = parts;
        }
        answer.map_or(Poll::Pending, Poll::Ready)
    }

    fn is_done(&self) -> bool {
        let parts = self.parts.lock();
        let mut missing = parts.iter().filter_map(Part::handle).filter(|handle| !handle.is_finished());
        missing.next().is_none()
    }

    fn is_waiting(&self) -> bool {
        !self.is_done()
    }

    fn cancel(&self) -> bool {
        let mut all = true;
        self.each(|handle| all &= handle.cancel());
        all
    }

    fn cancel_waiting(&self) -> bool {
        self.cancel()
    }

    fn reject(&self, _reason: RejectReason) {}

    fn detach(&self) {
        let parts = std::mem::take(&mut *self.parts.lock());
        drop_quietly(parts);
    }

    fn would_deadlock(&self) -> bool {
        let mut would = false;
        self.each(|handle| would |= handle.would_deadlock());
        would
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        self.each(|handle| handle.waits_on(runners));
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        self.each(|handle| handle.bind(token));
    }
}

/// All results, in the order of the handles; each may be an error of its own.
///
/// Dropping the handle detaches the tasks, cancelling it cancels all of them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = overstrand::ThreadPool::builder().workers(2).build()?;
/// let pages = overstrand::join_all((1..=3).map(|page| pool.spawn(move || page * 10))).join()?;
/// let pages: Vec<i32> = pages.into_iter().filter_map(Result::ok).collect();
/// assert_eq!(pages, [10, 20, 30]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn join_all<T: Send + 'static>(
    handles: impl IntoIterator<Item = TaskHandle<T>>,
) -> TaskHandle<Vec<Result<T, JoinError>>> {
    let all = |parts: &mut Vec<Part<T>>| {
        if parts.iter().any(|part| part.handle().is_some()) {
            return None;
        }
        let results = parts.drain(..).filter_map(|part| match part {
            Part::There(result) => Some(result),
            Part::Missing(_) => None,
        });
        Some(Ok(results.collect()))
    };
    Several::handle(handles, all, Location::caller())
}

/// The first result that comes, be it an error; the other tasks are detached then, and go on. Of none at all the result is
/// [`JoinError::Cancelled`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = overstrand::ThreadPool::builder().workers(2).build()?;
/// let first = overstrand::race(["a", "bb"].map(|host| pool.spawn(move || host.len()))).join()?;
/// assert!(first == 1 || first == 2);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn race<T: Send + 'static>(handles: impl IntoIterator<Item = TaskHandle<T>>) -> TaskHandle<T> {
    let first = |parts: &mut Vec<Part<T>>| {
        if parts.is_empty() {
            return Some(Err(JoinError::Cancelled));
        }
        let there = parts.iter().position(|part| part.handle().is_none())?;
        match parts.swap_remove(there) {
            Part::There(result) => Some(result),
            Part::Missing(_) => None,
        }
    };
    Several::handle(handles, first, Location::caller())
}

/// Posts a closure when it has been hit so many times.
///
/// ```
/// use overstrand::{Barrier, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let strand = pool.create_sequenced_task_runner(TaskTraits::default());
/// let (tell, told) = std::sync::mpsc::channel();
/// let loaded = Barrier::new(2, &strand, move || _ = tell.send("both loaded"));
/// for _ in 0..2 {
///     let loaded = loaded.clone();
///     pool.post_task(move || loaded.hit())?;
/// }
/// assert_eq!(told.recv()?, "both loaded");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier(Arc<Hits>);

/// How many hits are missing.
pub(super) struct Countdown(AtomicUsize);

impl Countdown {
    pub(super) fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// True for the last one.
    pub(super) fn hit(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        // ORDER barrier.hit: AcqRel; what came before each hit is visible to the closure; pairs with barrier.hit.
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) == Ok(1)
    }
}

struct Hits {
    left: Countdown,
    done: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Barrier {
    /// A barrier that posts `done` to `runner` with its last hit; with a count of zero, now.
    #[track_caller]
    pub fn new<R: Target>(count: usize, runner: &R, done: impl FnOnce() + Send + 'static) -> Self {
        let (runner, spec) = (runner.anchor(), Spec::here(runner.default_traits()));
        // A refusal is reported by the runner; the closure is dropped then.
        let post = move || drop_quietly(runner.post(spec, done).err());
        let barrier =
            Self(Arc::new(Hits { left: Countdown::new(count), done: Mutex::new(Some(Box::new(move || _ = post()))) }));
        if count == 0 {
            barrier.0.pass();
        }
        barrier
    }

    /// One hit; those after the last one do nothing.
    pub fn hit(&self) {
        if self.0.left.hit() {
            self.0.pass();
        }
    }
}

impl Hits {
    fn pass(&self) {
        let done = self.done.lock().take();
        if let Some(done) = done {
            done();
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: for the eye.
        f.debug_struct("Barrier").field("left", &self.0.left.0.load(Ordering::Relaxed)).finish()
    }
}
