//! What runners tell a dump about themselves: counters and settings, read without stopping anybody.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::group::{CLOSED, Parallel};
use super::sequence::{RunnerStats, Sequence};
use crate::pool::core::Core;
use crate::pool::roster::Listed;
use crate::pool::{DumpedRunner, RunnerKind};
use crate::task::raw::{Erased, Runner, Tally};

/// A picture of a runner of that kind; the rest is filled in by who knows it.
fn picture(runner: &Runner, kind: RunnerKind, stats: RunnerStats) -> DumpedRunner {
    let RunnerStats { queued, delayed, running, .. } = stats;
    DumpedRunner { name: runner.name.clone(), queued, delayed, running, ..DumpedRunner::of(kind) }
}

/// Grows with each task that a turn takes up, and with each that is over.
fn moved(tally: &Tally) -> u64 {
    let over = Tally::read(&tally.ran) + Tally::read(&tally.dropped);
    over + Tally::read(&tally.started)
}

/// Makes a runner known to dumps of its pool.
pub(super) fn list<R>(core: &Core, runner: &Arc<Erased<R>>)
where
    Erased<R>: Listed + 'static,
{
    let weak: Weak<Erased<R>> = Arc::downgrade(runner);
    core.roster.list(weak);
}

impl Listed for Erased<Sequence> {
    fn picture(&self) -> DumpedRunner {
        let sequence = &self.object;
        let kind = if sequence.home().is_some() { RunnerKind::SingleThread } else { RunnerKind::Sequenced };
        DumpedRunner {
            is_closed: sequence.is_closed(),
            capacity: sequence.bound().map(|bound| bound.capacity()),
            priority: sequence.class(),
            ..picture(&sequence.runner, kind, sequence.stats())
        }
    }

    fn progress(&self) -> Option<u64> {
        let moved = moved(self.object.tally());
        (self.object.stats().queued > 0).then_some(moved)
    }
}

impl Listed for Erased<Parallel> {
    fn picture(&self) -> DumpedRunner {
        let parallel = &self.object;
        DumpedRunner {
            is_closed: parallel.control() & CLOSED != 0,
            capacity: parallel.bound.as_ref().map(|bound| bound.capacity()),
            priority: parallel.traits.priority(),
            ..picture(&parallel.runner, RunnerKind::Parallel, parallel.stats())
        }
    }

    fn progress(&self) -> Option<u64> {
        let moved = moved(&self.object.tally);
        (self.object.stats().queued > 0).then_some(moved)
    }
}
