//! Jobs: one body that as many workers run at once as there is work for.
//!
//! Who works, who is wanted and who is on the way is one word, `crew`. A ticket in the pool's queue brings one worker; it runs the body once and goes, or, if there is more, comes back
//! as a new ticket behind what has waited meanwhile. No user code is called under a lock.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::crew::Crew;
use super::{current, next_id};
use crate::error::JoinError;
use crate::park::{Bell, Listener, Wait};
use crate::pool::ThreadPool;
use crate::pool::core::Core;
use crate::pool::ledger::Count;
use crate::pool::worker::should_yield;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::current as task_current;
use crate::task::panic::{Panicked, Payload, catch, drop_quietly};
use crate::task::site::Site;
use crate::task::traits::{Meta, TaskTraits};

/// The most that can work on one job at once, joiners included: each has a bit of a word.
const WORKERS_MAX: usize = 64;

type Wanted = Box<dyn Fn(usize) -> usize + Send + Sync>;
type Body = Box<dyn Fn(&JobDelegate<'_>) + Send + Sync>;

struct Job {
    id: u64,
    core: Arc<Core>,
    crew: Crew,
    /// Worker numbers in use.
    numbers: AtomicU64,
    /// Rings when a worker has left, and when there is more to do or nothing any more.
    changed: Bell,
    meta: Meta,
    location: &'static Location<'static>,
    /// The first panic.
    panic: Mutex<Option<Payload>>,
    wanted: Wanted,
    body: Body,
}

/// A worker on its way. Dropped by a shutdown, it never comes.
struct Ticket(Option<Arc<Job>>);

impl Ticket {
    fn come(mut self) {
        if let Some(job) = self.0.take() {
            Job::work(&job);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.crew.drop_ticket();
            job.changed.ring();
        }
    }
}

impl Job {
    /// How many are wanted, by the user's word; a panic of it ends the job.
    fn wanted(&self, workers: usize) -> usize {
        match catch(|| (self.wanted)(workers)) {
            Ok(wanted) => wanted.min(WORKERS_MAX),
            Err(payload) => {
                self.fail(payload);
                0
            }
        }
    }

    /// As [`wanted`](Self::wanted), but no more than the pool has workers for.
    fn wanted_of_the_pool(&self, workers: usize) -> usize {
        self.wanted(workers).min(self.core.settings.workers.max(1))
    }

    fn fail(&self, payload: Payload) {
        self.crew.cancel();
        let later = {
            let mut first = self.panic.lock();
            if first.is_none() { first.replace(payload) } else { Some(payload) }
        };
        drop_quietly(later);
        self.changed.ring();
    }

    /// Invites as many as are wanted.
    fn invite(this: &Arc<Self>) {
        while this.crew.invite(|workers| this.wanted_of_the_pool(workers)) {
            if !Self::send(this) {
                break;
            }
        }
    }

    /// Gives the pool the ticket that is owed; false when it takes none any more.
    fn send(this: &Arc<Self>) -> bool {
        let ticket = Ticket(Some(Arc::clone(this)));
        let is_admitted = this.core.admit(this.meta).is_ok();
        if is_admitted {
            let task = Core::wrap(move || ticket.come(), this.location, this.meta, None);
            this.core.submit_unbounded(task, this.meta.priority(), Count::Posted);
        }
        is_admitted
    }

    /// A ticket has come to this thread.
    fn work(this: &Arc<Self>) {
        if this.crew.begin(|workers| this.wanted(workers)) {
            Self::invite(this);
            this.run(false);
            if this.crew.leave(|workers| this.wanted_of_the_pool(workers)) {
                Self::send(this);
            }
        }
        this.changed.ring();
    }

    /// Runs the body once.
    fn run(&self, is_joining: bool) {
        let number = Number::take(&self.numbers);
        // So that a wait for the job is seen to be one for oneself.
        let _scope = current::Scope::on_behalf(Box::new([self.id]));
        let delegate = JobDelegate { job: self, number: number.number, is_joining };
        if let Err(payload) = catch(|| (self.body)(&delegate)) {
            self.fail(payload);
        }
    }

    fn is_over(&self) -> bool {
        let nobody_comes = || self.core.tracker.is_complete() && self.crew.workers() == 0;
        self.crew.is_over(|workers| self.wanted(workers)) || nobody_comes()
    }

    /// How it ended.
    fn outcome(&self) -> Result<(), JoinError> {
        let panic = self.panic.lock().take();
        match panic {
            Some(payload) => Err(JoinError::Panicked(Panicked::new(payload))),
            None if self.crew.is_cancelled() => Err(JoinError::Cancelled),
            None if self.wanted(0) > 0 => Err(JoinError::ShutDown),
            None => Ok(()),
        }
    }

    fn bells(&self) -> [&Bell; 2] {
        [&self.changed, &self.core.ended]
    }

    fn wait(&self) -> Wait {
        Wait::on("a job").posted_at(self.location)
    }
}

/// The lowest number that no other worker of the job has; given back when dropped.
struct Number<'a> {
    numbers: &'a AtomicU64,
    number: u32,
}

