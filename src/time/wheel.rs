//! The timer wheel: values that become ripe at their deadlines.
//!
//! # Words
//!
//! A *tick* is 2^20 nanoseconds, about a millisecond. *Level* 0 has 64 *slots* of one tick; the slots of each further level are
//! 64 times as long, so that eight levels hold every moment there is. *Now* is what the last advance said; what is due in the tick of
//! now is *near*. The *reach* of an advance into another tick is the slot that the new now lies in, on the level where old and
//! new differ. A *crowd* is a slot with more than 256 notes.
//!
//! # Where an entry is
//!
//! (W1) The highest bit in which a deadline differs from now decides the level, the six bits of the deadline that belong to that
//! level decide the slot; without a difference above the bits of a tick, or when it has passed, it is near. All this is computed
//! from deadline and now alone: nothing is stored, nothing can disagree. (W2) `NEVER` is nowhere but in the entries.
//!
//! From (W1) follows: what is near is due before what is in level 0, that before what is in level 1, and so on; within a level slot after
//! slot, never wrapping around. The first occupied slot of the lowest level in use has the earliest deadline.
//!
//! # What an advance into another tick does
//!
//! | notes | then |
//! |---|---|
//! | near; on levels below the reach; in slots before it | lie wholly in the past: all are due |
//! | in the reach | are split: due, or moved to where they belong by (W1) and the new now, always lower |
//! | in slots after the reach, on levels above it | untouched: they differ from the new now where they differed from the old |
//!
//! What is due is sorted by deadline and number once, at the end, so ties keep the order of insertion whatever way each took.
//! The cost is that of the slots in use, not of the ticks that went by.
//!
//! # Promises
//!
//! Never early, to the nanosecond (DLY-1). Ties in order of insertion (DLY-5, SEQ-2). Any deadline is legal; `NEVER` and whatever is
//! not due wake nobody (DLY-4), but for crowds, which may wake early once per level. A removed value is handed back at once (DLY-2).
//! Time that goes back counts as standing still.
//!
//! | operation | cost |
//! |---|---|
//! | `insert` | constant; near: constant on average |
//! | `remove` | constant; near: see there |
//! | `remove_of_page` | 1024 entries, and that of `remove` for each one found |
//! | `next_wake` | constant: nine words and at most 256 notes |
//! | `first` | the notes of the slots that it looks at |
//! | `advance` | per ripe entry: at most nine moves over its life, and its share of a sort |
//!
//! # Memory
//!
//! 12 KiB when empty. Entries: never more pages than the peak filled, empty ones are given back. Notes: as told in `slot` and `near`.
//!
//! # Limits
//!
//! An advance that reaches a long slot moves all its notes at once: some milliseconds for a million. Deadlines are placed by the now of
//! the wheel; an owner that has slept for long advances before it inserts, or pays for one move more.
//!
//! Witnessed by `tests::model::behaves_like_a_sorted_list`, `tests::unit::ties_keep_their_order_across_levels`,
//! `tests::unit::nothing_is_ripe_a_nanosecond_early`, `tests::unit::jump_of_centuries_takes_everything_in_order`,
//! `tests::unit::never_wakes_nobody`, `tests::unit::crowd_costs_one_early_wake_per_level`.
#![forbid(unsafe_code)]

use std::collections::BinaryHeap;
use std::fmt;
use std::mem;

use super::clock::Moment;
use super::entries::Entries;
use super::level::{LEVEL_BITS, Level, SLOTS};
use super::near::Near;
use super::slot::{Note, Slot, Spare};

/// A tick has two to the power of this many nanoseconds.
pub(super) const TICK_BITS: u32 = 20;

/// Enough levels for all bits of a moment.
pub(super) const LEVELS: usize = (u64::BITS - TICK_BITS).div_ceil(LEVEL_BITS) as usize;

/// A slot with more notes than this is a crowd: its first deadline is not searched for, its beginning will do.
pub(super) const CROWD: usize = 256;

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

