//! State with one owner: it lives on its sequence, and whoever wants something of it posts there.
//!
//! On a sequence the state is kept where any worker reaches it, on a single-thread runner by its thread. It lies in a slot that a call takes it out of and puts it back into, all within its turn on the sequence. So calls exclude one another by the
//! sequence alone; the slot's lock is held for a move of one pointer, and nobody ever waits for it. After a panic inside a call there is nothing to put
//! back: the state has been dropped while unwinding, and is *poisoned*, or built anew by the next call.
//!
//! | slot | means | leaves it |
//! |---|---|---|
//! | *unbuilt* | the first call builds it, in its turn | the first call |
//! | *ready* | there | a call, for its time; the drop of the last handle |
//! | *lent* | a call has it | that call |
//! | *poisoned* | gone for good | nobody |
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::next_id;
use super::sequenced::SequencedTaskRunner;
use super::single::SingleThreadTaskRunner;
use crate::error::{JoinError, RejectReason, Rejected};
use crate::pool::task_builder::{Spec, Target};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::unmodelled::OnceCell;
use crate::sync::{Mutex, local};
use crate::task::cancel::CancelToken;
use crate::task::handle::TaskHandle;
use crate::task::panic::drop_quietly;

type Source = Option<Arc<dyn StdError + Send + Sync>>;
type Build<T> = Box<dyn FnMut() -> Result<T, Source> + Send>;

enum Slot<T> {
    Unbuilt,
    Ready(Box<T>),
    Lent,
    Poisoned(Source),
}

/// What is known of the state, wherever it is kept.
struct State<T> {
    slot: Slot<T>,
    /// How to build it, for the first time or anew.
    build: Option<Build<T>>,
    /// It may be built more than once.
    rebuilds: bool,
}

/// Where a state is kept. It is reached in turns of its sequence only, and no user code runs while it is.
trait Keeper<T>: Send + Sync {
    fn with(&self, f: &mut dyn FnMut(&mut State<T>));
    /// Nobody will ask again.
    fn forget(&self) {}
}

/// Kept where any worker reaches it: it moves with its sequence.
struct Anywhere<T>(Mutex<State<T>>);

impl<T: Send> Keeper<T> for Anywhere<T> {
    fn with(&self, f: &mut dyn FnMut(&mut State<T>)) {
        f(&mut self.0.lock());
    }
}

/// Kept by the thread that its sequence runs on, so it need not be `Send`.
struct OnItsThread(u64);

local! {
    static KEPT: RefCell<BTreeMap<u64, Box<dyn Any>>> = RefCell::new(BTreeMap::new());
}

impl<T: 'static> Keeper<T> for OnItsThread {
    fn with(&self, f: &mut dyn FnMut(&mut State<T>)) {
        let found = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            let state = kept.get_mut(&self.0).and_then(|state| state.downcast_mut());
            state.map(&mut *f).is_some()
        });
        if !found.unwrap_or(false) {
            f(&mut State { slot: Slot::Poisoned(None), build: None, rebuilds: false });
        }
    }

    fn forget(&self) {
        let kept = KEPT.try_with(|kept| kept.borrow_mut().remove(&self.0));
        drop(kept);
    }
}

/// A runner that state of this type can live on.
pub trait Keeps<T> {
    #[doc(hidden)]
    fn sequence(&self) -> &SequencedTaskRunner;
    #[doc(hidden)]
    fn keep(&self, state: Unbuilt<T>) -> Shared<T>;
}

/// How a state is to be built.
#[doc(hidden)]
pub struct Unbuilt<T> {
    build: Build<T>,
    rebuilds: bool,
}

impl<T> fmt::Debug for Unbuilt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unbuilt")
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl<T> Unbuilt<T> {
    fn into_state(self) -> State<T> {
        State { slot: Slot::Unbuilt, build: Some(self.build), rebuilds: self.rebuilds }
    }
}

impl<T: Send + 'static> Keeps<T> for SequencedTaskRunner {
    fn sequence(&self) -> &SequencedTaskRunner {
        self
    }

    fn keep(&self, state: Unbuilt<T>) -> Shared<T> {
        Shared::new(Anywhere(Mutex::new(state.into_state())))
    }
}