impl<'a> Number<'a> {
    fn take(numbers: &'a AtomicU64) -> Self {
        // WHY there is one: no more than `WORKERS_MAX` are ever wanted.
        let lowest = |taken: u64| Some(taken | 1 << taken.trailing_ones().min(63));
        // ORDER job.number: AcqRel; what the number's last owner did with its scratch space is visible; pairs with job.number_back.
        let taken = numbers.fetch_update(Ordering::AcqRel, Ordering::Acquire, lowest).unwrap_or_default();
        Self { numbers, number: taken.trailing_ones().min(63) }
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        // ORDER job.number_back: Release; pairs with job.number.
        self.numbers.fetch_and(!(1 << self.number), Ordering::Release);
    }
}

/// A job as one of its workers sees it.
pub struct JobDelegate<'a> {
    job: &'a Job,
    number: u32,
    is_joining: bool,
}

impl JobDelegate<'_> {
    /// True when the body should return soon: the job was cancelled, or more urgent work waits and no worker is free for it (PRI-6). If there is more to do, the body is
    /// called again later.
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.job.crew.is_cancelled() || should_yield()
    }

    /// A number that no other worker has at this moment: the lowest that is free, so less than the number of workers that there ever were at once, 64 at most. What the number's
    /// last owner did is visible.
    #[must_use]
    pub fn worker_id(&self) -> usize {
        self.number as usize
    }

    /// True on a thread that waits in [`JobHandle::join`].
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.is_joining
    }
}

/// A job that was posted; made by [`ThreadPool::post_job`]. Dropping it detaches.
///
/// It is also a future, which waits without contributing.
pub struct JobHandle {
    job: Arc<Job>,
    listener: Listener,
}

impl JobHandle {
    /// Works on the job until nothing is left, and waits for the others. It runs nothing but this job's body (HND-3), and so ends the job even when every worker is busy.
    ///
    /// # Errors
    ///
    /// [`JoinError::Panicked`] with the first panic of the body or of the function that says how many are wanted, which cancels the job; [`JoinError::Cancelled`];
    /// [`JoinError::WouldDeadlock`] inside the job's own body.
    pub fn join(self) -> Result<(), JoinError> {
        let job = &*self.job;
        if current::holds(job.id) {
            return Err(JoinError::WouldDeadlock);
        }
        loop {
            while job.crew.join(|workers| job.wanted(workers)) {
                {
                    let _outer = task_current::suspend();
                    let _scope = current::Scope::outside();
                    task_current::enter(Site::intern(None, job.location), job.meta);
                    job.run(true);
                }
                job.crew.leave_joined();
                job.changed.ring();
            }
            let look = || {
                let is_over = job.crew.is_over(|workers| job.wanted(workers));
                (is_over || job.crew.is_short(|workers| job.wanted(workers))).then_some(is_over)
            };
            if job.changed.wait_until(look, job.wait()) == Some(true) {
                return job.outcome();
            }
        }
    }