/// Values and their deadlines; see the page above.
pub(crate) struct Wheel<T> {
    now: Moment,
    insertions: u64,
    entries: Entries<T>,
    near: Near,
    levels: [Level; LEVELS],
    spare: Spare,
    /// Empty between calls; kept for its memory.
    due: Vec<Note>,
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            now,
            insertions: 0,
            entries: Entries::new(),
            near: Near::new(),
            levels: std::array::from_fn(|_| Level::new()),
            spare: Spare::new(),
            due: Vec::new(),
        }
    }

    /// How many values wait here, those that wait for ever included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
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

    /// Puts the note of a live entry where it belongs.
    #[inline]
    fn add(&mut self, note: Note) {
        match self.place(note.deadline) {
            None => self.near.add(note),
            Some(place) => {
                let position = self.levels[place.level].add(place.slot, note, &mut self.spare);
                self.entries.set_position(note.index, position);
            }
        }
    }

    /// Takes a value out before it is ripe; `None` when it has left the wheel.
    #[inline]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        let removed = self.entries.remove(key.index, key.number)?;
        if removed.deadline == Moment::NEVER {
            return Some(removed.value);
        }
        match self.place(removed.deadline) {
            None => self.near.forget(key.number, &self.entries),
            Some(place) => {
                let level = &mut self.levels[place.level];
                if let Some(moved) = level.remove(place.slot, removed.position, &mut self.spare) {
                    self.entries.set_position(moved, removed.position);
                }
            }
        }
        Some(removed.value)
    }

    /// Takes out what is wanted of one page of entries, in no particular order; false when there are no more pages. An owner with a lock lets go of it in between.
    pub(crate) fn remove_of_page(&mut self, page: usize, is_wanted: impl Fn(&T) -> bool, removed: &mut Vec<T>) -> bool {
        let Some(found) = self.entries.find(page, is_wanted) else { return false };
        removed.extend(found.into_iter().filter_map(|(index, number)| self.remove(TimerKey { index, number })));
        true
    }

    /// Where a deadline belongs, seen from now (W1); `None` is near.
    #[inline]
    fn place(&self, deadline: Moment) -> Option<Place> {
        let nanos = deadline.max(self.now).as_nanos();
        let ticks_apart = (nanos ^ self.now.as_nanos()) >> TICK_BITS;
        let level = ticks_apart.checked_ilog2()? / LEVEL_BITS;
        let slot = (nanos >> shift(level as usize)) as usize % SLOTS;
        Some(Place { level: level as usize, slot })
    }

    /// Where the earliest deadline is, unless it is near.
    fn first_place(&self) -> Option<Place> {
        let mut levels = self.levels.iter().enumerate();
        levels.find_map(|(level, slots)| Some(Place { level, slot: slots.first_slot()? }))
    }

    fn slot(&self, place: Place) -> &Slot {
        self.levels[place.level].slot(place.slot)
    }

    /// When to advance next: not later than the earliest deadline. `None` when nothing will ever be ripe.
    ///
    /// It is that deadline exactly, unless that lies in another tick, in a slot with a crowd; then it is the beginning of the slot.
    /// Advancing to it brings the crowd down by a level or more.
    pub(crate) fn next_wake(&self) -> Option<Moment> {
        if let Some(deadline) = self.near.earliest() {
            return Some(deadline);
        }
        let first = self.first_place()?;
        let slot = self.slot(first);
        if slot.len() > CROWD { Some(self.beginning(first)) } else { slot.earliest() }
    }

    /// The earliest deadline; it may have passed. `None` when nothing will ever be ripe. Searches a crowd.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.near.earliest().or_else(|| self.slot(self.first_place()?).earliest())
    }

    /// The values that become ripe first, with their deadlines, at most so many, in the order in which they will. Searches the slots that they lie in.
    pub(crate) fn first(&self, most: usize) -> Vec<(Moment, &T)> {
        // The latest on top.
        let mut first = BinaryHeap::new();
        let mut keep = |notes: &mut dyn Iterator<Item = Note>| {
            for note in notes {
                first.push(note);
                if first.len() > most {
                    first.pop();
                }
            }
            first.len() == most
        };
        let mut has_all = keep(&mut self.near.notes(&self.entries));
        let mut slots = self.levels.iter().flat_map(Level::slots_in_use);
        while let Some(slot) = slots.next().filter(|_| !has_all) {
            has_all = keep(&mut slot.notes());
        }
        let notes = first.into_sorted_vec().into_iter();
        notes.filter_map(|note| Some((note.deadline, self.entries.value(&note)?))).collect()
    }

    /// The first moment of a slot after now: the bits above the level are those of now.
    fn beginning(&self, place: Place) -> Moment {
        let now = self.now.as_nanos();
        let above = now.checked_shr(shift(place.level + 1)).unwrap_or(0);
        Moment::from_nanos(above << LEVEL_BITS << shift(place.level) | (place.slot as u64) << shift(place.level))
    }

    /// Moves out what has `deadline <= now`, by deadline, ties in order of insertion. A `now` before the last one counts as the last one.
    pub(crate) fn advance(&mut self, now: Moment, ripe: &mut Vec<T>) {
        let now = now.max(self.now);
        let mut due = mem::take(&mut self.due);
        match self.place(now) {
            None => {
                self.now = now;
                self.near.take_due(now, &mut due, &self.entries);
            }
            Some(reach) => self.advance_to_tick(now, reach, &mut due),
        }
        self.fire(&mut due, ripe);
        self.due = due;
    }

    /// Takes what is due on the way into another tick; the table on the page above.
    fn advance_to_tick(&mut self, now: Moment, reach: Place, due: &mut Vec<Note>) {
        self.near.take_all(due);
        for level in &mut self.levels[..reach.level] {
            level.take_before(SLOTS, due, &mut self.spare);
        }
        self.levels[reach.level].take_before(reach.slot, due, &mut self.spare);
        let reached = self.levels[reach.level].take_slot(reach.slot);
        self.now = now;
        for chunk in reached {
            self.split(&chunk, due);
            self.spare.give(chunk);
        }
    }

    /// Moves the notes to where they belong from now on.
    fn split(&mut self, notes: &[Note], due: &mut Vec<Note>) {
        for &note in notes {
            if note.deadline <= self.now { due.push(note) } else { self.add(note) }
        }
    }

    /// Turns due notes into ripe values, in order.
    fn fire(&mut self, due: &mut Vec<Note>, ripe: &mut Vec<T>) {
        due.sort_unstable();
        ripe.extend(due.drain(..).filter_map(|note| Some(self.entries.remove(note.index, note.number)?.value)));
        due.shrink_to(KEEP);
    }

    /// Takes everything out, by deadline, ties in order of insertion, what waits for ever at the end. The wheel can be used again.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.near = Near::new();
        self.levels = std::array::from_fn(|_| Level::new());
        let mut all = self.entries.drain();
        all.sort_unstable_by_key(|&(deadline, number, _)| (deadline, number));
        all.into_iter().map(|(_, _, value)| value).collect()
    }
}

/// How long the slots of a level are: two to the power of this many nanoseconds.
const fn shift(level: usize) -> u32 {
    TICK_BITS + LEVEL_BITS * level as u32
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("Wheel");
        shape.field("now", &self.now).field("len", &self.len()).field("next_wake", &self.next_wake());
        shape.finish_non_exhaustive()
    }
}

#[cfg(test)]
impl<T> Wheel<T> {
    /// Notes of the present tick, stale ones included.
    pub(super) fn near_notes(&self) -> usize {
        self.near.len()
    }

    /// For how many notes memory is held.
    pub(super) fn notes_capacity(&self) -> usize {
        let levels = self.levels.iter().map(Level::capacity).sum::<usize>();
        levels + self.near.capacity() + self.spare.capacity() + self.due.capacity()
    }

    /// For how many entries memory is held.
    pub(super) fn entries_capacity(&self) -> usize {
        self.entries.capacity()
    }
}
