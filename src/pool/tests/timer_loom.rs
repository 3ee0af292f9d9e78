//! The delay manager: insert, fire, cancel, and a driver that goes to sleep.

use std::panic::Location;
use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::park::Parker;
use crate::pool::timer::{Receiver, Timers};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::handle::{Packet, PacketBody, Pending};
use crate::task::raw::{Discard, Task};
use crate::task::site::Site;
use crate::task::traits::{Meta, TaskTraits};
use crate::time::Moment;

#[derive(Default)]
struct Runs {
    ran: AtomicUsize,
    ripened: AtomicUsize,
    unripe: AtomicUsize,
}

impl Receiver for Runs {
    fn ripen(self: Arc<Self>, task: Task) {
        self.ripened.fetch_add(1, Ordering::Relaxed);
        drop(task.run());
    }

    fn drop_unripe(self: Arc<Self>, task: Task, _why: Discard) {
        self.unripe.fetch_add(1, Ordering::Relaxed);
        drop(task);
    }
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

fn site() -> &'static Site {
    Site::intern(None, Location::caller())
}

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

/// DLY-2: a timer that is cancelled while it ripens runs or does not, and the canceller knows which.
#[test]
fn loom_timer_fires_or_is_cancelled() {
    model(|| {
        let timers = Arc::new(Timers::new(at(0)));
        let runs = Arc::new(Runs::default());
        let counted = Arc::clone(&runs);
        let packet =
            Packet::new(move || _ = counted.ran.fetch_add(1, Ordering::Relaxed), None, std::panic::Location::caller());
        let task = Task::new(PacketBody(Arc::clone(&packet)), site(), Meta::new(TaskTraits::default()));
        let inserted = timers.insert(at(5), task, Arc::clone(&runs) as Arc<dyn Receiver>, || ());
        let inserted = inserted.map_err(drop).expect("open");
        let driver = thread::spawn({
            let timers = Arc::clone(&timers);
            move || timers.step(at(10))
        });
        let was_cancelled = packet.cancel_waiting();
        if was_cancelled {
            if let Some(task) = timers.remove(inserted.key) {
                Arc::clone(&runs).drop_unripe(task, Discard::Closed);
            }
        }
        driver.join().expect("no panic");
        assert_eq!(runs.ran.load(Ordering::Relaxed), usize::from(!was_cancelled));
        assert_eq!(runs.ripened.load(Ordering::Relaxed) + runs.unripe.load(Ordering::Relaxed), 1);
    });
}

/// A timer inserted while the driver computes its sleep is found: by this look, or because the driver is woken.
#[test]
fn loom_earlier_timer_wakes_the_driver() {
    model(|| {
        let timers = Arc::new(Timers::new(at(0)));
        let parker = Arc::new(Parker::new());
        let runs = Arc::new(Runs::default());
        let driver = thread::spawn({
            let (timers, parker, runs) = (Arc::clone(&timers), Arc::clone(&parker), Arc::clone(&runs));
            move || {
                while runs.ran.load(Ordering::Relaxed) == 0 {
                    // Time stands at 10 all along, so what is due then must be found without it.
                    if timers.step(at(10)) == Moment::NEVER && runs.ran.load(Ordering::Relaxed) == 0 {
                        parker.park();
                    }
                }
            }
        });
        let counted = Arc::clone(&runs);
        let packet =
            Packet::new(move || _ = counted.ran.fetch_add(1, Ordering::Relaxed), None, std::panic::Location::caller());
        let task = Task::new(PacketBody(packet), site(), Meta::new(TaskTraits::default()));
        let inserted = timers.insert(at(7), task, runs, || ()).map_err(drop).expect("open");
        if inserted.is_earliest {
            parker.unpark();
        }
        driver.join().expect("no panic");
    });
}

/// SHUT-2: a timer that is not ripe when shutdown starts is dropped, or refused; it is never left behind.
#[test]
fn loom_close_and_insert_leave_nothing_behind() {
    model(|| {
        let timers = Arc::new(Timers::new(at(0)));
        let runs = Arc::new(Runs::default());
        let closer = thread::spawn({
            let timers = Arc::clone(&timers);
            move || timers.close()
        });
        let task = Task::plain(|| (), site(), Meta::new(TaskTraits::default()));
        let accepted = timers.insert(at(7), task, Arc::clone(&runs) as Arc<dyn Receiver>, || ()).map_err(drop).is_ok();
        closer.join().expect("no panic");
        assert_eq!(runs.unripe.load(Ordering::Relaxed), usize::from(accepted));
    });
}
