//! The timer wheel: values that become ripe at their deadlines.
//!
//! # Words
//!
//! A *tick* is 2^20 nanoseconds, about a millisecond. *Level* 0 has 64 *slots* of one tick; the slots of each further level are
//! 64 times as long, so that eight levels hold every moment there is. *Now* is what the last advance said. The *reach* of an
//! advance is the one slot that the new now lies in and the old one did not.
//!
//! # Where an entry is
//!
//! (W1) The highest bit in which a deadline differs from now decides the level, the six bits of the deadline that belong to that level
//! decide the slot. Both are computed from deadline and now alone: nothing is stored, nothing can disagree. A deadline that
//! has passed is in the slot of now. (W2) `NEVER` is in no slot. From (W1) follows that whatever is in a lower level is due before
//! whatever is in a higher one, and within a level slot after slot, never wrapping around: the first slot of the lowest
//! level in use has the earliest deadline on top.
//!
//! # What an advance does
//!
//! | slots | then |
//! |---|---|
//! | below the level of the reach | lie wholly in the past: all is due |
//! | before the reach, on its level | lie wholly in the past: all is due |
//! | the reach, level 0 | what is due is taken off the top, the rest stays |
//! | the reach, higher levels | split: what is due, and what moves to lower levels, by (W1) with the new now |
//! | after the reach; above its level | untouched: deadlines there differ from the new now where they differed from the old |
//!
//! What is due is sorted by deadline and number once, at the end, so ties keep the order of insertion whatever way each
//! took. The cost is that of the slots in use, not of the ticks that went by.
//!
//! # Promises
//!
//! Never early, to the nanosecond (DLY-1). Ties in order of insertion (DLY-5, SEQ-2). Any deadline is legal; `NEVER` and whatever is not due
//! wake nobody (DLY-4). A removed value is handed back at once (DLY-2). Time that goes back counts as standing still.
//!
//! | operation | cost |
//! |---|---|
//! | `insert` | constant on average; log n when deadlines come in falling order |
//! | `remove` | constant on average, see `slot` |
//! | `next_wake` | eight words and one note |
//! | `advance` | per ripe entry: at most seven moves, and its share of a sort |
//!
//! # Memory
//!
//! 16 KiB when empty. Entries as told in `entries`: never more pages than the peak filled, and empty ones are given back. Notes: at most twice the
//! live ones and a constant per slot in number; vectors that doubled may hold room for twice that.
//!
//! # Limits
//!
//! An advance that enters a long slot moves all its notes at once: a few milliseconds for a million. Deadlines are placed by the now of the wheel;
//! an owner that has slept for long advances before it inserts, or pays for one move more.
//!
//! Witnessed by `tests::model::behaves_like_a_sorted_list`, `tests::unit::ties_keep_their_order_across_levels`,
//! `tests::unit::nothing_is_ripe_a_nanosecond_early`, `tests::unit::jump_of_centuries_takes_everything_in_order`,
//! `tests::unit::never_wakes_nobody`.
#![forbid(unsafe_code)]

use std::fmt;
use std::mem;

use super::clock::Moment;
use super::entries::Entries;
use super::slot::{Note, Slot};

/// A tick has two to the power of this many nanoseconds.
const TICK_BITS: u32 = 20;

/// A level has two to the power of this many slots.
const LEVEL_BITS: u32 = 6;

const SLOTS: usize = 1 << LEVEL_BITS;

/// Enough levels for all bits of a moment.
const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(LEVEL_BITS) as usize;

/// How many due notes memory is kept for.
const KEEP: usize = 1024;

/// Names one insertion into one wheel; goes stale when the value has left it, and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    index: usize,
    number: u64,
}

/// A slot of a level.
#[derive(Clone, Copy)]
struct Place {
    level: usize,
    slot: usize,
}

/// The slots of one length.
struct Level {
    /// Bit n tells whether slot n has live notes.
    occupied: u64,
    slots: Box<[Slot; SLOTS]>,
}

impl Level {
    fn new() -> Self {
        Self { occupied: 0, slots: Box::new([const { Slot::new() }; SLOTS]) }
    }

    #[inline]
    fn add(&mut self, slot: usize, note: Note) {
        self.occupied |= 1 << slot;
        self.slots[slot].add(note);
    }

    #[inline]
    fn forget<T>(&mut self, slot: usize, number: u64, entries: &Entries<T>) {
        self.slots[slot].forget(number, entries);
        self.note_vacancy(slot);
    }

    #[inline]
    fn note_vacancy(&mut self, slot: usize) {
        if self.slots[slot].is_empty() {
            self.occupied &= !(1 << slot);
        }
    }

    /// Moves everything out of the slots in the set.
    fn take_slots(&mut self, set: u64, due: &mut Vec<Note>) {
        let mut left = self.occupied & set;
        self.occupied &= !set;
        while left != 0 {
            self.slots[left.trailing_zeros() as usize].take_all(due);
            left &= left - 1;
        }
    }

    fn earliest(&self) -> Option<Moment> {
        self.slots.get(self.occupied.trailing_zeros() as usize)?.earliest()
    }
}

