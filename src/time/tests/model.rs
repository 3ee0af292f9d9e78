//! The wheel against a list that is searched and sorted: random insertions, removals and advances, at the seams between levels.
#![forbid(unsafe_code)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::wheel::{LEVELS, TICK_BITS};
use super::super::{Moment, TimerKey, Wheel};
use super::{at, ripe_at};

/// A point in time, told in a way that hits the seams.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So many nanoseconds after now.
    In(u64),
    /// Two to this power after now, and a bit more or less.
    InPower(u32, i64),
    /// The next multiple of two to this power, and a bit more or less.
    Seam(u32, i64),
    /// Two to this power, whether it has passed or not, and a bit more or less.
    Power(u32, i64),
    /// The earliest deadline, and a bit more or less.
    Earliest(i64),
    Never,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(When),
    /// Several at once, so far apart: ties, and crowds.
    InsertMany(When, u64, u64),
    Remove(Index),
    /// Removes one in every so many of those that wait.
    Thin(usize),
    Advance(When),
    AdvanceToWake,
    Drain,
}

const SEAMS: [u32; 13] = [0, 10, 19, TICK_BITS, 21, 26, 31, 32, 38, 44, 50, 62, 63];

/// Enough for a crowd.
const MANY: u64 = if cfg!(miri) { 10 } else { 300 };

fn when() -> impl Strategy<Value = When> {
    let bit = || select(&SEAMS[..]);
    let near_bit = || select(&SEAMS[..8]);
    let more = || -2..=2i64;
    prop_oneof![
        2 => (0..4u64).prop_map(When::In),
        4 => (0..1u64 << 24).prop_map(When::In),
        2 => (any::<u64>(), 0..64u32).prop_map(|(nanos, shift)| When::In(nanos >> shift)),
        4 => (near_bit(), more()).prop_map(|(bit, more)| When::InPower(bit, more)),
        4 => (near_bit(), more()).prop_map(|(bit, more)| When::Seam(bit, more)),
        1 => (bit(), more()).prop_map(|(bit, more)| When::InPower(bit, more)),
        1 => (bit(), more()).prop_map(|(bit, more)| When::Seam(bit, more)),
        1 => (bit(), more()).prop_map(|(bit, more)| When::Power(bit, more)),
        4 => more().prop_map(When::Earliest),
        1 => Just(When::Never),
    ]
}

