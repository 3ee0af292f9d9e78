//! A picture of a pool for the support case: who runs what, since when, and what waits. Made without stopping anybody, also while every worker is stuck.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::ThreadPool;
use super::core::Core;
use super::ledger::PoolStats;
use super::timer::Receiver;
use crate::task::current::Name;
use crate::task::raw::Task;
use crate::task::traits::Priority;
use crate::time::Moment;

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

/// Delayed tasks that a dump tells one by one.
const DELAYED_MAX: usize = 16;

/// A task whose delay is not over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DumpedDelay {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// The name of its runner, if that was given one.
    pub runner: Option<Arc<str>>,
    /// The post sites that it descends from, its own first, at most four.
    pub chain: Vec<&'static Location<'static>>,
    /// When it is due, from now; zero when it is due already.
    pub due_in: Duration,
}

/// What kind of runner one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunnerKind {
    /// A [`SequencedTaskRunner`](crate::SequencedTaskRunner).
    Sequenced,
    /// A [`ParallelTaskRunner`](crate::ParallelTaskRunner).
    Parallel,
    /// A [`SingleThreadTaskRunner`](crate::SingleThreadTaskRunner), those of a main thread included.
    SingleThread,
}

impl fmt::Display for RunnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sequenced => "sequenced",
            Self::Parallel => "parallel",
            Self::SingleThread => "single-thread",
        })
    }
}

/// A runner that has something to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DumpedRunner {
    /// The runner's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Its kind.
    pub kind: RunnerKind,
    /// Tasks that wait for their turn.
    pub queued: u64,
    /// Tasks whose delay is not over.
    pub delayed: u64,
    /// Tasks that run now.
    pub running: u64,
    /// It refuses posts.
    pub is_closed: bool,
    /// How many tasks may wait; `None` for any number.
    pub capacity: Option<usize>,
    /// The priority that it is scheduled with: its own, or for sequences that of more urgent work queued in it (PRI-4).
    pub priority: Priority,
    /// How long it has had queued work, and started and ended none, at least: the time since it was first seen so, by a dump or by the stall watcher, which looks
    /// four times per [threshold](crate::ThreadPoolBuilder::on_stall) while the pool works (TIME-1). `None` when nothing is queued.
    pub no_progress_for: Option<Duration>,
}

impl DumpedRunner {
    /// One of which nothing else is known.
    pub(crate) fn of(kind: RunnerKind) -> Self {
        Self {
            name: None,
            kind,
            queued: 0,
            delayed: 0,
            running: 0,
            is_closed: false,
            capacity: None,
            priority: Priority::UserVisible,
            no_progress_for: None,
        }
    }
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
    /// The runners that have something to do, in the order of their making: of those that have a name, a capacity, a thread or a ring of
    /// [recent tasks](crate::SequencedTaskRunnerBuilder::recent_tasks). Others cannot be told from one another; their tasks are part of `stats`.
    pub runners: Vec<DumpedRunner>,
    /// The delayed tasks that are due first, the earliest first, at most 16; how many there are in all is told by `stats`.
    pub delayed: Vec<DumpedDelay>,
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
            runners: self.roster.pictures(now),
            delayed: self.timers.first(DELAYED_MAX, |due, task, receiver| delay(now, due, task, receiver)),
        }
    }
}

/// What is told of one delayed task.
fn delay(now: Moment, due: Moment, task: &Task, receiver: &dyn Receiver) -> DumpedDelay {
    let name = task.extension().and_then(|extension| extension.name.clone());
    let (runner, chain) = (receiver.runner_name(), task.site().chain().collect());
    DumpedDelay { name, runner, chain, due_in: now.until(due) }
}