/// Values and their deadlines; see the page above.
pub(crate) struct Wheel<T> {
    now: Moment,
    insertions: u64,
    entries: Entries<T>,
    levels: [Level; LEVELS],
    /// Empty between calls; kept for its memory.
    due: Vec<Note>,
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: Moment) -> Self {
        let levels = std::array::from_fn(|_| Level::new());
        Self { now, insertions: 0, entries: Entries::new(), levels, due: Vec::new() }
    }

    /// How many values wait here, those that wait for ever included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value in, to become ripe at `deadline`: at the next advance when that has passed already, never at [`Moment::NEVER`].
    #[inline]
    pub(crate) fn insert(&mut self, deadline: Moment, value: T) -> TimerKey {
        let number = self.insertions;
        self.insertions += 1;
        let index = self.entries.insert(number, deadline, value);
        if deadline != Moment::NEVER {
            self.add(Note { deadline, number, index });
        }
        TimerKey { index, number }
    }

    #[inline]
    fn add(&mut self, note: Note) {
        let place = self.place(note.deadline);
        self.levels[place.level].add(place.slot, note);
    }

    /// Takes a value out before it is ripe; `None` when it has left the wheel.
    #[inline]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let (deadline, value) = self.entries.remove(key.index, key.number)?;
        if deadline != Moment::NEVER {
            let place = self.place(deadline);
            self.levels[place.level].forget(place.slot, key.number, &self.entries);
        }
        Some(value)
    }

    /// Where a deadline belongs, seen from now (W1).
    #[inline]
    fn place(&self, deadline: Moment) -> Place {
        let nanos = deadline.max(self.now).as_nanos();
        let ticks_apart = (nanos ^ self.now.as_nanos()) >> TICK_BITS;
        let level = ticks_apart.checked_ilog2().map_or(0, |bit| bit / LEVEL_BITS);
        let slot = (nanos >> (TICK_BITS + LEVEL_BITS * level)) as usize % SLOTS;
        Place { level: level as usize, slot }
    }

    /// When to advance next: not later than the earliest deadline. `None` when nothing will ever be ripe.
    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.next_deadline()
    }

    /// The earliest deadline; it may have passed. `None` when nothing will ever be ripe.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.levels.iter().find(|level| level.occupied != 0)?.earliest()
    }

    /// Moves out what has `deadline <= now`, by deadline, ties in order of insertion. A `now` before the last one counts as the last one.
    pub(crate) fn advance(&mut self, now: Moment, ripe: &mut Vec<T>) {
        let now = now.max(self.now);
        let reach = self.place(now);
        let mut due = mem::take(&mut self.due);
        for level in &mut self.levels[..reach.level] {
            level.take_slots(u64::MAX, &mut due);
        }
        self.levels[reach.level].take_slots((1 << reach.slot) - 1, &mut due);
        self.now = now;
        if self.levels[reach.level].occupied >> reach.slot & 1 != 0 {
            self.enter(reach, &mut due);
        }
        self.fire(due, ripe);
    }

    /// Takes what is due from the slot that now lies in, and moves the rest to where it belongs from now on.
    fn enter(&mut self, reach: Place, due: &mut Vec<Note>) {
        let level = &mut self.levels[reach.level];
        let slot = &mut level.slots[reach.slot];
        if reach.level == 0 {
            slot.take_due(self.now, due, &self.entries);
            level.note_vacancy(reach.slot);
            return;
        }
        let notes = slot.take_live(&self.entries);
        level.note_vacancy(reach.slot);
        for note in notes {
            if note.0.deadline <= self.now { due.push(note.0) } else { self.add(note.0) }
        }
    }

    /// Turns due notes into ripe values, in order.
    fn fire(&mut self, mut due: Vec<Note>, ripe: &mut Vec<T>) {
        due.sort_unstable();
        let entries = &mut self.entries;
        ripe.extend(due.drain(..).filter_map(|note| Some(entries.remove(note.index, note.number)?.1)));
        due.shrink_to(KEEP);
        self.due = due;
    }

    /// Takes everything out, by deadline, ties in order of insertion, what waits for ever at the end. The wheel can be used again.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.levels = std::array::from_fn(|_| Level::new());
        let mut all = self.entries.drain();
        all.sort_unstable_by_key(|&(deadline, number, _)| (deadline, number));
        all.into_iter().map(|(_, _, value)| value).collect()
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("Wheel");
        shape.field("now", &self.now).field("len", &self.len()).field("next_deadline", &self.next_deadline());
        shape.finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<T> Wheel<T> {
    /// Notes held, stale ones included.
    pub(super) fn notes(&self) -> usize {
        self.slots().map(Slot::notes).sum()
    }

    /// For how many notes and for how many entries memory is held.
    pub(super) fn capacity(&self) -> (usize, usize) {
        (self.slots().map(Slot::capacity).sum::<usize>() + self.due.capacity(), self.entries.capacity())
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.levels.iter().flat_map(|level| level.slots.iter())
    }
}
