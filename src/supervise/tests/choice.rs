//! SUP-9: who is evicted, by the rule and by the index, and that both agree.

use proptest::prelude::*;

use super::{config, count};
use crate::supervise::choice::{Holder, Rooms, TieBreak, victim};
use crate::sync::unmodelled::AtomicU64;

const fn holder(id: u8, priority: i32, started: u64) -> Holder<u8> {
    Holder { id, priority, started }
}

/// Whom the rule and the index evict, who agree.
#[track_caller]
fn evicted(holders: &[Holder<u8>], newcomer: i32, ties: TieBreak) -> Option<u8> {
    let mut rooms = Rooms::new(ties);
    holders.iter().for_each(|holder| rooms.enter(*holder));
    let chosen = victim(holders.iter().copied(), newcomer, ties);
    assert_eq!(rooms.victim(newcomer), chosen, "the index disagrees with the rule");
    chosen
}

#[test]
fn nobody_is_evicted_from_an_empty_house() {
    assert_eq!(evicted(&[], i32::MAX, TieBreak::default()), None);
}

#[test]
fn lowest_priority_is_evicted() {
    let holders = [holder(1, 5, 10), holder(2, -3, 11), holder(3, 0, 12)];
    assert_eq!(evicted(&holders, 6, TieBreak::default()), Some(2));
    assert_eq!(evicted(&holders, -2, TieBreak::default()), Some(2));
}

#[test]
fn equal_priority_is_not_evicted() {
    let holders = [holder(1, 5, 10), holder(2, 5, 11)];
    assert_eq!(evicted(&holders, 5, TieBreak::default()), None);
    assert_eq!(evicted(&holders, 4, TieBreak::default()), None);
    assert_eq!(evicted(&holders, 6, TieBreak::default()), Some(2));
}

#[test]
fn latest_started_is_evicted_first_unless_the_other_order_is_asked_for() {
    let holders = [holder(1, 0, 20), holder(2, 0, 30), holder(3, 0, 10), holder(4, 1, 40), holder(5, 1, 1)];
    assert_eq!(TieBreak::default(), TieBreak::LatestStarted);
    assert_eq!(evicted(&holders, 9, TieBreak::LatestStarted), Some(2));
    assert_eq!(evicted(&holders, 9, TieBreak::EarliestStarted), Some(3));
}

#[test]
fn id_decides_between_the_same_starts() {
    let holders = [holder(2, 0, 7), holder(3, 0, 7), holder(1, 0, 7)];
    assert_eq!(evicted(&holders, 1, TieBreak::LatestStarted), Some(3));
    assert_eq!(evicted(&holders, 1, TieBreak::EarliestStarted), Some(1));
}

#[test]
fn extreme_priorities_are_priorities() {
    let holders = [holder(1, i32::MIN, 0), holder(2, i32::MAX, u64::MAX)];
    assert_eq!(evicted(&holders, i32::MIN, TieBreak::default()), None);
    assert_eq!(evicted(&holders, i32::MAX, TieBreak::default()), Some(1));
    assert_eq!(evicted(&holders[1..], i32::MAX, TieBreak::default()), None);
}

#[test]
fn evicted_task_cannot_evict_its_evictor() {
    let (victim, evictor) = (holder(1, 3, 1), holder(2, 4, 2));
    assert_eq!(evicted(&[victim], evictor.priority, TieBreak::default()), Some(1));
    assert_eq!(evicted(&[evictor], victim.priority, TieBreak::default()), None);
}

#[test]
fn who_leaves_is_not_chosen_again() {
    let mut rooms = Rooms::new(TieBreak::LatestStarted);
    rooms.enter(holder(1, 0, 1));
    rooms.enter(holder(2, 0, 2));
    assert_eq!(rooms.victim(1), Some(2));
    assert_eq!(rooms.victim(1), Some(2), "choosing changes nothing");
    assert_eq!(rooms.leave(2), Some(holder(2, 0, 2)));
    assert_eq!(rooms.leave(2), None);
    assert_eq!(rooms.victim(1), Some(1));
    assert_eq!(rooms.leave(1), Some(holder(1, 0, 1)));
    assert_eq!((rooms.victim(1), rooms.len()), (None, 0));
}

#[test]
fn new_priority_counts_at_once_and_keeps_the_start() {
    let mut rooms = Rooms::new(TieBreak::LatestStarted);
    rooms.enter(holder(1, 5, 1));
    rooms.enter(holder(2, 5, 2));
    assert!(rooms.set_priority(1, 4));
    assert_eq!(rooms.victim(5), Some(1));
    assert!(rooms.set_priority(1, 5));
    assert_eq!(rooms.victim(6), Some(2), "it is the earlier one again");
    assert!(!rooms.set_priority(3, 0), "nobody of this id");
    assert_eq!(rooms.len(), 2);
}

