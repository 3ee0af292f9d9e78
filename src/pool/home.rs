//! Threads that belong to runners: a worker that runs what is sent to its own inbox, and nothing else.
//!
//! A *home* is a worker of the pool in every other respect: it has a slot, is counted, watched, waited for at shutdown and driven by tests like the rest. It
//! never looks at the pool's queues, so nobody has to wake it for them, and nobody stands in for it while it waits.
//!
//! Who sends puts a ticket into the inbox and leaves a permit; the home takes tickets until there is none that may start, and waits for a permit. Since permits are kept, a ticket that
//! comes between the look and the wait ends the wait at once; so does the permit that the end of a fence leaves. The inbox has one queue per class, asked in the order of `select`, so the
//! classes mean the same on a thread as in the pool. After the pool has ended whoever sends empties the inbox, as the page of `shutdown` says of
//! posters, steps (A, B, C).
//!
//! The thread ends with the pool, or when the last share of its [`Home`] is gone: nothing can be sent then.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::core::{Core, Here};
use super::idle::Idle;
use super::observe::{self, Hook};
use super::staff;
use crate::park::Parker;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{local, unmodelled};
use crate::task::raw::Ticket;
use crate::task::traits::{Priority, TaskTraits};

/// Tells threads apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadNumber(u64);

/// The next thread's number; 0 means "none yet".
static THREADS: unmodelled::AtomicU64 = unmodelled::AtomicU64::new(1);

local! {
    static MINE: Cell<u64> = Cell::new(0);
}

impl ThreadNumber {
    fn mine() -> Self {
        let number = MINE.try_with(|mine| {
            if mine.get() == 0 {
                // Relaxed: a number of its own, nothing more.
                mine.set(THREADS.fetch_add(1, unmodelled::Ordering::Relaxed));
            }
            mine.get()
        });
        Self(number.unwrap_or(0))
    }

    /// One that no thread has.
    #[cfg(feature = "testing")]
    pub(crate) fn new() -> Self {
        // Relaxed: as above.
        Self(THREADS.fetch_add(1, unmodelled::Ordering::Relaxed))
    }

    /// This thread is that one until the answer is dropped: a test has several threads on one.
    #[cfg(feature = "testing")]
    pub(crate) fn played(self) -> Played {
        Played(MINE.with(|mine| mine.replace(self.0)))
    }
}

/// The thread is itself again when this is dropped.
#[cfg(feature = "testing")]
#[must_use = "the thread is itself again when this is dropped"]
pub(crate) struct Played(u64);

#[cfg(feature = "testing")]
impl Drop for Played {
    fn drop(&mut self) {
        MINE.with(|mine| mine.set(self.0));
    }
}

/// The tickets of one class. Both ends live here, so the channel is never closed.
#[derive(Debug)]
struct Queue {
    send: Sender<Ticket>,
    take: Receiver<Ticket>,
}

impl Queue {
    fn new() -> Self {
        let (send, take) = unbounded();
        Self { send, take }
    }
}

/// Of an inbox: who pumps it, if it is not a thread of the pool's own. See the page of `pump`.
struct Owner {
    thread: ThreadNumber,
    on_work: Hook<()>,
    pumps: AtomicBool,
}

impl Owner {
    /// (C) after a fence.
    fn tell(&self) {
        // Relaxed: ordered by the fence.
        if !self.pumps.load(Ordering::Relaxed) {
            observe::call(&self.on_work, &());
        }
    }
}

/// What is to run on one thread.
pub(crate) struct Inbox {
    /// By class.
    queues: [Queue; 3],
    parker: Arc<Parker>,
    is_left: AtomicBool,
    /// The turn is to end after its task.
    hurried: AtomicBool,
    owner: Option<Owner>,
}

impl Inbox {
    pub(crate) fn new(parker: Arc<Parker>) -> Arc<Self> {
        Self::owned_by(parker, None)
    }

    /// One that this thread pumps, when it likes.
    pub(crate) fn pumped_here(parker: Arc<Parker>, on_work: Hook<()>) -> Arc<Self> {
        Self::owned_by(parker, Some(Owner { thread: ThreadNumber::mine(), on_work, pumps: AtomicBool::new(false) }))
    }

    fn owned_by(parker: Arc<Parker>, owner: Option<Owner>) -> Arc<Self> {
        let queues = std::array::from_fn(|_| Queue::new());
        Arc::new(Self { queues, parker, is_left: AtomicBool::new(false), hurried: AtomicBool::new(false), owner })
    }

