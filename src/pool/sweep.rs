//! The end of what is queued when the shutdown is complete: everything is taken out and dropped, by whoever comes.
#![forbid(unsafe_code)]

use super::core::{Core, until_settled};
use super::home::Inbox;
use crate::task::raw::{Discard, Opened, Runner, Tally, Task, Ticket, Turn};
use crate::task::traits::Priority;

impl Core {
    /// Drops everything that is queued, after completion, when perhaps no worker is left to do it.
    #[cold]
    pub(crate) fn sweep(&self) {
        while let Some((ticket, class)) = self.take_anything() {
            match ticket.open() {
                Opened::Task(task) => self.discard(task, Discard::ShutDown, None),
                Opened::Object(object) => object.run(&mut Sweeper { core: self, class, inbox: None }),
            }
        }
        self.quiet.ring();
    }

    /// The same for what was sent to one thread.
    #[cold]
    pub(crate) fn sweep_inbox(&self, inbox: &Inbox) {
        while let Some((ticket, class)) = inbox.take(Priority::DESCENDING) {
            match ticket.open() {
                Opened::Task(task) => self.discard(task, Discard::ShutDown, None),
                Opened::Object(object) => object.run(&mut Sweeper { core: self, class, inbox: Some(inbox) }),
            }
        }
    }

    fn take_anything(&self) -> Option<(Ticket, Priority)> {
        let injected = |class| self.take_injected(class, None).map(|ticket| (ticket, class));
        Priority::DESCENDING.into_iter().find_map(injected).or_else(|| {
            let stolen = self.used_slots().iter().find_map(|slot| until_settled(|| slot.thief.steal()));
            stolen.map(|ticket| (ticket, Priority::UserVisible))
        })
    }
}

/// The turn in which nothing runs any more.
struct Sweeper<'a> {
    core: &'a Core,
    class: Priority,
    inbox: Option<&'a Inbox>,
}

impl Turn for Sweeper<'_> {
    fn class(&self) -> Priority {
        self.class
    }

    fn enter(&mut self, _runner: &Runner) {}

    fn run(&mut self, task: Task, tally: &Tally) {
        self.discard(task, Discard::ShutDown, tally);
    }

    fn discard(&mut self, task: Task, why: Discard, tally: &Tally) {
        self.core.discard(task, why, Some(tally));
    }

    fn is_over(&mut self) -> bool {
        false
    }

    fn requeue(&mut self, ticket: Ticket, class: Priority) {
        // WHY not `submit`: it sweeps, and a poster that has stopped in the middle of its push would make that recursive.
        match self.inbox {
            Some(inbox) => inbox.put(ticket, class),
            None => self.core.submit_injected(ticket, class),
        }
    }
}
