//! The erasure: any closure behind one word, and anything else that a pool can run behind the same word.
//!
//! This is the one file of this room with unsafe code.
//!
//! # Words
//!
//! A [`Node`] is one block of 64 bytes: what it is (8), the link of the FIFO it waits in (8), its post site (8), its traits (8), and 32 bytes
//! for the closure. A larger closure lies in a box of its own, and so does one with a stricter alignment than 8. A [`Task`] owns a node
//! whose closure has not been called. A [`Ticket`] owns whatever the pool is asked to run: a task, or a share of an object such as a sequence.
//!
//! # Rules
//!
//! 1. A node holds a live body of the type that its table was made for, from [`Task::new`] until [`Task::run`], [`Task::discard`] or drop.
//! 2. Those read the body out, give the node back, and only then run user code: whatever that code does, the node is gone and the body
//!    is owned by the stack.
//! 3. A ticket's word points to a `Header`, the first field of either a `Node` (rule 1) or an `Erased<R>` inside an `Arc`.
//! 4. The table says which; a ticket of an object owns one strong count of its `Arc`.
//!
//! Witnessed by `tests::*`, which Miri runs too.

use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::current::Name;
use super::panic::{Payload, catch, drop_quietly};
use super::recent::Recent;
use super::site::Site;
use super::traits::{Meta, Priority};
use crate::queue::fifo::{Fifo, Linked, Pop};
use crate::queue::slab::{self, BLOCK_BYTES, Block};
use crate::queue::steal::Word;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Bytes of a closure that need no allocation of their own.
pub(crate) const INLINE_BYTES: usize = 32;

type Space = MaybeUninit<[u64; INLINE_BYTES / 8]>;

/// A result that is there, but that nobody has been told of.
pub(crate) trait Deliver: Send + Sync {
    /// The text of the panic, if the result is one.
    fn panic_text(&self) -> Option<Option<Box<str>>>;
    /// Tells who waits. True when nobody will ask, and dropping the result panicked.
    fn deliver(&self) -> bool;
}

/// Counters of the runner that a task belongs to; written by the thread that has the runner's turn, or by several if they are shared.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    is_shared: bool,
    pub(crate) started: AtomicU64,
    pub(crate) ran: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Tally {
    /// Counters of a runner whose tasks run at the same time.
    pub(crate) fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// Counts one in a counter of this tally; unless it is shared, only the thread that has the turn may call this.
    #[inline]
    pub(crate) fn count(&self, counter: &AtomicU64) {
        if self.is_shared {
            // ORDER tally.shared: AcqRel; as tally.count; pairs with tally.read, tally.shared.
            counter.fetch_add(1, Ordering::AcqRel);
            return;
        }
        // Relaxed: there is one writer at a time, and turns are ordered.
        let value = counter.load(Ordering::Relaxed) + 1;
        // ORDER tally.count: Release; earlier counts are seen by who sees this one; pairs with tally.read.
        counter.store(value, Ordering::Release);
    }

    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        // ORDER tally.read: Acquire; see above; pairs with tally.count, tally.shared.
        counter.load(Ordering::Acquire)
    }
}

/// How a body ended.
pub(crate) enum Verdict {
    Ran,
    /// The body panicked; nobody else has the payload.
    Panicked(Payload),
    /// The result, or the panic, is with a handle, which is to be told once the task is counted.
    Deliver(Arc<dyn Deliver>),
    /// There was nothing to run: it had been cancelled.
    Void,
}

/// Why a task is dropped without having run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discard {
    ShutDown,
    Closed,
    Overflow,
}

/// What a task does; user code, so it may do anything.
pub(crate) trait Body: Send + 'static {
    fn run(self) -> Verdict;
    fn discard(self, why: Discard);
}

/// A closure that nobody waits for.
pub(crate) struct Plain<F>(pub(crate) F);

impl<F: FnOnce() + Send + 'static> Body for Plain<F> {
    #[inline]
    fn run(self) -> Verdict {
        let body = || {
            #[cfg(feature = "testing")]
            super::fault::trip();
            (self.0)();
        };
        match catch(body) {
            Ok(()) => Verdict::Ran,
            Err(payload) => Verdict::Panicked(payload),
        }
    }

    fn discard(self, _why: Discard) {
        drop(self);
    }
}

/// What few tasks have, in a box of its own.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) name: Option<Name>,
    /// The span that the poster was in.
    pub(crate) cause: Option<tracing::span::Id>,
    pub(crate) posted_at: Option<Instant>,
}

/// A body with an extension in front, where [`Task::extension`] finds it.
#[repr(C)]
struct Extended<B> {
    extension: Box<Extension>,
    body: B,
}

