//! Which job is next, who is asked to yield, who is woken: data under one lock, and decisions.
//!
//! | a job is | where | leaves it |
//! |---|---|---|
//! | *delayed* | `delayed` | its delay is over (to *queued*); cancel, close |
//! | *queued* | `queues`, by class and place | a worker that serves the class, the lowest place first (to *running*); cancel, close |
//! | *running* | with its worker; its seat knows the claim and the run | its end; a yield, which keeps its place (to *queued*) |
//!
//! A place is a number that grows, given when a job is queued for the first time. A job that yielded has started, so its place is before those of all that have not: the front of its class.
//!
//! A seat is *awake* from when its worker was posted a turn to when that turn finds no job, under the lock. So a job that waits is seen by a turn that is to come.
//!
//! The UI lane never serves `BestEffort`; the background takes what is urgent when more of that waits than UI workers have no run. Such a worker is awake, or was woken for one of them, so nothing is left to
//! nobody.
//!
//! Who is asked: runs of class `BestEffort`, as many as there are more urgent jobs waiting than seats without a run and runs that were asked before.
//!
//! Preempted [`PATIENCE`] times in a row without a step that went on ([`Step::Again`](super::Step::Again)), a job is not asked in its next run until one did.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::context::Run;
use super::errand::{Errand, Settle};
use super::executor::JobStats;
use super::job::JobLane;
use crate::pool::DelayedTaskHandle;
use crate::sync::Mutex;
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::traits::Priority;

/// Preemptions without progress that a job puts up with.
pub(super) const PATIENCE: u32 = 5;

/// What is known of a job wherever it is.
pub(super) struct Claim {
    pub(super) id: u64,
    pub(super) priority: Priority,
    /// Below the caller's.
    pub(super) wanted: CancelToken,
    pub(super) settle: Arc<dyn Settle>,
    /// Dropped, nobody hears of a cancel any more.
    pub(super) bound: Mutex<Option<Cancelled>>,
}

/// A job that does not run.
pub(super) struct Entry<R> {
    pub(super) errand: Box<dyn Errand<R>>,
    pub(super) claim: Arc<Claim>,
    place: u64,
    has_run: bool,
    /// Preemptions in a row without progress.
    fruitless: u32,
}

impl<R> Entry<R> {
    pub(super) fn new(errand: Box<dyn Errand<R>>, claim: Claim) -> Self {
        Self { errand, claim: Arc::new(claim), place: 0, has_run: false, fruitless: 0 }
    }
}

struct Running {
    claim: Arc<Claim>,
    run: Arc<Run>,
    is_protected: bool,
}

struct Seat {
    lane: JobLane,
    is_awake: bool,
    running: Option<Running>,
}

/// A job whose start is delayed.
struct Delayed<R> {
    entry: Entry<R>,
    timer: Option<DelayedTaskHandle>,
}

/// Why a job was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    ShutDown,
}

/// What the end of a board leaves to be done.
pub(super) struct Leftovers<R> {
    pub(super) entries: Vec<Entry<R>>,
    pub(super) timers: Vec<DelayedTaskHandle>,
    pub(super) runs: Vec<Arc<Run>>,
}

pub(super) struct Board<R> {
    is_closed: bool,
    queues: [BTreeMap<u64, Entry<R>>; 3],
    delayed: HashMap<u64, Delayed<R>>,
    /// Delayed and queued ones, but for those that yielded.
    waiting: [usize; 3],
    capacity: [usize; 3],
    seats: Vec<Seat>,
    next_place: u64,
    /// `runs`, `yields`, `preemptions` and `saves`; the rest is counted when somebody asks.
    counts: JobStats,
}

impl<R> Board<R> {
    pub(super) fn new(lanes: &[JobLane], capacity: [usize; 3]) -> Self {
        let seats = lanes.iter().map(|&lane| Seat { lane, is_awake: false, running: None });
        Self {
            is_closed: false,
            queues: Default::default(),
            delayed: HashMap::new(),
            waiting: [0; 3],
            capacity,
            seats: seats.collect(),
            next_place: 1,
            counts: JobStats::default(),
        }
    }

