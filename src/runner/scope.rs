//! Parallel tasks that may borrow: a call that returns when all of them are over.
//!
//! The tasks of a scope lie in a queue of its own, oldest first. For each the pool is given a ticket, which runs whatever is the oldest then; so the pool's workers help as far as
//! they are free. Whoever waits for the scope runs what no worker has come to, and so the call ends without any: in a pool of one worker inside a task of that worker, behind a
//! fence, after a shutdown. A ticket that comes to an empty queue does nothing.
//!
//! What is queued borrows; `task::loan` sees to it that it is called or dropped before the call returns.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use super::current;
use crate::error::JoinError;
use crate::park::{Bell, Wait, pause};
use crate::pool::ThreadPool;
use crate::pool::core::Core;
use crate::pool::ledger::Count;
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::current::{self as task_current, Owner};
use crate::task::loan::{Lender, Loan, lend};
use crate::task::panic::{Panicked, Payload, catch, drop_quietly};
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority, TaskTraits};

/// One task that waits in its scope.
struct Child {
    loan: Loan,
    site: &'static Site,
}

/// What the scope, its tickets and its handles share.
struct Children {
    core: Arc<Core>,
    meta: Meta,
    queue: Mutex<Queue>,
    /// The first panic that nobody else has.
    panic: Mutex<Option<Payload>>,
    token: CancelToken,
}

#[derive(Default)]
struct Queue {
    children: BTreeMap<u64, Child>,
    /// The next one's number.
    next: u64,
}

impl Owner for Children {
    fn cancel_token(&self) -> CancelToken {
        self.token.clone()
    }
}

impl Children {
    fn new(pool: &ThreadPool) -> Arc<Self> {
        // What waits for the scope is as urgent as who waits.
        let priority = task_current::priority().unwrap_or(Priority::UserVisible);
        Arc::new(Self {
            core: Arc::clone(pool.core()),
            meta: Meta::new(TaskTraits::from(priority)),
            queue: Mutex::default(),
            panic: Mutex::new(None),
            token: CancelToken::new(),
        })
    }

    /// Queues one, and asks the pool for help; gives its number.
    fn add(self: &Arc<Self>, loan: Loan, location: &'static Location<'static>) -> u64 {
        let child = Child { loan, site: Site::intern(task_current::site(), location) };
        let (number, refused) = {
            let mut queue = self.queue.lock();
            let number = queue.next;
            queue.next += 1;
            // WHY under the lock: of a cancel and this, one sees the other.
            let refused = if self.token.is_cancelled() { Some(child) } else { queue.children.insert(number, child) };
            (number, refused)
        };
        if refused.is_some() {
            drop_quietly(refused);
        } else if self.core.admit(self.meta).is_ok() {
            let helped = Arc::clone(self);
            let ticket = move || _ = helped.run_next();
            let ticket = Core::wrap(ticket, location, self.meta, None);
            self.core.submit_unbounded(ticket, self.meta.priority(), Count::Posted);
        }
        number
    }

    /// Runs the oldest one; false when there is none.
    fn run_next(self: &Arc<Self>) -> bool {
        let child = self.queue.lock().children.pop_first();
        let found = child.is_some();
        if let Some((_, child)) = child {
            self.run(child);
        }
        found
    }

    /// Runs one, in a context of its own, on whatever thread this is.
    fn run(self: &Arc<Self>, child: Child) {
        let _outer = task_current::suspend();
        let _scope = current::Scope::outside();
        task_current::enter(child.site, self.meta);
        let none = task_current::set_owner(Some(Arc::clone(self) as Arc<dyn Owner>));
        let result = catch(|| child.loan.call());
        drop((none, task_current::set_owner(None)));
        if let Err(payload) = result {
            let later = self.panic.lock().replace(payload);
            // The first one counts; this one is rarer than rare.
            if let Some(first) = later {
                let second = self.panic.lock().replace(first);
                drop_quietly(second);
            }
        }
    }

    /// Drops what has not started, and tells what runs.
    fn cancel(&self) {
        self.token.cancel();
        let rest = std::mem::take(&mut self.queue.lock().children);
        rest.into_values().for_each(|child| _ = drop_quietly(child));
    }

    /// Runs what nobody has come to.
    fn settle(self: &Arc<Self>) {
        if std::thread::panicking() {
            return self.cancel();
        }
        pause();
        while self.run_next() {
            pause();
        }
    }
}

