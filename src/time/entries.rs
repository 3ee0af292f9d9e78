//! Where the values of a wheel live until they are ripe or removed.
//!
//! Words: an *entry* is a value with its deadline, its number and the position of its note in the slot that has the note; an *index*
//! says where the entry lives. Entries live in *pages* of 1024. A page is *open* when it has room. Positions are kept apart from the rest,
//! close together, because splitting a slot writes those and nothing else.
//!
//! Invariants: (E1) a number is given to one entry ever, so an index with a number names that entry or nothing, however often the
//! place was used again. (E2) `open` lists exactly the pages that have room, each once. (E3) A page without a live entry holds no
//! memory. (E4) There are as many positions as places.
//!
//! Memory: a new page is begun only when all others are full, so there are never more pages than the peak of live entries filled; a page
//! that becomes empty is given back, but for one that is kept at hand. What stays of it are eight words. The table of pages doubles
//! as it grows, the pages themselves are never copied (the first one grows from nothing, so that a small wheel is small).
//!
//! Limits: entries never move, so one live entry holds its page.
//!
//! Witnessed by `tests::unit::memory_of_removed_entries_is_used_again`, `tests::unit::empty_pages_are_given_back`,
//! `tests::unit::stale_key_is_refused`.
#![forbid(unsafe_code)]

use std::mem;

use super::clock::Moment;
use super::slot::Note;
use crate::zoo;

/// Entries per page.
pub(super) const PAGE: usize = 1024;

/// The end of a page's list of vacant places.
const END: usize = usize::MAX;

/// A place in a page.
enum Entry<T> {
    Vacant { next: usize },
    Live { number: u64, deadline: Moment, value: T },
}

/// What was an entry.
pub(super) struct Removed<T> {
    pub(super) deadline: Moment,
    /// Means something only when the note is in a level.
    pub(super) position: usize,
    pub(super) value: T,
}

/// A run of places; the vacant ones are linked.
struct Page<T> {
    places: Vec<Entry<T>>,
    positions: Vec<usize>,
    vacant: usize,
    live: usize,
}

impl<T> Page<T> {
    /// A page without memory.
    const fn new() -> Self {
        Self { places: Vec::new(), positions: Vec::new(), vacant: END, live: 0 }
    }

    fn with_capacity(room: usize) -> Self {
        Self { places: Vec::with_capacity(room), positions: Vec::with_capacity(room), ..Self::new() }
    }

    fn is_full(&self) -> bool {
        self.live == PAGE
    }

    /// Puts an entry into a vacant place, or behind the last one, and says where.
    #[inline]
    fn insert(&mut self, entry: Entry<T>) -> usize {
        self.live += 1;
        let offset = self.vacant;
        let Some(place) = self.places.get_mut(offset) else {
            self.places.push(entry);
            self.positions.push(0);
            return self.places.len() - 1;
        };
        if let Entry::Vacant { next } = mem::replace(place, entry) {
            self.vacant = next;
        }
        offset
    }

    /// Takes out the entry of this number.
    #[inline]
    fn remove(&mut self, offset: usize, number: u64) -> Option<Removed<T>> {
        let place = self.places.get_mut(offset).filter(|place| place.has(number))?;
        let vacant = Entry::Vacant { next: self.vacant };
        let Entry::Live { deadline, value, .. } = mem::replace(place, vacant) else {
            return None;
        };
        self.vacant = offset;
        self.live -= 1;
        Some(Removed { deadline, position: self.positions[offset], value })
    }

    /// Moves the memory out; none of the places is live.
    fn surrender(&mut self) -> Self {
        let mut emptied = mem::replace(self, Self::new());
        emptied.places.clear();
        emptied.positions.clear();
        emptied.vacant = END;
        emptied
    }
}

impl<T> Entry<T> {
    #[inline]
    fn has(&self, wanted: u64) -> bool {
        matches!(self, Self::Live { number, .. } if *number == wanted || zoo::has("Z12"))
    }
}