    fn room(&mut self, class: Priority) -> Result<(), Refusal> {
        let class = class.index();
        if self.is_closed {
            return Err(Refusal::ShutDown);
        }
        if self.waiting[class] >= self.capacity[class] {
            return Err(Refusal::Full);
        }
        self.waiting[class] += 1;
        Ok(())
    }

    /// Queues a job, if there is room; the answer is the seat to be woken.
    pub(super) fn add(&mut self, entry: Entry<R>) -> Result<Option<usize>, (Refusal, Entry<R>)> {
        match self.room(entry.claim.priority) {
            Ok(()) => Ok(self.queue(entry)),
            Err(why) => Err((why, entry)),
        }
    }

    /// Keeps a job until its delay is over, if there is room.
    pub(super) fn add_delayed(&mut self, entry: Entry<R>) -> Result<(), (Refusal, Entry<R>)> {
        match self.room(entry.claim.priority) {
            Ok(()) => {
                self.delayed.insert(entry.claim.id, Delayed { entry, timer: None });
                Ok(())
            }
            Err(why) => Err((why, entry)),
        }
    }

    /// The timer of a delayed job; it comes back if the job is not there any more.
    pub(super) fn note_timer(&mut self, id: u64, timer: DelayedTaskHandle) -> Option<DelayedTaskHandle> {
        match self.delayed.get_mut(&id) {
            Some(delayed) => delayed.timer.replace(timer),
            None => Some(timer),
        }
    }

    /// The delay of a job is over; the answer is the seat to be woken.
    pub(super) fn ripen(&mut self, id: u64) -> Option<usize> {
        let delayed = self.delayed.remove(&id)?;
        self.queue(delayed.entry)
    }

    fn queue(&mut self, mut entry: Entry<R>) -> Option<usize> {
        let class = entry.claim.priority;
        entry.place = self.next_place;
        self.next_place += 1;
        self.queues[class.index()].insert(entry.place, entry);
        // Those of the UI lane come first.
        let asleep = (0..self.seats.len()).find(|&number| !self.seats[number].is_awake && self.serves(number, class));
        if let Some(number) = asleep {
            self.seats[number].is_awake = true;
        }
        self.press();
        asleep
    }

    fn urgent(&self) -> usize {
        self.queues[Priority::UserBlocking.index()].len() + self.queues[Priority::UserVisible.index()].len()
    }

    /// True when a worker would take a job of that class now: one of the background takes what is urgent while the UI lane has no worker for it.
    fn serves(&self, number: usize, class: Priority) -> bool {
        match (self.seats[number].lane, class) {
            (JobLane::Single, _) | (JobLane::Background, Priority::BestEffort) => true,
            (JobLane::Ui, class) => class != Priority::BestEffort,
            (JobLane::Background, _) => {
                let is_free = |seat: &&Seat| seat.lane == JobLane::Ui && seat.running.is_none();
                self.urgent() > self.seats.iter().filter(is_free).count()
            }
        }
    }

    /// Asks runs to yield, as the page above says.
    fn press(&mut self) {
        let is_spare = |seat: &&Seat| seat.running.as_ref().is_none_or(|running| running.run.is_asked());
        let missing = self.urgent().saturating_sub(self.seats.iter().filter(is_spare).count());
        let running = self.seats.iter().filter_map(|seat| seat.running.as_ref());
        let may_be_asked = running.filter(|running| {
            running.claim.priority == Priority::BestEffort && !running.is_protected && !running.run.is_asked()
        });
        may_be_asked.take(missing).for_each(|running| running.run.ask());
    }

