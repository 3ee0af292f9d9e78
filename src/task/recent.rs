//! The tasks that ended last: a ring that forgets the oldest.
//!
//! Who runs tasks writes them down after their end, before anybody is told of a result: who has the result finds the task in the ring. What is
//! written down decides nothing.
//!
//! | operation | cost |
//! |---|---|
//! | `push` | one short lock, constant |
//! | `newest_first` | the same lock while the ring is copied |
//!
//! Memory: grows with the tasks up to its size, some 80 bytes each.
//!
//! Witnessed by `tests::*` and `tests/env/recent.rs`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::current::Name;
use super::site::Site;
use super::traits::Priority;
use crate::sync::Mutex;

/// A task that has ended; from [`ThreadPool::recent_tasks`](crate::ThreadPool::recent_tasks) and the method of that name of runners.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecentTask {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// The name of its runner, if that was given one.
    pub runner: Option<Arc<str>>,
    /// Where the task was posted.
    pub location: &'static Location<'static>,
    /// The post sites that it descends from, its own first, at most four.
    pub chain: Vec<&'static Location<'static>>,
    /// The priority that it was posted with.
    pub priority: Priority,
    /// When it started: the monotonic time from the making of its pool to the start of its body.
    pub started: Duration,
    /// How long its body ran, waits inside of it included.
    pub duration: Duration,
    /// Its body panicked.
    pub panicked: bool,
}

impl fmt::Display for RecentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "task {name:?}")?,
            None => write!(f, "task")?,
        }
        if let Some(runner) = &self.runner {
            write!(f, " on {runner:?}")?;
        }
        for (index, location) in self.chain.iter().enumerate() {
            write!(f, "{}{location}", if index == 0 { " posted at " } else { " < " })?;
        }
        let end = if self.panicked { "panicked" } else { "ended" };
        write!(f, " started at {:?} and {end} after {:?}", self.started, self.duration)
    }
}

/// What is written down of one task.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) site: &'static Site,
    pub(crate) name: Option<Name>,
    pub(crate) runner: Option<Name>,
    pub(crate) priority: Priority,
    pub(crate) started: Duration,
    pub(crate) duration: Duration,
    pub(crate) panicked: bool,
}

impl From<Entry> for RecentTask {
    fn from(entry: Entry) -> Self {
        let Entry { site, name, runner, priority, started, duration, panicked } = entry;
        let (location, chain) = (site.location(), site.chain().collect());
        Self { name, runner, location, chain, priority, started, duration, panicked }
    }
}

/// The ring; see the page above.
#[derive(Debug)]
pub(crate) struct Recent {
    size: usize,
    /// The oldest first.
    entries: Mutex<VecDeque<Entry>>,
}

impl Recent {
    /// A ring of that size; `None` for one that would hold nothing, so that nobody reads a clock for it.
    pub(crate) fn of(size: usize) -> Option<Arc<Self>> {
        (size > 0).then(|| Arc::new(Self { size, entries: Mutex::default() }))
    }

    /// Writes a task down, and forgets the oldest if there is no room.
    pub(crate) fn push(&self, entry: Entry) {
        let forgotten = {
            let mut entries = self.entries.lock();
            let forgotten = if entries.len() == self.size { entries.pop_front() } else { None };
            entries.push_back(entry);
            forgotten
        };
        drop(forgotten);
    }

    /// What has been written down, the newest first.
    pub(crate) fn newest_first(&self) -> Vec<RecentTask> {
        let entries: Vec<_> = self.entries.lock().iter().rev().cloned().collect();
        entries.into_iter().map(RecentTask::from).collect()
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    #[track_caller]
    fn entry(started: u64) -> Entry {
        Entry {
            site: Site::intern(None, Location::caller()),
            name: Some("sum".into()),
            runner: None,
            priority: Priority::UserVisible,
            started: Duration::from_secs(started),
            duration: Duration::from_millis(3),
            panicked: started % 2 == 1,
        }
    }

    #[test]
    fn ring_keeps_the_newest() {
        let ring = Recent::of(3).expect("it has room");
        for started in 0..5 {
            ring.push(entry(started));
        }
        let starts: Vec<_> = ring.newest_first().iter().map(|task| task.started.as_secs()).collect();
        assert_eq!(starts, [4, 3, 2]);
        assert!(Recent::of(0).is_none());
    }

    #[test]
    fn text_names_task_place_and_end() {
        let ring = Recent::of(usize::MAX).expect("it has room");
        ring.push(entry(1));
        let text = ring.newest_first()[0].to_string();
        assert!(text.starts_with("task \"sum\" posted at ") && text.contains("recent.rs"), "{text}");
        assert!(text.ends_with("started at 1s and panicked after 3ms"), "{text}");
    }
}