/// All entries of a wheel.
pub(super) struct Entries<T> {
    pages: Vec<Page<T>>,
    open: Vec<usize>,
    spare: Option<Page<T>>,
    live: usize,
}

impl<T> Entries<T> {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), open: Vec::new(), spare: None, live: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Stores a value and returns its index.
    #[inline]
    pub(super) fn insert(&mut self, number: u64, deadline: Moment, value: T) -> usize {
        let at = match self.open.last() {
            Some(&at) => at,
            None => self.begin_page(),
        };
        let page = &mut self.pages[at];
        if page.places.capacity() == 0 {
            *page = fresh_page(&mut self.spare, at);
        }
        let offset = page.insert(Entry::Live { number, deadline, value });
        if page.is_full() {
            self.open.pop();
        }
        self.live += 1;
        at * PAGE + offset
    }

    #[cold]
    fn begin_page(&mut self) -> usize {
        let at = self.pages.len();
        self.pages.push(Page::new());
        self.open.push(at);
        at
    }

    /// Takes out the entry of this index and number, if it is still there.
    #[inline]
    pub(super) fn remove(&mut self, index: usize, number: u64) -> Option<Removed<T>> {
        let at = index / PAGE;
        let page = self.pages.get_mut(at)?;
        let was_full = page.is_full();
        let removed = page.remove(index % PAGE, number)?;
        self.live -= 1;
        if was_full {
            self.open.push(at);
        }
        if page.live == 0 {
            self.spare = Some(page.surrender());
        }
        Some(removed)
    }

    /// The entries of one page whose values are wanted, by index and number; `None` when there are no more pages.
    pub(super) fn find(&self, page: usize, is_wanted: impl Fn(&T) -> bool) -> Option<Vec<(usize, u64)>> {
        let places = self.pages.get(page)?.places.iter().enumerate();
        let wanted = places.filter_map(|(offset, place)| match place {
            Entry::Live { number, value, .. } if is_wanted(value) => Some((page * PAGE + offset, *number)),
            _ => None,
        });
        Some(wanted.collect())
    }

    /// Writes down that the note of a live entry has come to another position.
    #[inline]
    pub(super) fn set_position(&mut self, index: usize, to: usize) {
        let position = self.pages.get_mut(index / PAGE).and_then(|page| page.positions.get_mut(index % PAGE));
        if let Some(position) = position {
            *position = to;
        }
    }

    /// True while the entry that the note is about has been neither removed nor fired.
    #[inline]
    pub(super) fn is_live(&self, note: &Note) -> bool {
        let place = self.pages.get(note.index / PAGE).and_then(|page| page.places.get(note.index % PAGE));
        place.is_some_and(|place| place.has(note.number))
    }

    /// The value that the note is about, if it has been neither removed nor fired.
    pub(super) fn value(&self, note: &Note) -> Option<&T> {
        match self.pages.get(note.index / PAGE)?.places.get(note.index % PAGE)? {
            Entry::Live { number, value, .. } if *number == note.number => Some(value),
            _ => None,
        }
    }

    /// Takes out everything and gives all memory back; in no particular order.
    pub(super) fn drain(&mut self) -> Vec<(Moment, u64, T)> {
        let all = mem::replace(self, Self::new());
        let places = all.pages.into_iter().flat_map(|page| page.places);
        let live = places.filter_map(|place| match place {
            Entry::Vacant { .. } => None,
            Entry::Live { number, deadline, value, .. } => Some((deadline, number, value)),
        });
        live.collect()
    }
}

/// A page with memory: the spare one, or room for all its entries at once. The first page grows from nothing.
#[cold]
fn fresh_page<T>(spare: &mut Option<Page<T>>, at: usize) -> Page<T> {
    let room = if at == 0 { 0 } else { PAGE };
    spare.take().unwrap_or_else(|| Page::with_capacity(room))
}

#[cfg(test)]
impl<T> Entries<T> {
    /// For how many entries memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.pages.iter().chain(&self.spare).map(|page| page.places.capacity()).sum()
    }
}