    /// The next job for a seat; without one the seat is not awake any more.
    pub(super) fn take(&mut self, number: usize) -> Option<(Entry<R>, Arc<Run>)> {
        let served = Priority::DESCENDING.map(|class| self.serves(number, class).then_some(class));
        let entry = served.into_iter().flatten().find_map(|class| self.queues[class.index()].pop_first());
        let seat = &mut self.seats[number];
        let Some((_, mut entry)) = entry else {
            seat.is_awake = false;
            return None;
        };
        let run = Run::new(&entry.claim.wanted);
        self.counts.runs += 1;
        let is_protected = entry.fruitless >= PATIENCE;
        seat.running = Some(Running { claim: Arc::clone(&entry.claim), run: Arc::clone(&run), is_protected });
        if !std::mem::replace(&mut entry.has_run, true) {
            self.waiting[entry.claim.priority.index()] -= 1;
        }
        Some((entry, run))
    }

    /// The first step of a run went on.
    pub(super) fn progressed(&mut self, number: usize, entry: &mut Entry<R>) {
        entry.fruitless = 0;
        if let Some(running) = &mut self.seats[number].running {
            running.is_protected = false;
        }
        self.press();
    }

    /// The run of a seat is over.
    pub(super) fn ended(&mut self, number: usize) {
        self.seats[number].running = None;
    }

    /// A job yielded, and has its place again; it comes back when the board is closed.
    pub(super) fn put_back(&mut self, number: usize, mut entry: Entry<R>, went_on: bool) -> Option<Entry<R>> {
        let was_asked = self.seats[number].running.take().is_some_and(|running| running.run.is_asked());
        self.counts.yields += 1;
        self.counts.preemptions += u64::from(was_asked);
        if self.is_closed {
            return Some(entry);
        }
        entry.fruitless = if was_asked && !went_on { entry.fruitless + 1 } else { 0 };
        self.queues[entry.claim.priority.index()].insert(entry.place, entry);
        None
    }

    pub(super) fn saved(&mut self) {
        self.counts.saves += 1;
    }

    pub(super) fn stats(&self) -> JobStats {
        let class = |index: usize| Priority::DESCENDING[index].index();
        let running = |index: usize| {
            let running = self.seats.iter().filter_map(|seat| seat.running.as_ref());
            running.filter(|running| running.claim.priority == Priority::DESCENDING[index]).count()
        };
        JobStats {
            queued: std::array::from_fn(|index| self.queues[class(index)].len()),
            delayed: self.delayed.len(),
            running: std::array::from_fn(running),
            ..self.counts
        }
    }

    /// Takes a job out that does not run.
    pub(super) fn remove(&mut self, claim: &Claim) -> (Option<Entry<R>>, Option<DelayedTaskHandle>) {
        let class = claim.priority.index();
        if let Some(Delayed { entry, timer }) = self.delayed.remove(&claim.id) {
            self.waiting[class] -= 1;
            return (Some(entry), timer);
        }
        let place = self.queues[class].iter().find(|(_, entry)| entry.claim.id == claim.id).map(|(&place, _)| place);
        let entry = place.and_then(|place| self.queues[class].remove(&place));
        if entry.as_ref().is_some_and(|entry| !entry.has_run) {
            self.waiting[class] -= 1;
        }
        (entry, None)
    }

    /// Takes no more jobs, and lets go of those that do not run; the first time.
    pub(super) fn close(&mut self) -> Option<Leftovers<R>> {
        if std::mem::replace(&mut self.is_closed, true) {
            return None;
        }
        self.waiting = [0; 3];
        let queued = self.queues.iter_mut().flat_map(std::mem::take).map(|(_, entry)| entry);
        let mut entries: Vec<_> = queued.collect();
        let mut timers = Vec::new();
        for Delayed { entry, timer } in std::mem::take(&mut self.delayed).into_values() {
            entries.push(entry);
            timers.extend(timer);
        }
        let runs = self.seats.iter().filter_map(|seat| Some(Arc::clone(&seat.running.as_ref()?.run)));
        Some(Leftovers { entries, timers, runs: runs.collect() })
    }
}
