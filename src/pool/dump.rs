//! A picture of a pool for the support case: who runs what, since when, and what waits. Made without stopping anybody, also while every worker is stuck.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::ThreadPool;
use super::core::Core;
use super::ledger::PoolStats;
use crate::task::traits::Priority;

/// What one thread of the pool runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DumpedTask {
    /// The number of the worker, as in its thread's name; those of single-thread runners have numbers, too.
    pub worker: usize,
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// The name of its runner, if that was given one.
    pub runner: Option<Arc<str>>,
    /// The post sites that it descends from, its own first, at most four.
    pub chain: Vec<&'static Location<'static>>,
    /// How long it has been running at least: the time since it was first seen (TIME-1).
    pub running_for: Duration,
}

/// A picture of a pool; made by [`ThreadPool::dump`]. Its [`Display`](fmt::Display) is for people, [`to_json`](Self::to_json) for programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The pool's name.
    pub pool: Arc<str>,
    /// True once shutdown has started.
    pub is_shutting_down: bool,
    /// How many workers there are to run tasks: none in reserve, none of single-thread runners.
    pub workers: usize,
    /// Those of them that sleep.
    pub sleeping: usize,
    /// The counters.
    pub stats: PoolStats,
    /// Tickets that wait where every worker sees them, by class, the most urgent first. A ticket is a task, or a sequence with any number of them.
    pub waiting: [(Priority, usize); 3],
    /// Tickets in the deques of workers.
    pub in_deques: usize,
    /// Tickets that wait for the threads of single-thread runners.
    pub at_threads: usize,
    /// When the next timer is due, from now.
    pub next_timer: Option<Duration>,
    /// What runs.
    pub running: Vec<DumpedTask>,
}

impl ThreadPool {
    /// A picture of the pool: who runs what, since when, posted where, and what waits. It stops nobody, takes short locks only, and works while every worker is stuck.
    ///
    /// The parts are read one after the other, so they may be some microseconds apart; only the counters are consistent with one another.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().name("app").workers(1).build()?;
    /// let inside = pool.clone();
    /// let dump = pool.task().name("look").spawn(move || inside.dump()).join()?;
    /// assert_eq!(dump.running[0].name.as_deref(), Some("look"));
    /// println!("{dump}");
    /// assert!(dump.to_json().starts_with(r#"{"pool":"app""#));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dump(&self) -> Dump {
        self.core().dump()
    }
}

impl Core {
    pub(crate) fn dump(&self) -> Dump {
        let now = self.clock.now();
        let running = self.used_slots().iter().enumerate().filter_map(|(worker, slot)| {
            let running_for = self.watch.running_for(worker, now, self.ledger.progress_of(worker))?;
            let (running, _) = slot.running()?;
            let chain = running.site.chain().collect();
            Some(DumpedTask { worker, name: running.name, runner: running.runner, chain, running_for })
        });
        Dump {
            pool: Arc::clone(&self.settings.name),
            is_shutting_down: self.tracker.is_started(),
            workers: self.staff.active(),
            sleeping: self.idle.sleeping_racy(),
            stats: self.ledger.stats(),
            waiting: Priority::DESCENDING.map(|class| (class, self.waiting(class))),
            in_deques: self.used_slots().iter().map(|slot| slot.thief.len()).sum(),
            at_threads: self
                .used_slots()
                .iter()
                .map(|slot| slot.home.lock().as_ref().map_or(0, |home| home.len_racy()))
                .sum(),
            next_timer: self.timers.next_due().map(|due| now.until(due)),
            running: running.collect(),
        }
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_shutting_down { ", shutting down" } else { "" };
        writeln!(f, "pool {:?}: {} workers, {} asleep{state}", self.pool, self.workers, self.sleeping)?;
        let PoolStats { posted, ran, queued, delayed, running, dropped, rejected, panicked, .. } = self.stats;
        writeln!(
            f,
            "  tasks: {posted} posted, {ran} ran ({panicked} panicked), {queued} queued, {delayed} delayed, {running} running, {dropped} dropped, {rejected} refused"
        )?;
        write!(f, "  tickets waiting:")?;
        for (class, count) in self.waiting {
            write!(f, " {class:?} {count},")?;
        }
        writeln!(f, " in deques {}, at threads {}", self.in_deques, self.at_threads)?;
        if let Some(next) = self.next_timer {
            writeln!(f, "  next timer in {next:?}")?;
        }
        for task in &self.running {
            write!(f, "  worker {} runs", task.worker)?;
            if let Some(name) = &task.name {
                write!(f, " {name:?}")?;
            }
            if let Some(runner) = &task.runner {
                write!(f, " of {runner:?}")?;
            }
            write!(f, " for {:?} at least", task.running_for)?;
            for (index, location) in task.chain.iter().enumerate() {
                write!(f, "{}{location}", if index == 0 { ", posted at " } else { " < " })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Dump {
    /// The same as one JSON object. Durations are whole nanoseconds.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        let _ = write!(json, "\"pool\":{},\"is_shutting_down\":{},", Quoted(&self.pool), self.is_shutting_down);
        let _ = write!(json, "\"workers\":{},\"sleeping\":{},\"stats\":{{", self.workers, self.sleeping);
        let PoolStats { posted, ran, queued, delayed, running, dropped, rejected, panicked, wake_ups, steals } =
            self.stats;
        let _ = write!(json, "\"posted\":{posted},\"ran\":{ran},\"queued\":{queued},\"delayed\":{delayed},");
        let _ = write!(json, "\"running\":{running},\"dropped\":{dropped},\"rejected\":{rejected},");
        let _ = write!(json, "\"panicked\":{panicked},\"wake_ups\":{wake_ups},\"steals\":{steals}}},\"waiting\":{{");
        for (class, count) in self.waiting {
            let _ = write!(json, "\"{class:?}\":{count},");
        }
        let _ = write!(json, "\"in_deques\":{},", self.in_deques);
        let _ = write!(json, "\"at_threads\":{}}},\"next_timer_ns\":", self.at_threads);
        let _ = match self.next_timer {
            Some(next) => write!(json, "{}", next.as_nanos()),
            None => write!(json, "null"),
        };
        json.push_str(",\"running\":[");
        for (index, task) in self.running.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            task.write_json(&mut json);
        }
        json.push_str("]}");
        json
    }
}

impl DumpedTask {
    fn write_json(&self, json: &mut String) {
        let optional = |text: &Option<Arc<str>>| text.as_ref().map_or("null".into(), |text| Quoted(text).to_string());
        let _ = write!(json, "{{\"worker\":{},\"name\":{},", self.worker, optional(&self.name));
        let _ =
            write!(json, "\"runner\":{},\"running_for_ns\":{},", optional(&self.runner), self.running_for.as_nanos());
        let sites: Vec<_> = self.chain.iter().map(|location| Quoted(&location.to_string()).to_string()).collect();
        let _ = write!(json, "\"chain\":[{}]}}", sites.join(","));
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::Quoted;

    #[test]
    fn strings_are_quoted_for_json() {
        assert_eq!(Quoted("a\"b\\c\nd\u{1b}é").to_string(), "\"a\\\"b\\\\c\\u000ad\\u001bé\"");
    }
}
