//! Which stretches of wall time were passed through already, so that a clock that is set back fires nothing twice.
//!
//! A mark for the latest instant would not do: a clock that was wrong by ten years for a minute would silence a schedule for ten years.
//!
//! Limits: so many stretches are told apart; when there are more, the two earliest count as one. That may leave a tick out, and never fires one twice.
//!
//! Witnessed by `tests::course::*`.
#![forbid(unsafe_code)]

use std::time::SystemTime;

/// Stretches that are told apart: one for each time that the clock was set.
const STRETCHES_MAX: usize = 16;

/// Stretches of wall time, in order and apart from one another; each without its beginning and with its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Lived(Vec<(SystemTime, SystemTime)>);

impl Lived {
    /// Adds a stretch; none when it ends where it begins, or before.
    pub(super) fn add(&mut self, mut from: SystemTime, mut to: SystemTime) {
        if to <= from {
            return;
        }
        self.0.retain(|&(begin, end)| {
            let is_apart = end < from || to < begin;
            if !is_apart {
                from = from.min(begin);
                to = to.max(end);
            }
            is_apart
        });
        let place = self.0.partition_point(|&(begin, _)| begin < from);
        self.0.insert(place, (from, to));
        if self.0.len() > STRETCHES_MAX {
            let (from, _) = self.0.remove(0);
            self.0[0].0 = from;
        }
    }

    /// The end of the stretch that the instant lies in.
    pub(super) fn end_of(&self, instant: SystemTime) -> Option<SystemTime> {
        let around = self.0.iter().find(|&&(begin, end)| begin < instant && instant <= end);
        around.map(|&(_, end)| end)
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn stretches_that_touch_become_one() {
        let mut lived = Lived::default();
        for (from, to) in [(10, 20), (30, 40), (20, 25), (5, 5)] {
            lived.add(at(from), at(to));
        }
        assert_eq!(lived.0, [(at(10), at(25)), (at(30), at(40))]);
        assert_eq!(
            (lived.end_of(at(10)), lived.end_of(at(11)), lived.end_of(at(25))),
            (None, Some(at(25)), Some(at(25)))
        );
        lived.add(at(12), at(35));
        assert_eq!(lived.0, [(at(10), at(40))]);
    }

    proptest! {
        /// What was added is lived; what was not is not, unless there are too many stretches.
        #[test]
        fn nothing_that_was_lived_is_forgotten(stretches in prop::collection::vec((0_u64..200, 0_u64..20), 0..40)) {
            let mut lived = Lived::default();
            for &(from, length) in &stretches {
                lived.add(at(from), at(from + length));
            }
            for second in 0..230 {
                let was_added = stretches.iter().any(|&(from, length)| from < second && second <= from + length);
                let is_lived = lived.end_of(at(second)).is_some();
                prop_assert!(is_lived || !was_added);
                prop_assert!(is_lived == was_added || lived.0.len() == STRETCHES_MAX);
            }
        }
    }
}