/// What a scope and its tasks reach; `E` is the error of tasks that may fail.
struct Shared<E> {
    children: Arc<Children>,
    error: Mutex<Option<E>>,
}

impl<E> Shared<E> {
    fn new(pool: &ThreadPool) -> Arc<Self> {
        Arc::new(Self { children: Children::new(pool), error: Mutex::new(None) })
    }

    /// The first error cancels what has not started.
    fn fail(&self, error: E) {
        let later = {
            let mut first = self.error.lock();
            if first.is_none() { first.replace(error) } else { Some(error) }
        };
        drop(later);
        self.children.cancel();
    }
}

/// Where tasks that borrow are posted; given to the closure of [`ThreadPool::scope`].
///
/// It is a copyable handle: tasks may post further ones.
pub struct Scope<'scope, 'env: 'scope>(&'scope Lender<'scope, 'env, Arc<Shared<Infallible>>>);

/// Where tasks that borrow and may fail are posted; given to the closure of [`ThreadPool::try_scope`].
pub struct TryScope<'scope, 'env: 'scope, E>(&'scope Lender<'scope, 'env, Arc<Shared<E>>>);

impl Clone for Scope<'_, '_> {
    fn clone(&self) -> Self {
        *self
    }
}

impl Copy for Scope<'_, '_> {}

impl<E> Clone for TryScope<'_, '_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for TryScope<'_, '_, E> {}

impl<'scope> Scope<'scope, '_> {
    /// Runs a closure on some worker, or on the thread that waits for the scope. It is never refused.
    #[track_caller]
    pub fn post_task(&self, f: impl FnOnce() + Send + 'scope) {
        self.0.shared.children.add(self.0.give(Box::new(f)), Location::caller());
    }

    /// As [`post_task`](Self::post_task), with a handle for the result. A panic goes to the handle.
    #[track_caller]
    pub fn spawn<T, F>(&self, f: F) -> ScopedTaskHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        spawn(self.0, Location::caller(), f)
    }
}

impl<'scope, E: Send + 'scope> TryScope<'scope, '_, E> {
    /// Runs a closure on some worker, or on the thread that waits for the scope. An error cancels what has not started, and is the scope's.
    #[track_caller]
    pub fn post_task(&self, f: impl FnOnce() -> Result<(), E> + Send + 'scope) {
        let shared = &self.0.shared;
        let task = move || {
            if let Err(error) = f() {
                shared.fail(error);
            }
        };
        shared.children.add(self.0.give(Box::new(task)), Location::caller());
    }

    /// Runs a closure with a handle for the result, be it an error; it cancels nothing. A panic goes to the handle.
    #[track_caller]
    pub fn spawn<T, F>(&self, f: F) -> ScopedTaskHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        spawn(self.0, Location::caller(), f)
    }
}

/// What a task with a handle leaves for it.
struct Answer<T> {
    result: Mutex<Option<Result<T, JoinError>>>,
    there: Bell,
}

/// Says "cancelled" when dropped before it was said how the task ended.
struct Owed<T>(Arc<Answer<T>>);

impl<T> Owed<T> {
    fn put(&self, result: Result<T, JoinError>) {
        let unwanted = {
            let mut slot = self.0.result.lock();
            if slot.is_none() { slot.replace(result) } else { Some(result) }
        };
        drop(unwanted);
        self.0.there.ring();
    }
}

impl<T> Drop for Owed<T> {
    fn drop(&mut self) {
        if !self.0.result.lock().is_some() {
            self.put(Err(JoinError::Cancelled));
        }
    }
}

fn spawn<'scope, S, T, F>(
    lender: &'scope Lender<'scope, '_, Arc<Shared<S>>>,
    location: &'static Location<'static>,
    f: F,
) -> ScopedTaskHandle<'scope, T>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    let answer = Arc::new(Answer { result: Mutex::new(None), there: Bell::new() });
    let owed = Owed(Arc::clone(&answer));
    let task = move || {
        let result = catch(f);
        owed.put(result.map_err(|payload| JoinError::Panicked(Panicked::new(payload))));
    };
    let children = Arc::clone(&lender.shared.children);
    let number = children.add(lender.give(Box::new(task)), location);
    ScopedTaskHandle { answer, children, number, location, scope: PhantomData }
}

