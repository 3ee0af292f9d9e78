//! Something that happens once, and what is to be done then.
//!
//! | state | a post | a signal | the end of the last handle |
//! |---|---|---|---|
//! | *waiting* | is kept | → *signalling* | what was kept is dropped unrun |
//! | *signalling* | is kept | nothing | – |
//! | *signalled* | goes to its runner at once | nothing | – |
//!
//! One thread signals: it takes what was kept out of the lock and posts it, again and again, until nothing is left. Posts that come meanwhile are kept behind it, so none overtakes.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crate::error::Rejected;
use crate::pool::task_builder::{Spec, Target};
use crate::sync::Mutex;
use crate::task::panic::{catch, drop_payload, drop_quietly};

type Post = Box<dyn FnOnce() + Send>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Signalling,
    Signalled,
}

struct State {
    phase: Phase,
    kept: Vec<Post>,
}

struct Event(Mutex<State>);

/// Posts closures when it is signalled: those posted before in their order, later ones at once.
///
/// It is a handle: clones are the same event.
///
/// # Guarantees
///
/// - What is posted through it for one runner runs there in the order of these posts, whether before or after the signal.
/// - A signal is final; a second one does nothing. What was done before it is visible to the closures.
/// - Dropped unsignalled, with its last handle, it drops the closures unrun, on that thread.
///
/// # Not guaranteed
///
/// A closure that holds a handle to the event it waits for keeps both alive until the signal.
///
/// # Examples
///
/// ```
/// use overstrand::{OneShotEvent, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let (tell, told) = std::sync::mpsc::channel();
/// let loaded = OneShotEvent::new();
/// for number in 1..=2 {
///     let tell = tell.clone();
///     loaded.post(&seq, move || _ = tell.send(number))?;
/// }
/// loaded.signal();
/// loaded.post(&seq, move || _ = tell.send(3))?;
/// assert_eq!(told.iter().collect::<Vec<_>>(), [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OneShotEvent(Arc<Event>);

impl OneShotEvent {
    /// An event that has not happened.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Event(Mutex::new(State { phase: Phase::Waiting, kept: Vec::new() }))))
    }

    /// Posts a closure to that runner once the event is signalled; at once, if it is. What the runner refuses at the signal is reported as a rejection.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back, if the event is signalled and the runner refuses it.
    #[track_caller]
    pub fn post<R, F>(&self, runner: &R, f: F) -> Result<(), Rejected<F>>
    where
        R: Target,
        F: FnOnce() + Send + 'static,
    {
        let spec = Spec::here(runner.default_traits());
        let (anchor, later) = (runner.anchor(), spec.clone());
        let mut state = self.0.0.lock();
        if state.phase == Phase::Signalled {
            drop(state);
            return runner.post(spec, f);
        }
        state.kept.push(Box::new(move || _ = drop_quietly(anchor.post(later, f).err())));
        Ok(())
    }

    /// It has happened: posts what was kept. Later signals do nothing.
    pub fn signal(&self) {
        if !self.0.begin() {
            return;
        }
        let mut panicked = None;
        while let Some(kept) = self.0.next() {
            for post in kept {
                // WHY caught: a runner whose queue is full may run a task inside the post, and its panic must keep nothing from being posted.
                let before = catch(post).err().and_then(|payload| panicked.replace(payload));
                before.into_iter().for_each(drop_payload);
            }
        }
        if let Some(payload) = panicked {
            std::panic::resume_unwind(payload);
        }
    }

    /// True once it is signalled.
    #[must_use]
    pub fn is_signalled(&self) -> bool {
        self.0.0.lock().phase != Phase::Waiting
    }
}

impl Event {
    /// True for the one who signals.
    fn begin(&self) -> bool {
        let mut state = self.0.lock();
        let is_first = state.phase == Phase::Waiting;
        if is_first {
            state.phase = Phase::Signalling;
        }
        is_first
    }

    /// What was kept since the last look; `None` when that is nothing, and nothing will be kept any more.
    fn next(&self) -> Option<Vec<Post>> {
        let mut state = self.0.lock();
        if state.kept.is_empty() {
            state.phase = Phase::Signalled;
            return None;
        }
        Some(std::mem::take(&mut state.kept))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let kept = std::mem::take(&mut self.0.lock().kept);
        for post in kept {
            drop_quietly(post);
        }
    }
}

impl Default for OneShotEvent {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OneShotEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneShotEvent").field("is_signalled", &self.is_signalled()).finish()
    }
}