impl<B: Body> Body for Extended<B> {
    fn run(self) -> Verdict {
        drop(self.extension);
        self.body.run()
    }

    fn discard(self, why: Discard) {
        drop(self.extension);
        self.body.discard(why);
    }
}

/// What a runnable object asks of whoever runs it.
pub(crate) trait Turn {
    /// The class of the ticket that this turn was given for.
    fn class(&self) -> Priority;
    /// Names the runner whose tasks follow.
    fn enter(&mut self, runner: &Runner);
    /// Writes the runner's tasks down in this ring, too, until the turn is over.
    fn write_down_in(&mut self, _ring: &Arc<Recent>) {}
    /// Runs one task, all of it: context, panic boundary, counting.
    fn run(&mut self, task: Task, tally: &Tally);
    /// Drops one task unrun, counts it.
    fn discard(&mut self, task: Task, why: Discard, tally: &Tally);
    /// True when the turn should end before its next task (SEQ-5).
    fn is_over(&mut self) -> bool;
    /// Queues the ticket for the next turn.
    fn requeue(&mut self, ticket: Ticket, class: Priority);
}

/// How a runner is told from others in reports.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) id: u64,
    pub(crate) name: Option<Name>,
}

/// Something other than a task that a pool can run: it is given a turn, and asks for the next one itself.
pub(crate) trait Runnable: Send + Sync + Sized + 'static {
    fn run(this: Arc<Erased<Self>>, turn: &mut dyn Turn);
}

#[derive(Clone, Copy)]
enum Table {
    Task { run: unsafe fn(NonNull<Node>) -> Verdict, discard: unsafe fn(NonNull<Node>, Discard) },
    Object { run: unsafe fn(NonNull<Header>, &mut dyn Turn), forget: unsafe fn(NonNull<Header>) },
}