    /// Waits for the end for at most `limit` of monotonic time, without working. `None`: not yet.
    pub fn join_timeout(&mut self, limit: Duration) -> Option<Result<(), JoinError>> {
        let job = &*self.job;
        if current::holds(job.id) {
            return Some(Err(JoinError::WouldDeadlock));
        }
        let look = || job.is_over().then_some(());
        Bell::wait_for_either(job.bells(), look, job.wait().at_most(Some(limit)))?;
        Some(job.outcome())
    }

    /// Keeps the body from being called again; a call that runs sees it in [`JobDelegate::should_yield`]. Returns at once; [`join`](Self::join) waits.
    pub fn cancel(&self) {
        self.job.crew.cancel();
        self.job.changed.ring();
    }

    /// Says that more workers may be wanted than before: must be called after the work grew, since nobody asks otherwise.
    pub fn notify(&self) {
        self.job.crew.call();
        Job::invite(&self.job);
        self.job.changed.ring();
    }

    /// True when nobody works on it and nobody is wanted. It asks the function that says how many are.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.job.is_over()
    }
}

impl Future for JobHandle {
    type Output = Result<(), JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { job, listener } = &mut *self;
        listener.poll(context, job.bells(), || job.is_over().then(|| job.outcome()))
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.listener.leave(self.job.bells());
    }
}

impl ThreadPool {
    /// Runs one body on as many workers at once as there is work for.
    ///
    /// `max_concurrency` says how many are wanted while so many work on it; it is asked whenever a worker begins or ends and after [`JobHandle::notify`], on any thread, and should be
    /// cheap. `worker` takes work until there is none, or [`JobDelegate::should_yield`] is true, and returns. When nobody works on it and nobody is wanted the job is over.
    ///
    /// # Guarantees
    ///
    /// - Never more at once than are wanted, nor than the pool has workers (one more with a thread that [joins](JobHandle::join)), nor than 64.
    /// - Neither function is called under a lock: both may post, and take locks that are held while posting.
    /// - A panic of either cancels the job and is told by `join`.
    /// - It never keeps the pool's shutdown waiting unless the traits say so; what shutdown drops, a thread that joins still does.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    /// use overstrand::{TaskTraits, ThreadPool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(2).build()?;
    /// let (next, sum) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    /// let (taken, total) = (Arc::clone(&next), Arc::clone(&sum));
    /// let job = pool.post_job(
    ///     TaskTraits::default(),
    ///     move |_workers| 1000_usize.saturating_sub(taken.load(Ordering::Relaxed)),
    ///     move |delegate| {
    ///         while !delegate.should_yield() {
    ///             let item = next.fetch_add(1, Ordering::Relaxed);
    ///             if item >= 1000 {
    ///                 break;
    ///             }
    ///             total.fetch_add(item as u64, Ordering::Relaxed);
    ///         }
    ///     },
    /// );
    /// job.join()?;
    /// assert_eq!(sum.load(Ordering::Relaxed), 499_500);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn post_job<M, W>(&self, traits: impl Into<TaskTraits>, max_concurrency: M, worker: W) -> JobHandle
    where
        M: Fn(usize) -> usize + Send + Sync + 'static,
        W: Fn(&JobDelegate<'_>) + Send + Sync + 'static,
    {
        let job = Arc::new(Job {
            id: next_id(),
            core: Arc::clone(self.core()),
            crew: Crew::default(),
            numbers: AtomicU64::new(0),
            changed: Bell::new(),
            meta: Meta::new(traits.into()),
            location: Location::caller(),
            panic: Mutex::new(None),
            wanted: Box::new(max_concurrency),
            body: Box::new(worker),
        });
        Job::invite(&job);
        JobHandle { job, listener: Listener::new() }
    }
}

impl fmt::Debug for JobDelegate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobDelegate").field("worker_id", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("workers", &self.job.crew.workers()).finish_non_exhaustive()
    }
}