/// Where an advance goes: jumps that use up all of time are rare, so that something is left to happen.
fn target() -> impl Strategy<Value = When> {
    let near_bit = || select(&SEAMS[..8]);
    prop_oneof![
        4 => (0..1u64 << 22).prop_map(When::In),
        4 => (-2..=2i64).prop_map(When::Earliest),
        4 => (near_bit(), -2..=2i64).prop_map(|(bit, more)| When::Seam(bit, more)),
        2 => (near_bit(), -2..=2i64).prop_map(|(bit, more)| When::InPower(bit, more)),
        1 => (select(&SEAMS[..]), -2..=2i64).prop_map(|(bit, more)| When::Power(bit, more)),
        1 => when(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let apart = select(&[0, 1, 1 << 14, 1 << 19, 1 << 26][..]);
    prop_oneof![
        12 => when().prop_map(Step::Insert),
        2 => (when(), apart, 2..MANY).prop_map(|(first, apart, many)| Step::InsertMany(first, apart, many)),
        4 => any::<Index>().prop_map(Step::Remove),
        1 => (1..6usize).prop_map(Step::Thin),
        8 => target().prop_map(Step::Advance),
        6 => Just(Step::AdvanceToWake),
        1 => Just(Step::Drain),
    ]
}

/// The wheel and the list, told the same.
struct Pair {
    wheel: Wheel<usize>,
    now: Moment,
    /// What waits, in order of insertion; the value is the position of its key in `keys`.
    list: Vec<(Moment, usize)>,
    keys: Vec<TimerKey>,
}

impl Pair {
    fn new(now: Moment) -> Self {
        Self { wheel: Wheel::new(now), now, list: Vec::new(), keys: Vec::new() }
    }

    fn earliest(&self) -> Option<Moment> {
        self.list.iter().map(|&(deadline, _)| deadline).filter(|&deadline| deadline != Moment::NEVER).min()
    }

    fn moment(&self, when: When) -> Moment {
        let now = self.now.as_nanos();
        let (base, more) = match when {
            When::In(nanos) => (now.saturating_add(nanos), 0),
            When::InPower(bit, more) => (now.saturating_add(1 << bit), more),
            When::Seam(bit, more) => ((now >> bit).saturating_add(1).saturating_mul(1 << bit), more),
            When::Power(bit, more) => (1 << bit, more),
            When::Earliest(more) => (self.earliest().map_or(now, Moment::as_nanos), more),
            When::Never => (u64::MAX, 0),
        };
        at(base.saturating_add_signed(more))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Insert(when) => self.insert(self.moment(when)),
            Step::InsertMany(first, apart, many) => {
                let first = self.moment(first).as_nanos();
                (0..many).for_each(|turn| self.insert(at(first.saturating_add(turn * apart))));
            }
            Step::Remove(index) if !self.keys.is_empty() => self.remove(index.index(self.keys.len())),
            Step::Remove(_) => {}
            Step::Thin(one_in) => {
                let thinned: Vec<_> = self.list.iter().step_by(one_in).map(|&(_, value)| value).collect();
                thinned.into_iter().for_each(|value| self.remove(value));
            }
            Step::Advance(when) => self.advance(self.moment(when)),
            Step::AdvanceToWake => self.advance(self.wheel.next_wake().unwrap_or(self.now)),
            Step::Drain => {
                let expected = self.take_from_list(|_| true);
                assert_eq!(self.wheel.drain(), expected);
            }
        }
        self.check();
    }

    fn insert(&mut self, deadline: Moment) {
        let value = self.keys.len();
        self.keys.push(self.wheel.insert(deadline, value));
        self.list.push((deadline, value));
    }

    fn remove(&mut self, value: usize) {
        let expected = self.list.iter().position(|&(_, other)| other == value).map(|at| self.list.remove(at).1);
        assert_eq!(self.wheel.remove(self.keys[value]), expected);
    }

    fn advance(&mut self, now: Moment) {
        self.now = self.now.max(now);
        let reached = self.now;
        let expected = self.take_from_list(|deadline| deadline <= reached && deadline != Moment::NEVER);
        assert_eq!(ripe_at(&mut self.wheel, now), expected);
    }

    /// What is chosen, by deadline; the sort is stable, so ties stay in order of insertion.
    fn take_from_list(&mut self, chosen: impl Fn(Moment) -> bool) -> Vec<usize> {
        let (mut taken, left): (Vec<_>, Vec<_>) = self.list.iter().partition(|&&(deadline, _)| chosen(deadline));
        self.list = left;
        taken.sort_by_key(|&(deadline, _)| deadline);
        taken.into_iter().map(|(_, value)| value).collect()
    }

    fn check(&self) {
        let earliest = self.earliest();
        assert_eq!(self.wheel.len(), self.list.len());
        assert_eq!(self.wheel.next_deadline(), earliest);
        self.check_first();
        let wake = self.wheel.next_wake();
        assert_eq!(wake.is_some(), earliest.is_some());
        assert!(wake <= earliest, "{wake:?} is after {earliest:?}");
        assert!(wake == earliest || wake > Some(self.now), "an early wake lies ahead");
    }

    /// The first few are those of the list.
    fn check_first(&self) {
        let mut sorted: Vec<_> = self.list.iter().filter(|(deadline, _)| *deadline != Moment::NEVER).collect();
        sorted.sort();
        for most in [0, 1, 5, usize::MAX] {
            let first: Vec<_> =
                self.wheel.first(most).into_iter().map(|(deadline, value)| (deadline, *value)).collect();
            let expected: Vec<_> = sorted.iter().take(most).map(|pair| **pair).collect();
            assert_eq!(first, expected);
        }
    }

    /// Follows the wake-ups until nothing will be ripe any more.
    fn follow_wakes(&mut self) {
        let mut early = 0;
        while let Some(wake) = self.wheel.next_wake() {
            let waiting = self.list.len();
            self.advance(wake);
            self.check();
            early = if self.list.len() < waiting { 0 } else { early + 1 };
            assert!(early <= LEVELS, "at most one early wake per level");
        }
        let forever = self.take_from_list(|_| true);
        assert_eq!(self.wheel.drain(), forever);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_like_a_sorted_list(
        origin in when(),
        steps in vec(step(), 1..if cfg!(miri) { 16 } else { 80 }),
    ) {
        let mut pair = Pair::new(Pair::new(Moment::ORIGIN).moment(origin));
        steps.into_iter().for_each(|step| pair.take(step));
        pair.follow_wakes();
    }
}