/// The first field of everything that a ticket can point to.
#[repr(transparent)]
pub(crate) struct Header(&'static Table);

/// One task's block.
#[repr(C, align(64))]
pub(crate) struct Node {
    header: Header,
    link: AtomicPtr<Node>,
    site: &'static Site,
    meta: Meta,
    space: Space,
}

#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
const _: () = assert!(size_of::<Node>() == BLOCK_BYTES);

// SAFETY: the link is a field of the node, used by nothing but the queue.
unsafe impl Linked for Node {
    unsafe fn link(node: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
        // SAFETY: the node is live (contract), so the field is in bounds.
        let link = unsafe { &raw mut (*node.as_ptr()).link };
        // SAFETY: the address of a field of a live node is not null.
        unsafe { NonNull::new_unchecked(link) }
    }
}

/// A task that has not run; dropping it drops the closure.
#[derive(Debug)]
pub(crate) struct Task(NonNull<Node>);

// SAFETY: (rule 1) a node owns a body, which is `Send`; the rest of it is plain data.
unsafe impl Send for Task {}

const fn fits<B>() -> bool {
    size_of::<B>() <= INLINE_BYTES && align_of::<B>() <= align_of::<Space>()
}

fn take_node() -> NonNull<Node> {
    if size_of::<Node>() == BLOCK_BYTES {
        slab::take().cast()
    } else {
        // Under a model checker the link is larger than a pointer.
        NonNull::from(Box::leak(Box::new(MaybeUninit::<Node>::uninit()))).cast()
    }
}

/// # Safety
///
/// The node came from `take_node`, and its body has been moved out.
unsafe fn give_node(node: NonNull<Node>) {
    if size_of::<Node>() == BLOCK_BYTES {
        // SAFETY: it came from `slab::take`; nobody uses it any more (contract). A node has no destructor that matters: its body is gone.
        unsafe { slab::give(node.cast::<Block>()) };
    } else {
        // SAFETY: as above, from the box in `take_node`. Dropped as a node, so that a model forgets its link.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }
}

impl Task {
    /// Wraps a closure that nobody waits for.
    #[inline]
    pub(crate) fn plain<F: FnOnce() + Send + 'static>(f: F, site: &'static Site, meta: Meta) -> Self {
        if fits::<Plain<F>>() { Self::new(Plain(f), site, meta) } else { Self::new(Plain(Box::new(f)), site, meta) }
    }

    /// Wraps a body of at most [`INLINE_BYTES`].
    #[inline]
    pub(crate) fn new<B: Body>(body: B, site: &'static Site, meta: Meta) -> Self {
        // WHY not in a constant: that would be evaluated for the branches of callers that are never taken, too.
        assert!(fits::<B>(), "larger bodies go into a box");
        let node = take_node();
        let table = const { &Table::Task { run: run::<B>, discard: discard::<B> } };
        let content = Node {
            header: Header(table),
            link: AtomicPtr::new(std::ptr::null_mut()),
            site,
            meta,
            space: Space::uninit(),
        };
        // SAFETY: a block is large and aligned enough for a node (asserted above), and ours.
        unsafe { node.write(content) };
        // SAFETY: the node is live; nobody else knows it.
        let space = unsafe { &raw mut (*node.as_ptr()).space };
        // SAFETY: callers pass bodies that fit (checked above); the space is uninitialised.
        unsafe { space.cast::<B>().write(body) };
        Self(node)
    }

    /// Wraps a closure that nobody waits for, with a name or a span.
    pub(crate) fn plain_extended<F: FnOnce() + Send + 'static>(
        f: F,
        extension: Box<Extension>,
        site: &'static Site,
        meta: Meta,
    ) -> Self {
        if fits::<Extended<Plain<F>>>() {
            Self::extended(Plain(f), extension, site, meta)
        } else {
            Self::extended(Plain(Box::new(f)), extension, site, meta)
        }
    }

    /// Wraps a body of at most [`INLINE_BYTES`] less a pointer.
    pub(crate) fn extended<B: Body>(body: B, extension: Box<Extension>, site: &'static Site, meta: Meta) -> Self {
        Self::new(Extended { extension, body }, site, meta.extended())
    }

    /// The name and span, for tasks that have one.
    pub(crate) fn extension(&self) -> Option<&Extension> {
        if !self.meta().is_extended() {
            return None;
        }
        let space = (&raw const self.node().space).cast::<Box<Extension>>();
        // SAFETY: (rule 1) the body is live; the mark is set by `extended` alone, whose body begins with the box (`repr(C)`).
        Some(unsafe { &*space })
    }

    fn node(&self) -> &Node {
        // SAFETY: (rule 1) a task's node is live.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn site(&self) -> &'static Site {
        self.node().site
    }

    pub(crate) fn meta(&self) -> Meta {
        self.node().meta
    }

    /// Calls the closure. It and what it captured are gone when this returns.
    #[inline]
    pub(crate) fn run(self) -> Verdict {
        let Table::Task { run, .. } = self.node().header.0 else { unreachable!("a task's node has a task's table") };
        // SAFETY: (rule 1) the body is live, and `self` is forgotten, so nobody uses it again.
        unsafe { run(self.into_node()) }
    }

    /// Drops the closure unrun, telling it why.
    pub(crate) fn discard(self, why: Discard) {
        let Table::Task { discard, .. } = self.node().header.0 else {
            unreachable!("a task's node has a task's table")
        };
        // SAFETY: as in `run`.
        unsafe { discard(self.into_node(), why) };
    }

    /// Gives up the node to a queue.
    #[inline]
    pub(crate) fn into_node(self) -> NonNull<Node> {
        let node = self.0;
        mem::forget(self);
        node
    }

    /// Takes a node back.
    ///
    /// # Safety
    ///
    /// It came from [`into_node`](Self::into_node), and this is the only call for it.
    #[inline]
    pub(crate) unsafe fn from_node(node: NonNull<Node>) -> Self {
        Self(node)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        Self(self.0).discard(Discard::Closed);
    }
}

/// The FIFO of tasks that a sequence keeps. Any thread may push; whoever pops must be the one consumer, which callers ensure by their own state
/// word, or for bounded queues by a lock.
pub(crate) struct TaskQueue(Fifo<Node>);

impl Default for TaskQueue {
    fn default() -> Self {
        Self(Fifo::new())
    }
}

impl TaskQueue {
    #[inline]
    pub(crate) fn push(&self, task: Task) {
        // SAFETY: (rule 1) the task's node is live, in no queue, and given up here.
        unsafe { self.0.push(task.into_node()) };
    }

    /// The oldest task; `None` when there is none, or when a push is half done.
    ///
    /// Logical contract: one thread at a time, each after the other. The lane's state word sees to it.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Task> {
        // SAFETY: one consumer at a time, ordered by the lane's state word (see above).
        match unsafe { self.0.pop() } {
            // SAFETY: the node came from `push`, and a queue returns it once.
            Pop::Node(node) => Some(unsafe { Task::from_node(node) }),
            Pop::Empty | Pop::Inconsistent => None,
        }
    }

    pub(crate) fn is_empty_racy(&self) -> bool {
        self.0.is_empty_racy()
    }
}

impl Drop for TaskQueue {
    fn drop(&mut self) {
        while let Some(task) = self.pop() {
            drop_quietly(task);
        }
    }
}