impl<T: 'static> Keeps<T> for SingleThreadTaskRunner {
    fn sequence(&self) -> &SequencedTaskRunner {
        self.as_sequenced()
    }

    fn keep(&self, state: Unbuilt<T>) -> Shared<T> {
        let id = next_id();
        let install = move || {
            let state: Box<dyn Any> = Box::new(state.into_state());
            KEPT.with(|kept| kept.borrow_mut().insert(id, state));
        };
        // A refusal has been reported; calls find nothing then.
        let refused = self.as_sequenced().post_task(install).err();
        drop_quietly(refused);
        Shared::new(OnItsThread(id))
    }
}

/// What the handles and calls of one state share.
#[doc(hidden)]
pub struct Shared<T> {
    keeper: Box<dyn Keeper<T>>,
    /// A copy for questions: no call will be answered any more.
    poisoned: AtomicBool,
}

/// State that lives on a sequence: built there or moved in, called there, dropped there.
///
/// It is a handle: clones refer to the same state, from any thread. When the last one is gone the state is dropped on its sequence, after every call made
/// before.
///
/// # Guarantees
///
/// - Calls run in the order of posting, behind the construction, one at a time, between other tasks of the sequence.
/// - After a panic in a call, or a construction that failed, every call is refused: [`RejectReason::Poisoned`], [`JoinError::Poisoned`] with the cause. With
///   [`rebuilding`](Self::rebuilding) the next call builds the state anew instead.
/// - The state is dropped on its sequence; if that takes no tasks any more, where its last user is.
///
/// # Examples
///
/// ```
/// use overstrand::{SequenceBound, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let names = SequenceBound::new(&seq, Vec::new());
/// names.post(|names| names.push("ann"))?;
/// assert_eq!(names.call(|names| names.len()).join()?, 1);
/// # Ok(())
/// # }
/// ```
///
/// The state cannot be reached but by calls, so never from outside its sequence:
///
/// ```compile_fail,E0599
/// # use overstrand::{SequenceBound, TaskTraits, ThreadPool};
/// # let pool = ThreadPool::builder().workers(1).build().unwrap();
/// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let names = SequenceBound::new(&seq, vec!["ann"]);
/// names.len();
/// ```
///
/// nor kept beyond one:
///
/// ```compile_fail
/// # use overstrand::{SequenceBound, TaskTraits, ThreadPool};
/// # let pool = ThreadPool::builder().workers(1).build().unwrap();
/// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let names = SequenceBound::new(&seq, vec!["ann"]);
/// let mut kept = None;
/// let _ = names.call_sync(|names| kept = Some(names));
/// ```
pub struct SequenceBound<T: 'static>(pub(super) Arc<Handle<T>>);

/// What the clones of a handle share.
pub(super) struct Handle<T: 'static> {
    pub(super) runner: SequencedTaskRunner,
    pub(super) shared: Arc<Shared<T>>,
    /// Signalled when the last handle is gone; made when somebody asks.
    pub(super) over: OnceCell<CancelToken>,
}

