//! Synchronous calls into a sequence: the caller runs the closure itself, in the sequence's turn (SEQ-11).
//!
//! An idle sequence is taken by one exchange of its word, and given back by the end of a turn. A busy one is waited for: a task is posted that, when its turn comes, hands the
//! turn to the caller and waits until it is given back; meanwhile its worker does not count. Either way the closure runs on the caller's stack and may borrow from it.
//!
//! A runner with a thread of its own runs the closure there: it is lent to that thread, and the caller waits until it is back.
#![forbid(unsafe_code)]

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::current;
use super::owned::SequenceBound;
use super::sequence::Sequence;
use super::sequenced::SequencedTaskRunner;
use super::single::SingleThreadTaskRunner;
use crate::error::{JoinError, RejectReason};
use crate::park::{Wait, wait_for};
use crate::pool::core::Core;
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::current as task_current;
use crate::task::handle::{Lent, Packet, PacketBody, Pending, TaskHandle};
use crate::task::loan::lend;
use crate::task::panic::{Panicked, Payload, catch};
use crate::task::site::Site;

/// Gives the turn back when dropped.
struct TurnOfMine(CancelToken);

impl Drop for TurnOfMine {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl SequencedTaskRunner {
    /// Runs `f` in the sequence's turn, after everything that was posted before, and returns what it returns. It is over when the call returns, so it may borrow. It runs on
    /// this thread, unless the sequence has one of its own (a [`SingleThreadTaskRunner`]'s): then there, which is why it must be `Send`.
    ///
    /// An idle sequence is taken at once; a busy one is waited for, and on a worker of a pool another takes this one's place meanwhile. Shutdown waits for the call. Inside `f`
    /// [`is_current`](Self::is_current) holds; contexts nest.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(1).build()?;
    /// let seq = pool.create_sequenced_task_runner(overstrand::TaskTraits::default());
    /// let text = String::from("one\ntwo");
    /// assert_eq!(seq.run_sync(|| text.lines().count())?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`JoinError::WouldDeadlock`] from inside the sequence, also through a chain of such calls, and while this thread holds a fence of the pool;
    /// [`JoinError::Panicked`]; [`JoinError::Rejected`] as for any post; [`JoinError::Cancelled`] when the sequence is closed with `Discard` before its turn.
    #[track_caller]
    pub fn run_sync<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, JoinError> {
        let location = Location::caller();
        let sequence = self.sequence();
        if sequence.would_deadlock() || sequence.core().is_fenced_by_this_thread() {
            return Err(JoinError::WouldDeadlock);
        }
        // WHY: a call that has begun, or waits for its turn, borrows from a thread that shutdown cannot join, so it is waited for like a task that blocks shutdown.
        let meta = sequence.meta(sequence.traits().block_shutdown());
        if let Err(reason) = sequence.admit(meta) {
            return Err(self.refuse(location, reason));
        }
        let site = Site::intern(task_current::site(), location);
        if sequence.home().is_some() {
            return self.run_there(location, meta, f);
        }
        match Sequence::run_if_idle(self.erased(), (site, meta), f) {
            Ok(result) => result.map_err(panicked),
            Err(f) => self.run_in_turn(location, meta, f),
        }
    }

    fn refuse(&self, location: &'static Location<'static>, reason: RejectReason) -> JoinError {
        let _ = self.reject((), None, location, reason);
        JoinError::Rejected(reason)
    }

    /// Has the sequence's own thread run `f`, and waits.
    fn run_there<T: Send>(
        &self,
        location: &'static Location<'static>,
        meta: crate::task::traits::Meta,
        f: impl FnOnce() -> T + Send,
    ) -> Result<T, JoinError> {
        let (answer, held) = (Mutex::new(None), current::held());
        let call = || {
            // WHY: whatever waits for a sequence that the caller holds waits for this call, too.
            let _behalf = current::Scope::on_behalf(held);
            let result = catch(f);
            *answer.lock() = Some(result);
        };
        let _lent = Lent::to(&self.as_waited());
        let ended = lend(
            (),
            |()| {},
            |lender| {
                let loan = lender.give(Box::new(call));
                let packet = Packet::new(move || loan.call(), Some(self.as_waited()), location);
                let body = PacketBody(Arc::clone(&packet));
                Sequence::push(self.erased(), Core::wrap_body(body, location, meta, None));
                TaskHandle::new(packet as Arc<dyn Pending<()>>).join()
            },
        );
        match answer.into_inner() {
            Some(result) => result.map_err(panicked),
            None => Err(ended.err().unwrap_or(JoinError::Cancelled)),
        }
    }

    /// Waits for the turn, and runs `f` in it.
    fn run_in_turn<T>(
        &self,
        location: &'static Location<'static>,
        meta: crate::task::traits::Meta,
        f: impl FnOnce() -> T,
    ) -> Result<T, JoinError> {
        let (my_turn, done) = (CancelToken::new(), CancelToken::new());
        let (tell, wait) = (my_turn.clone(), done.clone());
        let hand_over = move || {
            tell.cancel();
            wait.wait();
        };
        let packet = Packet::new(hand_over, Some(self.as_waited()), location);
        let body = PacketBody(Arc::clone(&packet));
        Sequence::push(self.erased(), Core::wrap_body(body, location, meta, None));
        let mut handed = TaskHandle::new(packet as Arc<dyn Pending<()>>);
        let mut signal = my_turn.cancelled();
        let _back = TurnOfMine(done);
        let poll = |context: &mut std::task::Context<'_>| {
            if Pin::new(&mut signal).poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            // An end without a turn: it was dropped.
            Pin::new(&mut handed).poll(context)
        };
        let _lent = Lent::to(&self.as_waited());
        let wait = Wait::on("a turn of a sequence").posted_at(location);
        wait_for(poll, wait).unwrap_or(Err(JoinError::ShutDown))?;
        let site = Site::intern(task_current::site(), location);
        Sequence::call_in_turn(self.erased(), (site, meta), f).map_err(panicked)
    }
}

fn panicked(payload: Payload) -> JoinError {
    JoinError::Panicked(Panicked::new(payload))
}

impl SingleThreadTaskRunner {
    /// Runs `f` on the runner's thread, after everything that was posted before, and returns what it returns. It is over when the call returns, so it may borrow.
    ///
    /// It never runs on the calling thread. Shutdown waits for the call.
    ///
    /// # Errors
    ///
    /// As [`SequencedTaskRunner::run_sync`]; [`JoinError::WouldDeadlock`] also on the thread that pumps a
    /// [`MainThreadTaskRunner`](crate::MainThreadTaskRunner).
    #[track_caller]
    pub fn run_sync<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, JoinError> {
        self.as_sequenced().run_sync(f)
    }
}

impl<T: 'static> SequenceBound<T> {
    /// Calls `f` with the state, in its turn on the sequence, and waits for the answer: [`SequencedTaskRunner::run_sync`] for owned state. It may borrow.
    ///
    /// # Errors
    ///
    /// As there, and [`JoinError::Poisoned`].
    #[track_caller]
    pub fn call_sync<R: Send>(&self, f: impl FnOnce(&mut T) -> R + Send) -> Result<R, JoinError> {
        let shared = self.shared();
        self.runner().run_sync(|| shared.lend(f).map_err(JoinError::Poisoned))?
    }
}