/// # Safety
///
/// (Rule 1) the node holds a live `B`, which nobody uses after this.
unsafe fn take_body<B>(node: NonNull<Node>) -> B {
    // SAFETY: the node is live.
    let space = unsafe { &raw const (*node.as_ptr()).space };
    // SAFETY: it holds a `B` that is moved out once (contract).
    let body = unsafe { space.cast::<B>().read() };
    // SAFETY: (rule 2) the body is out.
    unsafe { give_node(node) };
    body
}

/// # Safety
///
/// As [`take_body`].
unsafe fn run<B: Body>(node: NonNull<Node>) -> Verdict {
    // SAFETY: passed on.
    unsafe { take_body::<B>(node) }.run()
}

/// # Safety
///
/// As [`take_body`].
unsafe fn discard<B: Body>(node: NonNull<Node>, why: Discard) {
    // SAFETY: passed on.
    unsafe { take_body::<B>(node) }.discard(why);
}

/// An object with the header that lets tickets point to it.
#[repr(C)]
pub(crate) struct Erased<R> {
    header: Header,
    pub(crate) object: R,
}

impl<R: Runnable> Erased<R> {
    pub(crate) fn new(object: R) -> Arc<Self> {
        let table = const { &Table::Object { run: run_object::<R>, forget: forget_object::<R> } };
        Arc::new(Self { header: Header(table), object })
    }
}

/// # Safety
///
/// (Rules 3 and 4) the header belongs to an `Erased<R>`, and the caller gives up one strong count.
unsafe fn take_object<R>(header: NonNull<Header>) -> Arc<Erased<R>> {
    // SAFETY: (rule 3) the header is the first field of the object that the `Arc` was made for.
    unsafe { Arc::from_raw(header.as_ptr().cast::<Erased<R>>()) }
}

/// # Safety
///
/// As [`take_object`].
unsafe fn run_object<R: Runnable>(header: NonNull<Header>, turn: &mut dyn Turn) {
    // SAFETY: passed on.
    R::run(unsafe { take_object::<R>(header) }, turn);
}

/// # Safety
///
/// As [`take_object`].
unsafe fn forget_object<R: Runnable>(header: NonNull<Header>) {
    // SAFETY: passed on.
    drop(unsafe { take_object::<R>(header) });
}

/// One thing to run, as one word.
#[derive(Debug)]
pub(crate) struct Ticket(NonNull<Header>);

// SAFETY: it owns a task or a share of a `Send + Sync` object.
unsafe impl Send for Ticket {}

/// What a ticket turned out to be.
pub(crate) enum Opened {
    Task(Task),
    Object(ObjectTicket),
}

/// A share of a runnable object.
pub(crate) struct ObjectTicket(NonNull<Header>);

impl Ticket {
    #[inline]
    pub(crate) fn of_task(task: Task) -> Self {
        Self(task.into_node().cast())
    }

    #[inline]
    pub(crate) fn of_object<R: Runnable>(object: Arc<Erased<R>>) -> Self {
        let pointer = Arc::into_raw(object).cast_mut().cast::<Header>();
        // SAFETY: an `Arc` never points to null.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    #[inline]
    pub(crate) fn open(self) -> Opened {
        let header = self.0;
        mem::forget(self);
        // SAFETY: (rule 3) the header is live.
        match unsafe { header.as_ref() }.0 {
            Table::Task { .. } => Opened::Task(Task(header.cast())),
            Table::Object { .. } => Opened::Object(ObjectTicket(header)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        drop(Self(self.0).open());
    }
}

impl ObjectTicket {
    #[inline]
    pub(crate) fn run(self, turn: &mut dyn Turn) {
        // SAFETY: (rule 3) the header is live.
        let Table::Object { run, .. } = unsafe { self.0.as_ref() }.0 else { unreachable!("opened as an object") };
        let header = self.0;
        mem::forget(self);
        // SAFETY: (rule 4) our strong count goes along.
        unsafe { run(header, turn) };
    }
}

impl Drop for ObjectTicket {
    fn drop(&mut self) {
        // SAFETY: (rule 3) the header is live.
        let Table::Object { forget, .. } = unsafe { self.0.as_ref() }.0 else { unreachable!("opened as an object") };
        // SAFETY: (rule 4) our strong count goes along.
        unsafe { forget(self.0) };
    }
}

// SAFETY: the word is the ticket's own pointer, given out and taken back unchanged.
unsafe impl Word for Ticket {
    fn into_word(self) -> NonNull<()> {
        let word = self.0.cast();
        mem::forget(self);
        word
    }

    unsafe fn from_word(word: NonNull<()>) -> Self {
        Self(word.cast())
    }
}
