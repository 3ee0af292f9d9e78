//! When a circuit opens and closes, as data: whoever holds it says what time it is.
//!
//! | phase | means | left by |
//! |---|---|---|
//! | `Closed` | calls pass | the failure that makes it too many within the window: to `Open` |
//! | `Open` | calls are refused | the first call after its end, which is the probe: to `Probing` |
//! | `Probing` | one call is on its way, others are refused | the end of that call: success to `Closed`, failure to `Open` |
//!
//! A call carries the generation of the phase that admitted it. Each change of phase begins a new one, so a call that comes back late changes nothing.
//!
//! Witnessed by `tests::breaker::*`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use super::breaker::CircuitState;
use crate::time::Moment;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) failures: u32,
    pub(super) window: Duration,
    pub(super) open_for: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Moment },
    Probing,
}

/// What an admitted call gives back at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a call that is admitted must be settled: a probe that never ends keeps the circuit shut"]
pub(super) struct Admission(u64);

#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    phase: Phase,
    generation: u64,
    /// The latest failures of the closed phase, oldest first; never more than it takes to open.
    failures: VecDeque<Moment>,
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, phase: Phase::Closed, generation: 0, failures: VecDeque::new() }
    }

    /// Lets a call pass, or not.
    pub(super) fn admit(&mut self, now: Moment) -> Option<Admission> {
        match self.phase {
            Phase::Closed => {}
            Phase::Open { until } if until <= now => self.enter(Phase::Probing),
            Phase::Open { .. } | Phase::Probing => return None,
        }
        Some(Admission(self.generation))
    }

    /// Hears how a call has ended.
    pub(super) fn settle(&mut self, admission: Admission, has_succeeded: bool, now: Moment) {
        if admission.0 != self.generation {
            return;
        }
        match (self.phase, has_succeeded) {
            (Phase::Probing, true) => self.enter(Phase::Closed),
            (Phase::Probing, false) => self.open(now),
            (Phase::Closed, false) if self.is_one_too_many(now) => self.open(now),
            _ => {}
        }
    }

    /// Counts a failure; true when there are enough of them within the window.
    fn is_one_too_many(&mut self, now: Moment) -> bool {
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|oldest| oldest.saturating_add(self.settings.window) < now) {
            self.failures.pop_front();
        }
        self.failures.len() >= self.settings.failures as usize
    }

    fn open(&mut self, now: Moment) {
        self.enter(Phase::Open { until: now.saturating_add(self.settings.open_for) });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.failures.clear();
    }

    pub(super) fn state(&self, now: Moment) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { until } if until > now => CircuitState::Open,
            Phase::Open { .. } | Phase::Probing => CircuitState::HalfOpen,
        }
    }

    /// How long calls are refused for certain.
    pub(super) fn refuses_for(&self, now: Moment) -> Duration {
        match self.phase {
            Phase::Open { until } => now.until(until),
            Phase::Closed | Phase::Probing => Duration::ZERO,
        }
    }
}
