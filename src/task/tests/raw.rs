//! The erasure: whatever the closure, it is called or dropped once, and its node goes back. Miri runs these, too.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::task::current::name_of;
use crate::task::raw::{
    Discard, Erased, Extension, Opened, Runnable, Runner, Tally, Task, TaskQueue, Ticket, Turn, Verdict,
};
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority, TaskTraits};

/// Counts its drops.
struct Load<const BYTES: usize>(Arc<AtomicUsize>, [u8; BYTES]);

impl<const BYTES: usize> Drop for Load<BYTES> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn here() -> (&'static Site, Meta) {
    (Site::intern(None, Location::caller()), Meta::new(TaskTraits::default()))
}

/// A task that carries so many bytes, and the counts of its runs and drops.
fn task<const BYTES: usize>(is_named: bool) -> (Task, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (runs, drops) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, load) = (Arc::clone(&runs), Load(Arc::clone(&drops), [7; BYTES]));
    let body = move || {
        let whole = &load;
        assert!(whole.1.iter().all(|byte| *byte == 7));
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let (site, meta) = here();
    let task = if is_named {
        let extension = Extension { name: Some(name_of("named")), ..Extension::default() };
        Task::plain_extended(body, Box::new(extension), site, meta)
    } else {
        Task::plain(body, site, meta)
    };
    (task, runs, drops)
}

fn check<const BYTES: usize>() {
    for is_named in [false, true] {
        let counts = |runs: Arc<AtomicUsize>, drops: Arc<AtomicUsize>| {
            assert_eq!((Arc::strong_count(&runs), Arc::strong_count(&drops)), (1, 1), "{BYTES} bytes leak");
            (runs.load(Ordering::Relaxed), drops.load(Ordering::Relaxed))
        };
        let (run, runs, drops) = task::<BYTES>(is_named);
        assert_eq!(run.extension().and_then(|extension| extension.name.as_deref()), is_named.then_some("named"));
        assert!(matches!(run.run(), Verdict::Ran));
        assert_eq!(counts(runs, drops), (1, 1));
        let (discarded, runs, drops) = task::<BYTES>(is_named);
        discarded.discard(Discard::ShutDown);
        assert_eq!(counts(runs, drops), (0, 1));
        let (dropped, runs, drops) = task::<BYTES>(is_named);
        drop(Ticket::of_task(dropped));
        assert_eq!(counts(runs, drops), (0, 1));
        let (queue, (queued, runs, drops)) = (TaskQueue::default(), task::<BYTES>(is_named));
        queue.push(queued);
        drop(queue);
        assert_eq!(counts(runs, drops), (0, 1));
    }
}

#[test]
fn closure_of_any_size_runs_or_is_dropped_once() {
    check::<0>();
    check::<1>();
    check::<8>();
    check::<16>();
    check::<17>();
    check::<24>();
    check::<32>();
    check::<33>();
    check::<1000>();
    check::<0x2000>();
}

/// Captures that must lie at a multiple of 128.
#[repr(align(128))]
struct Aligned(Load<3>);

#[test]
fn captures_keep_their_alignment() {
    for is_run in [false, true] {
        let drops = Arc::new(AtomicUsize::new(0));
        let aligned = Aligned(Load(Arc::clone(&drops), [7; 3]));
        let (site, meta) = here();
        let body = move || assert_eq!(std::ptr::from_ref(&aligned).addr() % 128, 0, "{:?}", aligned.0.1);
        let task = Task::plain(body, site, meta);
        if is_run {
            assert!(matches!(task.run(), Verdict::Ran));
        } else {
            task.discard(Discard::Closed);
        }
        assert_eq!((drops.load(Ordering::Relaxed), Arc::strong_count(&drops)), (1, 1));
    }
}

#[test]
fn panicking_body_gives_its_payload_and_its_node() {
    let (site, meta) = here();
    let Verdict::Panicked(payload) = Task::plain(|| panic!("sadly"), site, meta).run() else { panic!("it panicked") };
    assert_eq!(payload.downcast_ref(), Some(&"sadly"));
}

/// An object that counts its turns.
struct Counts(AtomicUsize);

impl Runnable for Counts {
    fn run(this: Arc<Erased<Self>>, turn: &mut dyn Turn) {
        assert_eq!(turn.class(), Priority::UserVisible);
        this.object.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct NoTurn;

impl Turn for NoTurn {
    fn class(&self) -> Priority {
        Priority::UserVisible
    }
    fn enter(&mut self, _: &Runner) {}
    fn run(&mut self, _: Task, _: &Tally) {}
    fn discard(&mut self, _: Task, _: Discard, _: &Tally) {}
    fn is_over(&mut self) -> bool {
        true
    }
    fn requeue(&mut self, _: Ticket, _: Priority) {}
}

#[test]
fn ticket_of_an_object_holds_one_share() {
    let object = Erased::new(Counts(AtomicUsize::new(0)));
    drop(Ticket::of_object(Arc::clone(&object)));
    for _ in 0..3 {
        let ticket = Ticket::of_object(Arc::clone(&object));
        assert_eq!(Arc::strong_count(&object), 2);
        let Opened::Object(share) = ticket.open() else { panic!("it is an object") };
        share.run(&mut NoTurn);
    }
    assert_eq!((Arc::strong_count(&object), object.object.0.load(Ordering::Relaxed)), (1, 3));
}
