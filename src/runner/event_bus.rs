//! Parts of a program that hear of each other without knowing each other: typed events, delivered on a sequence.
//!
//! A publish is one task of the sequence: it goes through those who have subscribed to the type by then, in the order of subscription, and lends the event to each. So
//! every subscriber sees the events of each publisher in their order, a handler that publishes or unsubscribes disturbs nothing, and waiting for
//! the sequence is waiting for the deliveries.
//!
//! A handler lies in a slot that its delivery takes it out of, so that it runs outside of every lock.
#![forbid(unsafe_code)]

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::sequenced::SequencedTaskRunner;
use crate::error::{Rejected, WaitError};
use crate::pool::task_builder::{Spec, Target};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::panic::{Payload, catch, drop_payload};

type Handler = Box<dyn FnMut(&dyn Any) + Send>;

struct Subscriber {
    handler: Mutex<Option<Handler>>,
    has_left: AtomicBool,
}

type Subscribers = Mutex<HashMap<TypeId, Vec<Arc<Subscriber>>>>;

/// Publish and subscribe, by the type of the event.
///
/// It is a handle: clones are the same bus.
///
/// # Guarantees
///
/// - A handler runs on the bus's sequence, one at a time, in the order of the publishes.
/// - A panic in a handler is reported, and keeps the event from no other.
/// - Handlers may publish, subscribe and unsubscribe; what they publish is delivered later.
/// - After a [`Subscription`] is dropped no delivery to it begins; one that runs is finished.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use overstrand::{EventBus, TaskTraits, ThreadPool};
///
/// struct OrderPlaced(u32);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let bus = EventBus::new(&pool.create_sequenced_task_runner(TaskTraits::default()));
/// let mail = bus.subscribe(|order: &OrderPlaced| println!("mail for order {}", order.0));
/// bus.publish(OrderPlaced(7))?;
/// bus.wait_idle(Duration::from_secs(10))?;
/// drop(mail);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventBus {
    runner: SequencedTaskRunner,
    subscribers: Arc<Subscribers>,
}

impl EventBus {
    /// A bus whose handlers run on that sequence: a strand, or a runner with a thread of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let main = overstrand::MainThreadTaskRunner::new();
    /// let bus = overstrand::EventBus::new(&main.runner());
    /// let title = bus.subscribe(|title: &&str| println!("on the main thread: {title}"));
    /// bus.publish("untitled")?;
    /// main.run_until_idle();
    /// # drop(title);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(runner: &impl AsRef<SequencedTaskRunner>) -> Self {
        Self { runner: runner.as_ref().clone(), subscribers: Arc::default() }
    }

    /// Calls `handler` for each event of this type that is delivered while the subscription lives.
    pub fn subscribe<E: 'static>(&self, mut handler: impl FnMut(&E) + Send + 'static) -> Subscription {
        let handler: Handler = Box::new(move |event| {
            if let Some(event) = event.downcast_ref() {
                handler(event);
            }
        });
        let subscriber = Arc::new(Subscriber { handler: Mutex::new(Some(handler)), has_left: AtomicBool::new(false) });
        self.subscribers.lock().entry(TypeId::of::<E>()).or_default().push(Arc::clone(&subscriber));
        Subscription::new(Box::new(OfBus {
            subscriber,
            subscribers: Arc::downgrade(&self.subscribers),
            event: TypeId::of::<E>(),
        }))
    }

    /// Delivers an event to all who have subscribed to its type by the time of the delivery.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the event back, as [`SequencedTaskRunner::post_task`] does.
    #[track_caller]
    pub fn publish<E: Send + 'static>(&self, event: E) -> Result<(), Rejected<E>> {
        let subscribers = Arc::clone(&self.subscribers);
        let spec = Spec::here(self.runner.default_traits());
        self.runner.post_with(spec, event, move |event| move || deliver(&subscribers, &event))
    }

    /// Waits until everything published before has been delivered.
    ///
    /// # Errors
    ///
    /// As [`SequencedTaskRunner::flush`].
    pub fn flush(&self) -> Result<(), WaitError> {
        self.runner.flush()
    }

    /// As [`flush`](Self::flush), as a future for any executor.
    ///
    /// # Errors
    ///
    /// As [`SequencedTaskRunner::flush_async`].
    #[must_use = "futures do nothing unless polled"]
    pub fn flush_async(&self) -> impl Future<Output = Result<(), WaitError>> + Send + 'static + use<> {
        self.runner.flush_async()
    }

    /// As [`flush`](Self::flush), for at most `limit` of monotonic time.
    ///
    /// # Errors
    ///
    /// As [`SequencedTaskRunner::wait_idle`].
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        self.runner.wait_idle(limit)
    }
}

fn deliver<E: 'static>(subscribers: &Subscribers, event: &E) {
    let now = subscribers.lock().get(&TypeId::of::<E>()).cloned().unwrap_or_default();
    let panicked = now.iter().filter_map(|subscriber| subscriber.hear(event)).reduce(|first, other| {
        drop_payload(other);
        first
    });
    if let Some(payload) = panicked {
        // To the boundary of the task, which reports it. All have been told by now.
        std::panic::resume_unwind(payload);
    }
}

impl Subscriber {
    fn has_left(&self) -> bool {
        // ORDER bus.left: Acquire; what came before the end of the subscription is visible; pairs with bus.leave.
        self.has_left.load(Ordering::Acquire)
    }

    /// Lends the event to the handler; the payload of its panic, after which it goes on.
    fn hear(&self, event: &dyn Any) -> Option<Payload> {
        let mut handler = self.handler.lock().take().filter(|_| !self.has_left())?;
        let result = catch(|| handler(event));
        if self.has_left() {
            drop(handler);
        } else {
            *self.handler.lock() = Some(handler);
        }
        result.err()
    }
}

/// What a subscription has to end.
pub(crate) trait Leave: Send + Sync {
    fn leave(self: Box<Self>);
}

/// Ends when dropped; [`detach`](Self::detach) keeps it for as long as what was subscribed to lives.
#[must_use = "the subscription ends when this is dropped"]
pub struct Subscription(Option<Box<dyn Leave>>);

impl Subscription {
    pub(crate) fn new(leave: Box<dyn Leave>) -> Self {
        Self(Some(leave))
    }

    /// Keeps the subscription for as long as what was subscribed to lives: the bus, the supervisor.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave.leave();
        }
    }
}

/// A subscription to a bus.
struct OfBus {
    subscriber: Arc<Subscriber>,
    subscribers: Weak<Subscribers>,
    event: TypeId,
}

impl Leave for OfBus {
    fn leave(self: Box<Self>) {
        // ORDER bus.leave: Release; pairs with bus.left.
        self.subscriber.has_left.store(true, Ordering::Release);
        if let Some(subscribers) = self.subscribers.upgrade() {
            if let Some(others) = subscribers.lock().get_mut(&self.event) {
                others.retain(|other| !Arc::ptr_eq(other, &self.subscriber));
            }
        }
        // One that is being called is dropped after its call.
        let handler = self.subscriber.handler.lock().take();
        drop(handler);
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").field("runner", &self.runner).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}