impl<T: 'static> SequenceBound<T> {
    /// Moves a value in.
    #[must_use]
    pub fn new<R: Keeps<T>>(runner: &R, value: T) -> Self
    where
        T: Send,
    {
        Self::of(runner, once(move || Ok(value)), false)
    }

    /// Builds the value on the sequence; a panic poisons it. On a [`SingleThreadTaskRunner`] it need not be `Send`.
    #[must_use]
    pub fn with<R: Keeps<T>>(runner: &R, build: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::built(runner, once(move || Ok(build())), false)
    }

    /// Builds the value on the sequence; an error poisons it and is the source of [`JoinError::Poisoned`].
    #[must_use]
    pub fn try_with<R: Keeps<T>, E>(runner: &R, build: impl FnOnce() -> Result<T, E> + Send + 'static) -> Self
    where
        E: StdError + Send + Sync + 'static,
    {
        Self::built(runner, once(move || build().map_err(|error| Some(Arc::new(error) as Arc<_>))), false)
    }

    /// Builds the value on the sequence, and anew after a panic in a call.
    #[must_use]
    pub fn rebuilding<R: Keeps<T>>(runner: &R, mut build: impl FnMut() -> T + Send + 'static) -> Self {
        Self::built(runner, Box::new(move || Ok(build())), true)
    }

    fn built<R: Keeps<T>>(runner: &R, build: Build<T>, rebuilds: bool) -> Self {
        let this = Self::of(runner, build, rebuilds);
        let shared = Arc::clone(&this.0.shared);
        // A refusal has been reported; the first call says why there is no state.
        let refused = this.0.runner.post(this.spec(), move || shared.ensure_built()).err();
        drop_quietly(refused);
        this
    }

    fn of<R: Keeps<T>>(runner: &R, build: Build<T>, rebuilds: bool) -> Self {
        let shared = Arc::new(runner.keep(Unbuilt { build, rebuilds }));
        Self(Arc::new(Handle { runner: runner.sequence().clone(), shared, over: OnceCell::new() }))
    }

    /// The sequence that the state lives on.
    #[must_use]
    pub fn runner(&self) -> &SequencedTaskRunner {
        &self.0.runner
    }

    pub(super) fn shared(&self) -> &Shared<T> {
        &self.0.shared
    }

    #[track_caller]
    pub(super) fn spec(&self) -> Spec {
        Spec::here(self.0.runner.default_traits())
    }

    /// Calls `f` with the state, in its turn on the sequence.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back: as [`SequencedTaskRunner::post_task`], and [`RejectReason::Poisoned`].
    #[track_caller]
    pub fn post<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        self.post_as(self.spec(), f)
    }

    fn post_as<F: FnOnce(&mut T) + Send + 'static>(&self, spec: Spec, f: F) -> Result<(), Rejected<F>> {
        if self.0.shared.is_poisoned() {
            return Err(self.0.runner.refuse(spec, RejectReason::Poisoned).map(|()| f));
        }
        let shared = Arc::clone(&self.0.shared);
        self.0.runner.post_with(spec, f, move |f| move || drop(shared.lend(f)))
    }

    /// Calls `f` with the state, in its turn on the sequence, and keeps the answer for the handle.
    #[track_caller]
    pub fn call<F, R>(&self, f: F) -> TaskHandle<R>
    where
        F: FnOnce(&mut T) -> R + Send + 'static,
        R: Send + 'static,
    {
        let shared = Arc::clone(&self.0.shared);
        let answer = Target::spawn(&self.0.runner, self.spec(), move || shared.lend(f).map_err(JoinError::Poisoned));
        answer.flatten()
    }
}

/// A builder that may be called once.
fn once<T>(build: impl FnOnce() -> Result<T, Source> + Send + 'static) -> Build<T> {
    let mut build = Some(build);
    Box::new(move || build.take().map_or(Err(None), |build| build()))
}

impl<T> Shared<T> {
    fn new(keeper: impl Keeper<T> + 'static) -> Self {
        Self { keeper: Box::new(keeper), poisoned: AtomicBool::new(false) }
    }

