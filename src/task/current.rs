//! What the code that runs now can learn about the task it runs in, and what the rest of the crate must know about this thread.
//!
//! Every thread has one context. Whoever runs a task fills it and leaves it empty behind; outside of tasks everything is `None`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::Arc;

use super::cancel::CancelToken;
use super::site::Site;
use super::traits::{Meta, Priority};
use crate::sync::local;

/// The name of a task, a runner or a pool; cheap to clone.
pub(crate) type Name = Arc<str>;

pub(crate) fn name_of(name: impl Into<Cow<'static, str>>) -> Name {
    Arc::from(name.into())
}

/// What a running task with a handle offers to the code inside it.
pub(crate) trait Owner {
    fn cancel_token(&self) -> CancelToken;
    /// Which task of which supervisor the code is a run of, by address and number.
    fn supervised(&self) -> Option<(usize, u64)> {
        None
    }

    /// True when it is a run of that task of that supervisor, or of a child of it.
    fn is_run_of(&self, _supervisor: usize, _task: u64) -> bool {
        false
    }
}

/// The context of one thread.
pub(crate) struct Context {
    site: Cell<Option<&'static Site>>,
    meta: Cell<Option<Meta>>,
    sequence: Cell<u64>,
    /// The parallel runner whose turn this thread runs, 0 for none.
    group: Cell<u64>,
    name: RefCell<Option<Name>>,
    owner: RefCell<Option<Arc<dyn Owner>>>,
}

local! {
    static CONTEXT: Context = Context {
        site: Cell::new(None),
        meta: Cell::new(None),
        sequence: Cell::new(0),
        group: Cell::new(0),
        name: RefCell::new(None),
        owner: RefCell::new(None),
    };
}

/// Reads the context; on a thread whose thread-locals are gone there is none.
fn read<T>(f: impl FnOnce(&Context) -> T) -> Option<T> {
    CONTEXT.try_with(f).ok()
}

/// Enters a task.
#[inline]
pub(crate) fn enter(site: &'static Site, meta: Meta) {
    CONTEXT.with(|context| {
        context.site.set(Some(site));
        context.meta.set(Some(meta));
    });
}

/// Leaves the tasks that ran on this thread.
#[inline]
pub(crate) fn leave() {
    CONTEXT.with(|context| {
        context.site.set(None);
        context.meta.set(None);
    });
}

/// Takes the whole context away until the answer is dropped: something else is to run on this thread in between.
#[must_use = "the context comes back when this is dropped"]
pub(crate) fn suspend() -> Suspended {
    CONTEXT.with(|context| Suspended {
        site: context.site.take(),
        meta: context.meta.take(),
        sequence: context.sequence.take(),
        group: context.group.take(),
        name: context.name.take(),
        owner: context.owner.take(),
    })
}

/// A context that has been taken away.
pub(crate) struct Suspended {
    site: Option<&'static Site>,
    meta: Option<Meta>,
    sequence: u64,
    group: u64,
    name: Option<Name>,
    owner: Option<Arc<dyn Owner>>,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let _ = CONTEXT.try_with(|context| {
            context.site.set(self.site.take());
            context.meta.set(self.meta.take());
            context.sequence.set(self.sequence);
            context.group.set(self.group);
            drop(context.name.replace(self.name.take()));
            drop(context.owner.replace(self.owner.take()));
        });
    }
}

/// Sets the name of the running task; gives back the one before.
pub(crate) fn set_name(name: Option<Name>) -> Option<Name> {
    read(|context| context.name.replace(name)).flatten()
}

/// Sets the owner of the running task; gives back the one before.
pub(crate) fn set_owner(owner: Option<Arc<dyn Owner>>) -> Option<Arc<dyn Owner>> {
    read(|context| context.owner.replace(owner)).flatten()
}

/// True when the owner of the running task has that address.
pub(crate) fn is_owned_by(address: usize) -> bool {
    let is_it = |owner: &Arc<dyn Owner>| Arc::as_ptr(owner).addr() == address;
    read(|context| context.owner.borrow().as_ref().is_some_and(is_it)).unwrap_or(false)
}

/// Sets the sequence whose turn this thread runs (0: none); gives back the one before.
#[inline]
pub(crate) fn set_sequence(id: u64) -> u64 {
    read(|context| context.sequence.replace(id)).unwrap_or(0)
}

/// The sequence whose turn this thread runs, 0 for none.
#[inline]
pub(crate) fn sequence() -> u64 {
    read(|context| context.sequence.get()).unwrap_or(0)
}

/// Sets the parallel runner whose turn this thread runs (0: none); gives back the one before.
pub(crate) fn set_group(id: u64) -> u64 {
    read(|context| context.group.replace(id)).unwrap_or(0)
}

/// The parallel runner whose turn this thread runs, 0 for none.
pub(crate) fn group() -> u64 {
    read(|context| context.group.get()).unwrap_or(0)
}

/// The site that a post from this thread descends from.
#[inline]
pub(crate) fn site() -> Option<&'static Site> {
    read(|context| context.site.get()).flatten()
}

/// The name of the running task, if it was given one. `None` outside of tasks.
#[must_use]
pub fn task_name() -> Option<Arc<str>> {
    read(|context| context.name.borrow().clone()).flatten()
}

/// The supervised task that the running code belongs to: supervisor and number.
pub(crate) fn supervised() -> Option<(usize, u64)> {
    read(|context| context.owner.borrow().clone()).flatten()?.supervised()
}

/// True when the running code belongs to that supervised task, or to a child of it.
pub(crate) fn is_run_of(supervisor: usize, task: u64) -> bool {
    let owner = read(|context| context.owner.borrow().clone()).flatten();
    owner.is_some_and(|owner| owner.is_run_of(supervisor, task))
}

/// Where the running task was posted (POST-3). `None` outside of tasks.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = overstrand::ThreadPool::builder().workers(1).build()?;
/// let line = pool.spawn(|| overstrand::current::location().map(|site| site.line())).join()?;
/// assert_eq!(line, Some(line!() - 1));
/// assert!(overstrand::current::location().is_none());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn location() -> Option<&'static Location<'static>> {
    site().map(Site::location)
}

/// The chain of up to four post sites that the running task descends from, its own first (POST-3). Empty outside of tasks.
pub fn locations() -> impl Iterator<Item = &'static Location<'static>> {
    site().into_iter().flat_map(Site::chain)
}

/// The priority of the running task. `None` outside of tasks.
#[must_use]
pub fn priority() -> Option<Priority> {
    read(|context| context.meta.get()).flatten().map(Meta::priority)
}

/// The token that [`TaskHandle::cancel`](crate::TaskHandle::cancel) signals while the task runs.
///
/// In a task without a handle, and outside of tasks, it is a token that nobody ever cancels.
#[must_use]
pub fn cancel_token() -> CancelToken {
    let owner = read(|context| context.owner.borrow().clone()).flatten();
    owner.map_or_else(CancelToken::new, |owner| owner.cancel_token())
}