/// The result of a task of a scope; see [`Scope::spawn`]. Dropping it detaches: the scope still waits for the task.
#[must_use = "the result is lost otherwise; to ask for none, post the task"]
pub struct ScopedTaskHandle<'scope, T> {
    answer: Arc<Answer<T>>,
    children: Arc<Children>,
    number: u64,
    location: &'static Location<'static>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedTaskHandle<'_, T> {
    /// Waits for the result. A task that nobody has started runs here.
    ///
    /// # Errors
    ///
    /// [`JoinError::Panicked`], and [`JoinError::Cancelled`] if the scope was cancelled before the task started.
    pub fn join(self) -> Result<T, JoinError> {
        let child = self.children.queue.lock().children.remove(&self.number);
        if let Some(child) = child {
            self.children.run(child);
        }
        let take = || self.answer.result.lock().take();
        let wait = Wait::on("a task of a scope").posted_at(self.location);
        self.answer.there.wait_until(take, wait).unwrap_or(Err(JoinError::Cancelled))
    }

    /// True when the task has ended, whichever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.answer.result.lock().is_some()
    }
}

impl ThreadPool {
    /// Calls `f`, which may post tasks that borrow what lives outside of this call, and returns when all of them are over.
    ///
    /// # Guarantees
    ///
    /// - No task is refused, and none is left: what no worker has come to runs on this thread, which runs nothing else meanwhile (HND-3). So the call ends, be every worker busy, a
    ///   fence held or the pool shut down.
    /// - Tasks start in the order of posting. They are as urgent as the task that calls.
    /// - Tasks may post further ones.
    ///
    /// # Panics
    ///
    /// With the first panic of a posted task, when all are over; with that of `f`, and then what has not started is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(2).build()?;
    /// let mut parts = [vec![3, 1, 2], vec![9, 8]];
    /// pool.scope(|s| {
    ///     for part in &mut parts {
    ///         s.post_task(|| part.sort());
    ///     }
    /// });
    /// assert_eq!(parts, [vec![1, 2, 3], vec![8, 9]]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is borrowed must outlive the call, not the closure:
    ///
    /// ```compile_fail,E0373
    /// # let pool = overstrand::ThreadPool::builder().workers(2).build().unwrap();
    /// pool.scope(|s| {
    ///     let mine = String::from("gone before the tasks are over");
    ///     s.post_task(|| println!("{mine}"));
    /// });
    /// ```
    ///
    /// and without a scope nothing may be borrowed:
    ///
    /// ```compile_fail,E0597
    /// # let pool = overstrand::ThreadPool::builder().workers(2).build().unwrap();
    /// let text = String::from("borrowed");
    /// let borrowed = &text;
    /// let _ = pool.post_task(move || println!("{borrowed}"));
    /// ```
    pub fn scope<'env, T>(&self, f: impl for<'scope> FnOnce(Scope<'scope, 'env>) -> T) -> T {
        within(&Shared::new(self), |lender| f(Scope(lender)))
    }

    /// As [`scope`](Self::scope), for tasks that may fail: the first error cancels what has not started and is returned when the rest is over. What runs finds the
    /// signal in [`current::cancel_token`](crate::current::cancel_token).
    ///
    /// # Errors
    ///
    /// The first error of `f` or a task.
    ///
    /// # Panics
    ///
    /// As [`scope`](Self::scope).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(2).build()?;
    /// let words = ["1", "2", "three"];
    /// let parsed = pool.try_scope(|s| {
    ///     for word in &words {
    ///         s.post_task(|| word.parse::<u32>().map(|_| ()));
    ///     }
    ///     Ok(())
    /// });
    /// assert!(parsed.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_scope<'env, T, E: Send>(
        &self,
        f: impl for<'scope> FnOnce(TryScope<'scope, 'env, E>) -> Result<T, E>,
    ) -> Result<T, E> {
        let shared = Shared::new(self);
        let answer = within(&shared, |lender| match f(TryScope(lender)) {
            Ok(answer) => Some(answer),
            Err(error) => {
                shared.fail(error);
                None
            }
        });
        let error = shared.error.lock().take();
        match (answer, error) {
            (Some(answer), None) => Ok(answer),
            (_, Some(error)) => Err(error),
            (None, None) => unreachable!("without an answer there is an error"),
        }
    }
}

/// Calls `f` with a lender, and returns when all tasks are over.
fn within<'env, E, T>(
    shared: &Arc<Shared<E>>,
    f: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env, Arc<Shared<E>>>) -> T,
) -> T {
    let answer = lend(Arc::clone(shared), |shared| shared.children.settle(), f);
    let panic = shared.children.panic.lock().take();
    if let Some(payload) = panic {
        std::panic::resume_unwind(payload);
    }
    answer
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ScopedTaskHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedTaskHandle").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}