#[test]
fn who_starts_again_enters_anew() {
    let mut rooms = Rooms::new(TieBreak::LatestStarted);
    rooms.enter(holder(1, 0, 1));
    rooms.enter(holder(2, 0, 2));
    rooms.enter(holder(1, 0, 3));
    assert_eq!((rooms.victim(1), rooms.len()), (Some(1), 2));
}

// ---- properties ------------------------------------------------------------------------------------------------------

/// What can happen to the rooms; few ids, priorities and starts, so that they meet.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(Holder<u8>),
    Leave(u8),
    SetPriority(u8, i32),
    Evict(i32),
}

fn priority() -> impl Strategy<Value = i32> {
    prop_oneof![8 => -2_i32..3, 1 => Just(i32::MIN), 1 => Just(i32::MAX)]
}

fn any_holder() -> impl Strategy<Value = Holder<u8>> {
    (0_u8..10, priority(), 0_u64..12).prop_map(|(id, priority, started)| holder(id, priority, started))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_holder().prop_map(Step::Enter),
        1 => (0_u8..10).prop_map(Step::Leave),
        2 => (0_u8..10, priority()).prop_map(|(id, priority)| Step::SetPriority(id, priority)),
        2 => priority().prop_map(Step::Evict),
    ]
}

fn ties() -> impl Strategy<Value = TieBreak> {
    prop_oneof![Just(TieBreak::LatestStarted), Just(TieBreak::EarliestStarted)]
}

/// A list of the holders, and the rooms that should know the same.
struct Pair {
    ties: TieBreak,
    list: Vec<Holder<u8>>,
    rooms: Rooms<u8>,
}

impl Pair {
    fn new(ties: TieBreak) -> Self {
        Self { ties, list: Vec::new(), rooms: Rooms::new(ties) }
    }

    fn take_from_list(&mut self, id: u8) -> Option<Holder<u8>> {
        let at = self.list.iter().position(|holder| holder.id == id)?;
        Some(self.list.swap_remove(at))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Enter(holder) => {
                self.take_from_list(holder.id);
                self.list.push(holder);
                self.rooms.enter(holder);
            }
            Step::Leave(id) => assert_eq!(self.rooms.leave(id), self.take_from_list(id)),
            Step::SetPriority(id, priority) => {
                let known = self.list.iter_mut().find(|holder| holder.id == id);
                assert_eq!(self.rooms.set_priority(id, priority), known.is_some());
                known.into_iter().for_each(|holder| holder.priority = priority);
            }
            Step::Evict(newcomer) => {
                let chosen = self.rooms.victim(newcomer);
                assert_eq!(chosen, victim(self.list.iter().copied(), newcomer, self.ties));
                let evicted = chosen.map(|id| (self.rooms.leave(id), self.take_from_list(id)));
                assert!(evicted.is_none_or(|(from_rooms, from_list)| from_rooms == from_list));
            }
        }
        assert_eq!(self.rooms.len(), self.list.len());
    }

    /// Evicts everybody, one after the other.
    fn clear(&mut self) {
        while self.list.iter().any(|holder| holder.priority < i32::MAX) {
            self.take(Step::Evict(i32::MAX));
        }
        assert_eq!(self.rooms.victim(i32::MAX), None);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn index_agrees_with_the_rule(ties in ties(), steps in proptest::collection::vec(step(), 0..24)) {
        static CASES: AtomicU64 = AtomicU64::new(0);
        count(&CASES, "I41");
        let mut pair = Pair::new(ties);
        steps.into_iter().for_each(|step| pair.take(step));
        pair.clear();
    }

    #[test]
    fn nobody_is_a_better_choice(
        ties in ties(), newcomer in priority(), holders in proptest::collection::vec(any_holder(), 0..10),
    ) {
        let Some(id) = victim(holders.iter().copied(), newcomer, ties) else {
            return holders.iter().try_for_each(|holder| {
                prop_assert!(holder.priority >= newcomer);
                Ok(())
            });
        };
        let candidates: Vec<_> = holders.iter().filter(|holder| holder.priority < newcomer).collect();
        let lowest = candidates.iter().map(|holder| holder.priority).min();
        let peers = candidates.iter().filter(|holder| Some(holder.priority) == lowest);
        let starts = peers.clone().map(|holder| holder.started);
        let start = if ties == TieBreak::LatestStarted { starts.max() } else { starts.min() };
        prop_assert!(peers.clone().any(|holder| holder.id == id && Some(holder.started) == start));
    }
}
