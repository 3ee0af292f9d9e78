//! Who hears of events, and how they get there (SUP-12).
//!
//! Each subscriber has an inbox of its own, filled under the lock of the house, so that the order is that of what happened, and a strand of its own that empties it.
//! A full inbox loses its oldest event, and counts it. Nobody waits for a subscriber.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::event::{Event, EventKind, Subscribe};
use super::keeper::Keeper;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::SequencedTaskRunner;
use crate::runner::event_bus::Leave;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::panic::{catch, drop_payload, drop_quietly, message_of};

/// How many events one task delivers at most.
const BATCH: usize = 64;

pub(super) struct Subscriber {
    inbox: Mutex<Inbox>,
    handler: Mutex<Option<Box<dyn Subscribe>>>,
    has_left: AtomicBool,
    capacity: usize,
    strand: SequencedTaskRunner,
    keeper: Weak<Keeper>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // One after the other: each may panic when it is dropped, and none while another does.
        let events = std::mem::take(&mut self.inbox.lock().events);
        for event in events {
            drop_quietly(event);
        }
    }
}

#[derive(Default)]
struct Inbox {
    events: VecDeque<Event>,
    lost: u64,
    /// A task that empties it is on its way.
    is_served: bool,
}

impl Subscriber {
    pub(super) fn new(
        handler: Box<dyn Subscribe>,
        capacity: usize,
        strand: SequencedTaskRunner,
        keeper: Weak<Keeper>,
    ) -> Self {
        Self {
            inbox: Mutex::default(),
            handler: Mutex::new(Some(handler)),
            has_left: AtomicBool::new(false),
            capacity,
            strand,
            keeper,
        }
    }

    /// Takes an event in, under the lock of the house; gives one back that it has no room for, and says whether somebody must serve it.
    pub(super) fn take_in(&self, event: Event) -> (Option<Event>, bool) {
        let mut inbox = self.inbox.lock();
        let lost = if inbox.events.len() >= self.capacity { inbox.events.pop_front() } else { None };
        inbox.lost += u64::from(lost.is_some());
        inbox.events.push_back(event);
        let must_serve = !std::mem::replace(&mut inbox.is_served, true);
        (lost, must_serve)
    }

    /// Has the strand empty the inbox.
    pub(super) fn serve(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let spec = Spec::here(self.strand.default_traits());
        // Refused, the pool is gone, and nobody hears anything any more.
        let refused = self.strand.post(spec, move || this.deliver()).err();
        drop(refused);
    }

    /// The next event; the count of those lost before it comes first.
    fn next(&self) -> Option<Event> {
        let mut inbox = self.inbox.lock();
        let Some(first) = inbox.events.front() else {
            inbox.is_served = false;
            return None;
        };
        if inbox.lost == 0 {
            return inbox.events.pop_front();
        }
        let mut told = first.clone();
        told.seq = first.seq.saturating_sub(1);
        told.kind = EventKind::SubscriberOverflow { lost: std::mem::take(&mut inbox.lost) };
        Some(told)
    }

    fn deliver(self: &Arc<Self>) {
        for _ in 0..BATCH {
            let Some(event) = self.next() else { return };
            self.hear(&event);
            drop_quietly(event);
        }
        self.serve();
    }

    fn hear(&self, event: &Event) {
        let Some(mut handler) = self.handler.lock().take().filter(|_| !self.has_left()) else { return };
        let result = catch(|| handler.on_event(event));
        if self.has_left() {
            drop_quietly(handler);
        } else {
            *self.handler.lock() = Some(handler);
        }
        let Err(payload) = result else { return };
        let message = message_of(&*payload).unwrap_or("<non-string payload>").to_owned();
        drop_payload(payload);
        // Not the event itself: an error in it may be what panicked, when it was written.
        let (seq, task) = (event.seq, &*event.task);
        catch(|| tracing::error!(seq, task, message, "a subscriber panicked")).unwrap_or_else(drop_payload);
        // WHY: a subscriber that panics at that too would be told without end.
        if !matches!(event.kind, EventKind::SubscriberPanicked { .. }) {
            if let Some(keeper) = self.keeper.upgrade() {
                keeper.act(|house, fx| house.tell(fx, || EventKind::SubscriberPanicked { message }));
            }
        }
    }

    fn has_left(&self) -> bool {
        // ORDER subscriber.left: Acquire; what came before the end of the subscription is visible; pairs with subscriber.leave.
        self.has_left.load(Ordering::Acquire)
    }
}

/// Ends a subscription.
pub(super) struct OfSupervisor(pub(super) Arc<Subscriber>);

impl Leave for OfSupervisor {
    fn leave(self: Box<Self>) {
        // ORDER subscriber.leave: Release; pairs with subscriber.left.
        self.0.has_left.store(true, Ordering::Release);
        if let Some(keeper) = self.0.keeper.upgrade() {
            keeper.act(|house, _| house.subscribers.retain(|other| !Arc::ptr_eq(other, &self.0)));
        }
        // One that is being called is dropped after its call.
        let handler = self.0.handler.lock().take();
        drop_quietly(handler);
    }
}
