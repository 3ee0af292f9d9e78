//! Faults that an environment injects, and the states that an exploration must have reached.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::sync::local;
use crate::task::fault::Fault;

/// Which faults an environment injects, and how often: rates from 0.0 (the default) to 1.0.
///
/// The choices come from the seed, apart from those of the schedule, so a fault more or less does not reshuffle it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub(super) panics: f64,
    pub(super) cancels: f64,
    pub(super) yields: f64,
    pub(super) refused_threads: f64,
    pub(super) cost: Option<(Duration, Duration)>,
}

impl Faults {
    /// No faults.
    #[must_use]
    pub const fn none() -> Self {
        Self { panics: 0.0, cancels: 0.0, yields: 0.0, refused_threads: 0.0, cost: None }
    }

    /// So many task bodies panic instead of running. Who joins one gets [`JoinError::Panicked`](crate::JoinError::Panicked).
    #[must_use]
    pub const fn panics(self, rate: f64) -> Self {
        Self { panics: rate, ..self }
    }

    /// So many tasks with a handle find themselves cancelled when they start.
    #[must_use]
    pub const fn cancels(self, rate: f64) -> Self {
        Self { cancels: rate, ..self }
    }

    /// At so many [yield points](super::yield_point) something else goes on first. In baton mode only: one thread has one stack.
    #[must_use]
    pub const fn yields(self, rate: f64) -> Self {
        Self { yields: rate, ..self }
    }

    /// The system refuses so many of the threads that would stand in for a waiting worker.
    #[must_use]
    pub const fn refused_threads(self, rate: f64) -> Self {
        Self { refused_threads: rate, ..self }
    }

    /// Each task keeps its worker busy for a virtual time between `least` and `most` after its body. In baton mode only; otherwise tasks take no time.
    #[must_use]
    pub const fn cost(self, least: Duration, most: Duration) -> Self {
        Self { cost: Some((least, most)), ..self }
    }
}

/// The dice of the faults.
#[derive(Debug)]
pub(super) struct Dice {
    faults: Faults,
    rng: Rng,
}

impl Dice {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        // WHY mixed: the domains must not draw the same numbers.
        Self { faults, rng: Rng::with_seed(seed ^ 0xFA17_FA17_FA17_FA17) }
    }

    pub(super) fn heal(&mut self) {
        self.faults = Faults::none();
    }

    fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.rng.f64() < rate
    }

    pub(super) fn for_task(&mut self) -> Option<Fault> {
        if self.happens(self.faults.panics) {
            return Some(Fault::Panic);
        }
        self.happens(self.faults.cancels).then_some(Fault::Cancel)
    }

    pub(super) fn yields(&mut self) -> bool {
        self.happens(self.faults.yields)
    }

    pub(super) fn refuses_thread(&mut self) -> bool {
        self.happens(self.faults.refused_threads)
    }

    pub(super) fn cost(&mut self) -> Option<Duration> {
        let (least, most) = self.faults.cost?;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (least, most) = (nanos(least), nanos(most).max(nanos(least)));
        Some(Duration::from_nanos(self.rng.u64(least..=most)))
    }
}

/// What was asked of an exploration, and what was seen: by name, whether it was true at least once.
pub(super) type Coverage = BTreeMap<&'static str, bool>;

local! {
    static COVERAGE: RefCell<Coverage> = RefCell::new(BTreeMap::new());
}

/// What has been noted on this thread since the last call.
pub(super) fn take_coverage() -> Coverage {
    COVERAGE.try_with(|coverage| coverage.take()).unwrap_or_default()
}

pub(super) fn merge_coverage(into: &mut Coverage, from: Coverage) {
    for (name, was_true) in from {
        *into.entry(name).or_default() |= was_true;
    }
}

/// Notes whether `condition` holds here; the macro [`sometimes!`](crate::sometimes) is the short form.
///
/// An [exploration](super::TestEnvironment::explore) fails if it came to this place, but `condition` was never true in any of its seeds: then the
/// interesting state was never reached, and passing proves nothing. Outside of an exploration it does nothing that can be seen.
pub fn sometimes(name: &'static str, condition: bool) {
    let _ = COVERAGE.try_with(|coverage| {
        *coverage.borrow_mut().entry(name).or_default() |= condition;
    });
}
