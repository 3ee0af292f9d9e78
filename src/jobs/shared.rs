//! What all handles of an executor share: the board under its lock, what is done after it, and the turns of the workers.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Poll, Wake};
use std::time::Duration;

use super::board::{Board, Claim, Entry, Refusal};
use super::context::Run;
use super::desk::Desk;
use super::errand::Stride;
use super::error::JobError;
use crate::park::{Bell, Listener, Wait, pause, wait_for};
use crate::pool::endings::Ending;
use crate::runner::{SequenceBound, SequencedTaskRunner};
use crate::sync::Mutex;
use crate::task::handle::Waited;
use crate::task::panic::drop_quietly;
use crate::task::traits::Priority;

pub(super) struct Shared<R: 'static> {
    pub(super) board: Mutex<Board<R>>,
    pub(super) desks: Vec<SequenceBound<Desk<R>>>,
    /// Where delays end.
    pub(super) delays: SequencedTaskRunner,
    /// Rings when there may be room.
    pub(super) room: Bell,
}

impl<R: 'static> Shared<R> {
    /// True on one of the executor's own workers.
    pub(super) fn is_own_worker(&self) -> bool {
        self.desks.iter().any(|desk| desk.runner().is_current())
    }

    /// Takes a job if there is room.
    pub(super) fn add(self: &Arc<Self>, entry: Entry<R>, delay: Duration) -> Result<(), (Refusal, Entry<R>)> {
        let claim = Arc::clone(&entry.claim);
        if delay.is_zero() {
            let woken = self.board.lock().add(entry)?;
            self.wake(woken);
        } else {
            self.board.lock().add_delayed(entry)?;
            self.arm(claim.id, delay);
        }
        self.bind(&claim);
        Ok(())
    }

    /// Takes a job as soon as there is room.
    pub(super) fn add_patiently(self: &Arc<Self>, entry: Entry<R>, delay: Duration) -> Result<(), JobError> {
        let mut wanted = pin!(entry.claim.wanted.cancelled());
        let (mut entry, mut listener) = (Some(entry), Listener::new());
        let answer = wait_for(
            |context| {
                if wanted.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(JobError::Cancelled));
                }
                listener.poll(context, [&self.room], || match self.add(entry.take()?, delay) {
                    Ok(()) => Some(Ok(())),
                    Err((Refusal::ShutDown, refused)) => {
                        entry = Some(refused);
                        Some(Err(JobError::ShutDown))
                    }
                    Err((Refusal::Full, refused)) => {
                        entry = Some(refused);
                        None
                    }
                })
            },
            Wait::on("room for a job"),
        );
        listener.leave([&self.room]);
        drop_quietly(entry);
        answer.unwrap_or(Err(JobError::Cancelled))
    }

    fn arm(self: &Arc<Self>, id: u64, delay: Duration) {
        let shared = Arc::downgrade(self);
        let ripe = move || {
            if let Some(shared) = shared.upgrade() {
                let woken = shared.board.lock().ripen(id);
                shared.wake(woken);
            }
        };
        match self.delays.post_delayed_task(delay, ripe) {
            Ok(timer) => {
                let unused = self.board.lock().note_timer(id, timer);
                if let Some(unused) = unused {
                    unused.cancel();
                }
            }
            Err(_pool_is_over) => self.close(),
        }
    }

    /// Has a cancel of the caller's token end the job.
    fn bind(self: &Arc<Self>, claim: &Arc<Claim>) {
        let cancels = Cancels { shared: Arc::downgrade(self), claim: Arc::downgrade(claim) };
        match claim.wanted.bind(Arc::new(cancels)) {
            None => self.cancel(claim),
            Some(bound) => *claim.bound.lock() = Some(bound),
        }
    }

    /// Ends a job that nobody wants. One that runs has its answer at once, and is over after its step.
    fn cancel(&self, claim: &Claim) {
        let (entry, timer) = self.board.lock().remove(claim);
        if let Some(timer) = timer {
            timer.cancel();
        }
        match entry {
            Some(mut entry) => {
                self.end_entry(&mut entry, JobError::Cancelled);
                self.room.ring();
            }
            None => claim.settle.fail(JobError::Cancelled),
        }
    }

    fn wake(self: &Arc<Self>, seat: Option<usize>) {
        let Some(seat) = seat else { return };
        let shared = Arc::clone(self);
        let turn = move |desk: &mut Desk<R>| shared.turn(desk, seat);
        if self.desks[seat].post(turn).is_err() {
            // The pool is over.
            self.close();
        }
    }

    /// Takes no more jobs: those that wait are over, those that run are asked to stop, workers drop their resources.
    pub(super) fn close(&self) {
        let leftovers = self.board.lock().close();
        let Some(leftovers) = leftovers else { return };
        for timer in leftovers.timers {
            timer.cancel();
        }
        for mut entry in leftovers.entries {
            self.end_entry(&mut entry, JobError::ShutDown);
        }
        leftovers.runs.iter().for_each(|run| run.stop());
        self.room.ring();
        // Refused, the pool is over, and its threads drop what they have.
        self.desks.iter().for_each(|desk| _ = drop_quietly(desk.post(Desk::clear)));
    }

    /// Runs jobs until there is none for that worker.
    fn turn(&self, desk: &mut Desk<R>, seat: usize) {
        loop {
            let taken = self.board.lock().take(seat);
            let Some((entry, run)) = taken else { return };
            self.room.ring();
            self.run(desk, seat, entry, run);
            pause();
        }
    }

    /// One run of a job.
    fn run(&self, desk: &mut Desk<R>, seat: usize, mut entry: Entry<R>, run: Arc<Run>) {
        let opened = match run.over() {
            Some(why) => Err(why),
            None => desk.open(Arc::clone(&run)),
        };
        let context = match opened {
            Ok(context) => context,
            Err(why) => return self.end(seat, entry, why),
        };
        let mut went_on = false;
        loop {
            match (entry.errand.stride(context), run.over()) {
                (Stride::Over, _) => break self.board.lock().ended(seat),
                (Stride::Panicked, _) => {
                    desk.clear();
                    break self.board.lock().ended(seat);
                }
                (stride, Some(why)) => {
                    if stride == Stride::Yield(true) {
                        self.board.lock().saved();
                    }
                    break self.end(seat, entry, why);
                }
                (Stride::Again, None) => {
                    if !std::mem::replace(&mut went_on, true) {
                        self.board.lock().progressed(seat, &mut entry);
                    }
                    pause();
                }
                (Stride::Yield(saved), None) => {
                    if saved {
                        self.board.lock().saved();
                    }
                    break self.put_back(seat, entry, went_on);
                }
            }
        }
    }

    fn end(&self, seat: usize, mut entry: Entry<R>, why: JobError) {
        self.board.lock().ended(seat);
        self.end_entry(&mut entry, why);
    }

    fn end_entry(&self, entry: &mut Entry<R>, why: JobError) {
        if entry.errand.end(why) {
            self.board.lock().saved();
        }
    }

    fn put_back(&self, seat: usize, entry: Entry<R>, went_on: bool) {
        let claim = Arc::clone(&entry.claim);
        let refused = self.board.lock().put_back(seat, entry, went_on);
        if let Some(mut entry) = refused {
            self.end_entry(&mut entry, JobError::ShutDown);
        } else if claim.wanted.is_cancelled() {
            // WHY: a cancel that came before it was back has not found it.
            self.cancel(&claim);
        }
    }
}

impl<R: 'static> Ending for Shared<R> {
    fn pool_ends(self: Arc<Self>) {
        self.close();
    }
}

/// Ends a job when its caller's token is cancelled.
struct Cancels<R: 'static> {
    shared: Weak<Shared<R>>,
    claim: Weak<Claim>,
}

impl<R: 'static> Wake for Cancels<R> {
    fn wake(self: Arc<Self>) {
        if let (Some(shared), Some(claim)) = (self.shared.upgrade(), self.claim.upgrade()) {
            shared.cancel(&claim);
        }
    }
}

/// Knows who would wait for a worker that waits.
pub(super) struct OwnWorker<R: 'static>(pub(super) Weak<Shared<R>>);

impl<R: 'static> Waited for OwnWorker<R> {
    fn would_deadlock(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.is_own_worker())
    }

    fn lend(self: Arc<Self>, _class: Priority) -> bool {
        false
    }

    fn take_back(self: Arc<Self>, _class: Priority) {}
}