    fn with<A>(&self, f: impl FnOnce(&mut State<T>) -> A) -> A {
        let (mut f, mut answer) = (Some(f), None);
        self.keeper.with(&mut |state| answer = f.take().map(|f| f(state)));
        match answer {
            Some(answer) => answer,
            None => unreachable!("a keeper calls back once"),
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        // ORDER owned.poisoned: Acquire; what the call did that panicked is visible; pairs with owned.poison.
        self.poisoned.load(Ordering::Acquire)
    }

    fn put(&self, slot: Slot<T>) {
        if matches!(slot, Slot::Poisoned(_)) {
            // ORDER owned.poison: Release; pairs with owned.poisoned.
            self.poisoned.store(true, Ordering::Release);
        }
        let before = self.with(|state| std::mem::replace(&mut state.slot, slot));
        drop(before);
    }

    /// Takes the state for a call; builds it if it is not there. In a turn of the sequence.
    fn take(&self) -> Result<Box<T>, Source> {
        let (slot, build) = self.with(|state| {
            let slot = std::mem::replace(&mut state.slot, Slot::Lent);
            let build = if matches!(slot, Slot::Unbuilt) { state.build.take() } else { None };
            (slot, build)
        });
        match (slot, build) {
            (Slot::Ready(value), _) => Ok(value),
            (Slot::Unbuilt, Some(build)) => self.build(build),
            (Slot::Poisoned(source), _) => {
                self.put(Slot::Poisoned(source.clone()));
                Err(source)
            }
            (Slot::Unbuilt | Slot::Lent, _) => {
                self.put(Slot::Poisoned(None));
                Err(None)
            }
        }
    }

    fn build(&self, mut build: Build<T>) -> Result<Box<T>, Source> {
        // While the builder runs there is nobody else to build it, so a panic leaves the slot poisoned.
        let poisons = Poisons(self, None);
        match build() {
            Ok(value) => {
                poisons.disarm();
                let spare = self.with(|state| if state.rebuilds { state.build.replace(build) } else { Some(build) });
                drop(spare);
                Ok(Box::new(value))
            }
            Err(source) => {
                poisons.with(source.clone());
                Err(source)
            }
        }
    }

    /// Drops the state, and the way to build it.
    fn end(&self) {
        let build = self.with(|state| state.build.take());
        drop(build);
        self.put(Slot::Poisoned(None));
        self.keeper.forget();
    }

    fn ensure_built(&self) {
        if let Ok(value) = self.take() {
            self.put(Slot::Ready(value));
        }
    }

    /// Calls `f` with the state. A panic drops the state, and leaves the slot poisoned or to be built anew.
    pub(super) fn lend<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, Source> {
        let mut value = self.take()?;
        let poisons = Poisons(self, None);
        let answer = f(&mut value);
        poisons.disarm();
        self.put(Slot::Ready(value));
        Ok(answer)
    }
}

/// Poisons the state when dropped, or has it built anew if it can be.
struct Poisons<'a, T>(&'a Shared<T>, Source);

impl<T> Poisons<'_, T> {
    fn disarm(self) {
        std::mem::forget(self);
    }

    fn with(mut self, source: Source) {
        self.1 = source;
    }
}

impl<T> Drop for Poisons<'_, T> {
    fn drop(&mut self) {
        let can_be_rebuilt = self.0.with(|state| state.rebuilds && state.build.is_some());
        self.0.put(if can_be_rebuilt { Slot::Unbuilt } else { Slot::Poisoned(self.1.take()) });
    }
}

impl<T: 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        if let Some(over) = self.over.get() {
            over.cancel();
        }
        let shared = Arc::clone(&self.shared);
        let spec = Spec::here(self.runner.default_traits());
        // The end of the state is a task like any other, behind the calls made before. Refused, it is the last user's.
        let refused = self.runner.post(spec, move || shared.end()).err();
        drop_quietly(refused);
    }
}

impl<T: 'static> Clone for SequenceBound<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static> fmt::Debug for SequenceBound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequenceBound").field("is_poisoned", &self.0.shared.is_poisoned()).finish_non_exhaustive()
    }
}

impl SequencedTaskRunner {
    /// A callback that can be called anywhere, and cloned; `f` runs on the sequence, in the order of the calls, and is dropped there. A call that
    /// is refused is reported as a rejection. After a panic `f` is gone, and calls do nothing.
    ///
    /// ```
    /// use overstrand::{TaskTraits, ThreadPool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(2).build()?;
    /// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let mut typed = String::new();
    /// let on_key = seq.wrap(move |key: char| {
    ///     typed.push(key);
    ///     let _ = tell.send(typed.clone());
    /// });
    /// on_key('h');
    /// on_key('i');
    /// assert_eq!(told.iter().take(2).last().as_deref(), Some("hi"));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn wrap<E, F>(&self, f: F) -> impl Fn(E) + Clone + Send + Sync + 'static
    where
        E: Send + 'static,
        F: FnMut(E) + Send + 'static,
    {
        let bound: SequenceBound<F> = SequenceBound::new(self, f);
        // The site of its tasks: a callback may be called by code that knows nothing of it.
        let spec = bound.spec();
        move |event| {
            let refused = bound.post_as(spec.clone(), move |f| f(event)).err();
            drop_quietly(refused);
        }
    }
}