    /// True on the thread that pumps it: nothing runs while that waits.
    pub(crate) fn is_pumped_here(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.thread == ThreadNumber::mine())
    }

    /// This thread is the owner's until the answer is dropped.
    #[cfg(feature = "testing")]
    pub(crate) fn play_owner(&self) -> Option<Played> {
        self.owner.as_ref().map(|owner| owner.thread.played())
    }

    /// The owner pumps from now on.
    pub(crate) fn begin_pump(&self) {
        if let Some(owner) = &self.owner {
            // Relaxed: who sees it too late tells once too often.
            owner.pumps.store(true, Ordering::Relaxed);
        }
    }

    /// (D, E, F) the owner pumps no more.
    pub(crate) fn end_pump(&self, core: &Core) {
        if let Some(owner) = &self.owner {
            // Relaxed: ordered by the fence.
            owner.pumps.store(false, Ordering::Relaxed);
            Idle::order_looks();
            if self.has_work(core) {
                owner.tell();
            }
        }
    }

    /// Puts a ticket in, without waking anybody.
    pub(crate) fn put(&self, ticket: Ticket, class: Priority) {
        drop(self.queues[class.index()].send.send(ticket));
    }

    /// The oldest ticket of the first of these classes that has one.
    pub(crate) fn take(&self, classes: impl IntoIterator<Item = Priority>) -> Option<(Ticket, Priority)> {
        let of_class = |class: Priority| self.queues[class.index()].take.try_recv().ok().map(|ticket| (ticket, class));
        classes.into_iter().find_map(of_class)
    }

    fn is_waiting(&self, class: Priority) -> bool {
        !self.queues[class.index()].take.is_empty()
    }

    /// True when there is a ticket that may start.
    pub(crate) fn has_work(&self, core: &Core) -> bool {
        Priority::DESCENDING.into_iter().any(|class| self.is_waiting(class) && !core.is_fenced(class))
    }

    /// How many tickets there are. May be stale.
    pub(crate) fn len_racy(&self) -> usize {
        self.queues.iter().map(|queue| queue.take.len()).sum()
    }

    /// Ends the turn that runs, if one does, after its task.
    pub(crate) fn hurry(&self) {
        // Relaxed: looked at between tasks; what the caller tells the pump is ordered by its own flag.
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// True once for each call of [`hurry`](Self::hurry), or several.
    pub(crate) fn is_hurried(&self) -> bool {
        // Relaxed: as above.
        self.hurried.load(Ordering::Relaxed) && self.hurried.swap(false, Ordering::Relaxed)
    }

    fn is_pressed(&self, class: Priority) -> bool {
        Priority::DESCENDING.into_iter().take_while(|above| *above > class).any(|above| self.is_waiting(above))
    }

    /// True when nothing will ever come again.
    pub(crate) fn is_left(&self) -> bool {
        // ORDER home.left: Acquire; what was sent before is in the inbox; pairs with home.leave.
        self.is_left.load(Ordering::Acquire)
    }
}

/// The right to send to a thread; the thread ends with the last share of it.
pub(crate) struct Home {
    pub(crate) core: Arc<Core>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Home {
    /// Starts a thread of that pool.
    pub(crate) fn start(core: &Arc<Core>, name: &str) -> io::Result<Arc<Self>> {
        let inbox = staff::spawn_home(core, name)?;
        Ok(Arc::new(Self { core: Arc::clone(core), inbox }))
    }

    /// The home whose thread is driven by its owner.
    pub(crate) fn of(core: &Arc<Core>, inbox: Arc<Inbox>) -> Arc<Self> {
        Arc::new(Self { core: Arc::clone(core), inbox })
    }

    /// How long it is until the next delay of its pool ends.
    pub(crate) fn next_delay(&self) -> Option<Duration> {
        self.core.timers.next_due().map(|due| self.core.clock.now().until(due))
    }

    /// True when its thread would find something to run, or a delay that is over and that it must end itself.
    #[cfg(feature = "testing")]
    pub(crate) fn has_work(&self) -> bool {
        self.inbox.has_work(&self.core) || self.next_delay() == Some(Duration::ZERO)
    }

    /// Sends a ticket, and wakes the thread.
    pub(crate) fn send(&self, ticket: Ticket, class: Priority) {
        self.core.note_foreign();
        self.inbox.put(ticket, class);
        self.inbox.parker.unpark();
        Idle::order_looks();
        if self.core.tracker.is_complete() {
            return self.core.sweep_inbox(&self.inbox);
        }
        if let Some(owner) = &self.inbox.owner {
            owner.tell();
        }
    }
}

impl Here {
    /// True when work above `class` waits for this thread alone, if it is a home, or for the pool, of which no worker is free (PRI-6, SEQ-5).
    #[inline]
    pub(crate) fn is_pressed(&self, class: Priority) -> bool {
        match &self.home {
            Some(home) => home.is_pressed(class),
            None => self.core.is_pressed(class),
        }
    }
}

impl Core {
    /// The thread that runners with these traits share; started for the first of them.
    pub(crate) fn shared_home(self: &Arc<Self>, traits: TaskTraits) -> io::Result<Arc<Home>> {
        let of_traits = |homes: &[(TaskTraits, Weak<Home>)]| {
            homes.iter().find(|(shared, _)| *shared == traits).and_then(|(_, home)| home.upgrade())
        };
        if let Some(home) = of_traits(&self.shared_homes.lock()) {
            return Ok(home);
        }
        // WHY not under the lock: a thread is started. Of two that come here at once the second thread ends again.
        let started = Home::start(self, "shared")?;
        let mut homes = self.shared_homes.lock();
        if let Some(home) = of_traits(&homes) {
            return Ok(home);
        }
        homes.retain(|(_, home)| home.strong_count() > 0);
        homes.push((traits, Arc::downgrade(&started)));
        Ok(started)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // ORDER home.leave: Release; pairs with home.left.
        self.inbox.is_left.store(true, Ordering::Release);
        self.inbox.parker.unpark();
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("tickets", &self.len_racy()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").finish_non_exhaustive()
    }
}
