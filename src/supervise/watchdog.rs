//! The watchdog: who has been silent for too long (SUP-8).
//!
//! A heartbeat sets a flag, and nothing more. While there are runs to watch, a *sweep* comes every twentieth of the shortest period, but no more often than every 5 ms; it takes the flags and dates them.
//!
//! Dates are *watched time*: it goes on with each sweep, but by no more than to one interval after that sweep was due. So time in which nobody looked, because the machine was asleep, the process stopped or every worker
//! busy, counts for nobody's silence: those who should have given a sign had as little time as the watchdog.
//!
//! A sign is dated by the sweep that finds it, up to one interval late; silence is noticed by the first sweep after the period is over. So it is noticed after the period at the earliest, and two
//! intervals later at the latest: a tenth of the period, or 10 ms.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Run;
use super::event::StopReason;
use super::house::House;
use super::keeper::Fx;
use super::spec::TaskId;
use crate::time::Moment;
use crate::zoo;

/// Sweeps of a period.
const SWEEPS: u32 = 20;
const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// The runs that are watched.
#[derive(Default)]
pub(super) struct Watch {
    runs: BTreeMap<TaskId, Watched>,
    /// Watched time, up to the last sweep.
    time: Duration,
    last_sweep: Option<Moment>,
    /// The next sweep in the calendar.
    pub(super) date: Option<(Moment, u64)>,
}

struct Watched {
    run: Arc<Run>,
    period: Duration,
    /// When it gave its last sign, in watched time; before the first, one period later than it began.
    sign: Duration,
}

impl Watch {
    fn interval(&self) -> Option<Duration> {
        let shortest = self.runs.values().map(|watched| watched.period).min()?;
        Some((shortest / SWEEPS).max(INTERVAL_MIN))
    }

    /// The watched time since the last sweep: up to one interval after the next was due.
    ///
    /// WHY not two of the present intervals: they may have become shorter since the last sweep, and time that was looked at would be lost.
    fn passed(&self, now: Moment, interval: Duration) -> Duration {
        let Some(last) = self.last_sweep else { return Duration::ZERO };
        let due = self.date.map_or(now, |(due, _)| due);
        let passed = last.until(now);
        if zoo::has("Z24") { passed } else { passed.min(last.until(due).saturating_add(interval)) }
    }

    /// Watched time, up to now.
    pub(super) fn time(&self, now: Moment) -> Duration {
        let since = self.interval().map_or(Duration::ZERO, |interval| self.passed(now, interval));
        self.time.saturating_add(since)
    }

    /// How long the run of that task has given no sign, at that watched time; `None` if it is not watched.
    pub(super) fn silence(&self, id: TaskId, time: Duration) -> Option<Duration> {
        let watched = self.runs.get(&id)?;
        Some(if watched.run.has_beaten() { Duration::ZERO } else { time.saturating_sub(watched.sign) })
    }

    /// Takes the flags, and says who has been silent for too long.
    fn look(&mut self, now: Moment, interval: Duration) -> Vec<TaskId> {
        self.time = self.time.saturating_add(self.passed(now, interval));
        (self.last_sweep, self.date) = (Some(now), None);
        let time = self.time;
        let mut silent = Vec::new();
        for (id, watched) in &mut self.runs {
            if watched.run.take_beat() {
                watched.sign = time;
            } else if time.saturating_sub(watched.sign) > watched.period {
                silent.push(*id);
            }
        }
        silent
    }
}

impl House {
    /// A run begins that is to be watched.
    pub(super) fn watch_over(&mut self, now: Moment, id: TaskId, run: Arc<Run>, period: Duration) {
        if self.watch.runs.is_empty() {
            self.watch.last_sweep = Some(now);
        }
        let since = self.watch.passed(now, (period / SWEEPS).max(INTERVAL_MIN));
        let sign = self.watch.time.saturating_add(since).saturating_add(period);
        self.watch.runs.insert(id, Watched { run, period, sign });
        let Some(interval) = self.watch.interval() else { return };
        let due = now.saturating_add(interval);
        if self.watch.date.is_none_or(|(date, _)| due < date) {
            self.sweep_at(due);
        }
    }

    pub(super) fn forget_watch(&mut self, id: TaskId) {
        self.watch.runs.remove(&id);
        if self.watch.runs.is_empty() {
            self.cancel_sweep();
        }
    }

    pub(super) fn sweep(&mut self, fx: &mut Fx) {
        let Some(interval) = self.watch.interval() else { return self.watch.date = None };
        for id in self.watch.look(fx.now, interval) {
            self.stop_run(fx, id, StopReason::HeartbeatLost);
        }
        if let Some(interval) = self.watch.interval() {
            self.sweep_at(fx.now.saturating_add(interval));
        }
    }
}
