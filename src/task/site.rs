//! Where tasks are posted from: an interned tree of post sites, so that a task carries its whole origin in one word (POST-3).
//!
//! A [`Site`] is a source location plus the site of the task that posted from there, up to four levels. Sites are interned: the same location below
//! the same parent is the same object, for the life of the process. The tree is bounded: chains are at most [`CHAIN_MAX`] long, and
//! beyond [`SITES_MAX`] chains new ones shrink to the location alone, of which a program has finitely many.
//!
//! A cache per thread answers the usual question (same loop, same location) without the table's lock.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::ptr;

use crate::sync::local;
use crate::sync::unmodelled::{Mutex, OnceCell};

/// Post sites per chain, the task's own included.
const CHAIN_MAX: usize = 4;

/// Interned chains beyond which only locations are told apart. At about 60 bytes each this is some 4 MB.
const SITES_MAX: usize = 1 << 16;

const CACHE_SLOTS: usize = 64;

/// A post site and the sites it descends from.
#[derive(Debug)]
pub(crate) struct Site {
    location: &'static Location<'static>,
    parent: Option<&'static Site>,
    depth: usize,
    index: u32,
}

/// The parent's address, and the place by value: the compiler may keep several copies of one location.
type Key = (usize, &'static Location<'static>);

/// The interned sites, by key and by number.
#[derive(Default)]
struct Table {
    by_key: HashMap<Key, &'static Site>,
    by_index: Vec<&'static Site>,
}

static TABLE: OnceCell<Mutex<Table>> = OnceCell::new();

#[derive(Clone, Copy)]
struct Cached {
    parent: Option<&'static Site>,
    location: &'static Location<'static>,
    site: &'static Site,
}

local! {
    static CACHE: [Cell<Option<Cached>>; CACHE_SLOTS] = [const { Cell::new(None) }; CACHE_SLOTS];
}

fn address_of<T>(reference: Option<&T>) -> usize {
    reference.map_or(0, |reference| ptr::from_ref(reference).addr())
}

fn same<T>(left: Option<&'static T>, right: Option<&'static T>) -> bool {
    address_of(left) == address_of(right)
}

impl Site {
    /// The site of a post from `location` by a task of `parent` (`None`: by no task).
    #[inline]
    pub(crate) fn intern(parent: Option<&'static Self>, location: &'static Location<'static>) -> &'static Self {
        let mixed = (address_of(parent) >> 4) ^ (address_of(Some(location)) >> 3);
        let slot = mixed % CACHE_SLOTS;
        CACHE
            .try_with(|cache| match cache[slot].get() {
                Some(hit) if same(hit.parent, parent) && ptr::eq(hit.location, location) => hit.site,
                _ => {
                    let site = Self::intern_in_table(parent, location);
                    cache[slot].set(Some(Cached { parent, location, site }));
                    site
                }
            })
            .unwrap_or_else(|_| Self::intern_in_table(parent, location))
    }

    #[cold]
    fn intern_in_table(parent: Option<&'static Self>, location: &'static Location<'static>) -> &'static Self {
        let mut table = TABLE.get_or_init(Mutex::default).lock();
        let parent = if table.by_index.len() < SITES_MAX { parent } else { None };
        let parent = parent.and_then(|parent| parent.shortened(&mut table));
        Self::entry(&mut table, parent, location)
    }

    fn entry(table: &mut Table, parent: Option<&'static Self>, location: &'static Location<'static>) -> &'static Self {
        let depth = parent.map_or(1, |parent| parent.depth + 1);
        let Table { by_key, by_index } = table;
        by_key.entry((address_of(parent), location)).or_insert_with(|| {
            let index = u32::try_from(by_index.len()).unwrap_or(u32::MAX);
            let site = Box::leak(Box::new(Self { location, parent, depth, index }));
            by_index.push(site);
            site
        })
    }

    /// A number for the site, for where a reference does not fit.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The site of that number.
    pub(crate) fn by_index(index: u32) -> Option<&'static Self> {
        TABLE.get()?.lock().by_index.get(index as usize).copied()
    }

    /// The same chain without its oldest sites, so that one more fits.
    fn shortened(&'static self, table: &mut Table) -> Option<&'static Self> {
        if self.depth < CHAIN_MAX {
            return Some(self);
        }
        let newest: Vec<_> = self.chain().take(CHAIN_MAX - 1).collect();
        newest.into_iter().rev().fold(None, |parent, location| Some(Self::entry(table, parent, location)))
    }

    pub(crate) fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// The locations of the chain, the task's own first.
    pub(crate) fn chain(&'static self) -> impl Iterator<Item = &'static Location<'static>> {
        std::iter::successors(Some(self), |site| site.parent).map(|site| site.location)
    }
}

/// The location, then those it was posted from.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location)?;
        let mut ancestor = self.parent;
        while let Some(site) = ancestor {
            write!(f, " < {}", site.location)?;
            ancestor = site.parent;
        }
        Ok(())
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    #[track_caller]
    fn here(parent: Option<&'static Site>) -> &'static Site {
        Site::intern(parent, Location::caller())
    }

    #[test]
    fn same_place_and_parent_is_the_same_site() {
        let sites: Vec<_> = (0..3).map(|_| here(None)).collect();
        assert!(sites.iter().all(|site| ptr::eq(*site, sites[0])));
        assert!(!ptr::eq(sites[0], here(Some(sites[0]))));
    }

    #[test]
    fn chain_keeps_the_four_newest_sites() {
        let (a, b, c, d, e) = (line!(), line!(), line!(), line!(), line!() + 2);
        let _ = (a, b, c, d);
        let first = here(None);
        let second = here(Some(first));
        let third = here(Some(second));
        let fourth = here(Some(third));
        let fifth = here(Some(fourth));
        let lines: Vec<_> = fifth.chain().map(Location::line).collect();
        assert_eq!(lines, [e + 4, e + 3, e + 2, e + 1]);
        assert_eq!(first.chain().count(), 1);
    }

    #[test]
    fn a_task_that_posts_itself_for_ever_stays_in_a_bounded_tree() {
        let mut site = here(None);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            site = here(Some(site));
            seen.insert(ptr::from_ref(site));
        }
        assert!(seen.len() <= CHAIN_MAX, "{} sites", seen.len());
    }
}
