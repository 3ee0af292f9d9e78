//! Who gives up a place for a newcomer (SUP-9). Pure: numbers in, an id out.
//!
//! | rule | |
//! |---|---|
//! | who may be evicted | priority strictly lower than the newcomer's; among equals nobody is, so two can never evict each other in turn |
//! | who is | the lowest priority; then the latest started, since the least work is lost, or by [`TieBreak`] the earliest |
//! | the same start | the highest id for the latest, the lowest for the earliest |
//!
//! `victim` is the rule, written to be read, and used by tests alone; [`Rooms`] gives the same answer without looking at everybody. A holder that is on its way out (evicted, cancelled,
//! stuck) still holds its place, but is no candidate: whoever supervises takes it out of the rooms when it signals it, so that nobody is evicted twice.
//!
//! | of [`Rooms`] | time, of n holders |
//! |---|---|
//! | `victim` | O(log n) |
//! | `enter`, `leave`, `set_priority` | O(log n) |
//!
//! Witnessed by `tests::choice`.
#![forbid(unsafe_code)]

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use super::roll::ByNumber;

/// Which of several holders of the lowest priority is evicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum TieBreak {
    /// The one that has done the least. The default.
    #[default]
    LatestStarted,
    /// The one that has had its share.
    EarliestStarted,
}

/// Who holds a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder<I> {
    pub(crate) id: I,
    /// Higher is more important.
    pub(crate) priority: i32,
    /// Grows from start to start. Nobody needs to tell two holders apart by it: the id does.
    pub(crate) started: u64,
}

/// The rule, as the index below must answer it.
#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
pub(crate) fn victim<I: Copy + Ord>(
    holders: impl IntoIterator<Item = Holder<I>>,
    newcomer: i32,
    ties: TieBreak,
) -> Option<I> {
    let before = |a: &Holder<I>, b: &Holder<I>| -> Ordering {
        let earlier = (a.started, a.id).cmp(&(b.started, b.id));
        let by_start = match ties {
            TieBreak::EarliestStarted => earlier,
            TieBreak::LatestStarted => earlier.reverse(),
        };
        a.priority.cmp(&b.priority).then(by_start)
    };
    let lower = holders.into_iter().filter(|holder| holder.priority < newcomer);
    lower.min_by(before).map(|holder| holder.id)
}

/// Who may be evicted, in the order in which they would be.
#[derive(Clone, Debug)]
pub(crate) struct Rooms<I> {
    ties: TieBreak,
    /// By priority, then by start.
    ///
    /// INVARIANT: no set is empty, and what is here is in `holders`, once.
    floors: BTreeMap<i32, BTreeSet<(u64, I)>>,
    /// Priority and start of each.
    holders: HashMap<I, (i32, u64), ByNumber>,
}

impl<I: Copy + Ord + Hash> Rooms<I> {
    pub(crate) fn new(ties: TieBreak) -> Self {
        Self { ties, floors: BTreeMap::new(), holders: HashMap::default() }
    }

    /// Who gives up its place for a newcomer of this priority; `None` if nobody has a lower one. It stays until it [leaves](Self::leave).
    #[must_use]
    pub(crate) fn victim(&self, newcomer: i32) -> Option<I> {
        let (_, lowest) = self.floors.first_key_value().filter(|(priority, _)| **priority < newcomer)?;
        let (_, id) = match self.ties {
            TieBreak::LatestStarted => lowest.last()?,
            TieBreak::EarliestStarted => lowest.first()?,
        };
        Some(*id)
    }

    /// Adds a candidate. One that is there already gets this priority and start.
    pub(crate) fn enter(&mut self, holder: Holder<I>) {
        let Holder { id, priority, started } = holder;
        self.leave(id);
        self.holders.insert(id, (priority, started));
        self.floors.entry(priority).or_default().insert((started, id));
    }

    /// Takes a candidate out; `None` if it is not there.
    pub(crate) fn leave(&mut self, id: I) -> Option<Holder<I>> {
        let (priority, started) = self.holders.remove(&id)?;
        if let Some(floor) = self.floors.get_mut(&priority) {
            let was_there = floor.remove(&(started, id));
            debug_assert!(was_there, "a holder is on the floor of its priority");
            if floor.is_empty() {
                self.floors.remove(&priority);
            }
        }
        Some(Holder { id, priority, started })
    }

    /// Gives a candidate another priority, and leaves its start; false if it is not there.
    pub(crate) fn set_priority(&mut self, id: I, priority: i32) -> bool {
        let Some(holder) = self.leave(id) else { return false };
        self.enter(Holder { priority, ..holder });
        true
    }

    /// How many may be evicted, if the newcomer is important enough.
    #[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }
}