/// The places of a chain, after a few words.
fn write_chain(f: &mut fmt::Formatter<'_>, chain: &[&Location<'_>]) -> fmt::Result {
    for (index, location) in chain.iter().enumerate() {
        write!(f, "{}{location}", if index == 0 { ", posted at " } else { " < " })?;
    }
    Ok(())
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
            writeln!(f, "  {task}")?;
        }
        for runner in &self.runners {
            writeln!(f, "  {runner}")?;
        }
        for task in &self.delayed {
            writeln!(f, "  {task}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DumpedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} runs", self.worker)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(runner) = &self.runner {
            write!(f, " of {runner:?}")?;
        }
        write!(f, " for {:?} at least", self.running_for)?;
        write_chain(f, &self.chain)
    }
}

impl fmt::Display for DumpedDelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "due in {:?}:", self.due_in)?;
        match &self.name {
            Some(name) => write!(f, " {name:?}")?,
            None => write!(f, " a task")?,
        }
        if let Some(runner) = &self.runner {
            write!(f, " of {runner:?}")?;
        }
        write_chain(f, &self.chain)
    }
}

impl fmt::Display for DumpedRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, queued, delayed, running, priority, .. } = self;
        write!(f, "{kind} runner")?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " ({priority:?}): {queued} queued")?;
        if let Some(capacity) = self.capacity {
            write!(f, " of {capacity}")?;
        }
        write!(f, ", {delayed} delayed, {running} running")?;
        if self.is_closed {
            write!(f, ", closed")?;
        }
        if let Some(age) = self.no_progress_for {
            write!(f, ", no progress for {age:?} at least")?;
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
        json.push_str(&or_null(self.next_timer.map(|next| next.as_nanos())));
        json.push_str(",\"running\":");
        write_list(&mut json, &self.running, DumpedTask::write_json);
        json.push_str(",\"runners\":");
        write_list(&mut json, &self.runners, DumpedRunner::write_json);
        json.push_str(",\"delayed\":");
        write_list(&mut json, &self.delayed, DumpedDelay::write_json);
        json.push('}');
        json
    }
}

/// A value as JSON, if there is one.
fn or_null(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "null".into(), |value| value.to_string())
}

/// Values as a JSON list.
fn write_list<T>(json: &mut String, values: &[T], write: impl Fn(&T, &mut String)) {
    json.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write(value, json);
    }
    json.push(']');
}

impl DumpedTask {
    fn write_json(&self, json: &mut String) {
        let _ = write!(json, "{{\"worker\":{},\"name\":{},", self.worker, name_or_null(&self.name));
        let _ = write!(
            json,
            "\"runner\":{},\"running_for_ns\":{},",
            name_or_null(&self.runner),
            self.running_for.as_nanos()
        );
        write_chain_json(json, &self.chain);
        json.push('}');
    }
}

impl DumpedDelay {
    fn write_json(&self, json: &mut String) {
        let _ = write!(json, "{{\"name\":{},\"runner\":{},", name_or_null(&self.name), name_or_null(&self.runner));
        let _ = write!(json, "\"due_in_ns\":{},", self.due_in.as_nanos());
        write_chain_json(json, &self.chain);
        json.push('}');
    }
}

fn name_or_null(name: &Option<Name>) -> String {
    or_null(name.as_deref().map(Quoted))
}

fn write_chain_json(json: &mut String, chain: &[&Location<'_>]) {
    let sites: Vec<_> = chain.iter().map(|location| Quoted(&location.to_string()).to_string()).collect();
    let _ = write!(json, "\"chain\":[{}]", sites.join(","));
}

impl DumpedRunner {
    fn write_json(&self, json: &mut String) {
        let Self { kind, queued, delayed, running, is_closed, priority, .. } = self;
        let _ = write!(json, "{{\"name\":{},\"kind\":\"{kind}\",", name_or_null(&self.name));
        let _ = write!(json, "\"queued\":{queued},\"delayed\":{delayed},\"running\":{running},");
        let _ = write!(json, "\"is_closed\":{is_closed},\"capacity\":{},", or_null(self.capacity));
        let age = self.no_progress_for.map(|age| age.as_nanos());
        let _ = write!(json, "\"priority\":\"{priority:?}\",\"no_progress_for_ns\":{}}}", or_null(age));
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
