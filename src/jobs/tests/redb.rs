//! Crashes, faults and damage, at every operation on the disk: what was acknowledged is there, or a newer complete state.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use super::disk::{Disk, Plan, throw};
use crate::jobs::{RedbStore, StateStore, StoreErrorKind};
use crate::sync::Mutex;
use crate::sync::unmodelled::{AtomicUsize, Ordering};

const KEYS: [&str; 2] = ["index", "report"];

fn open(disk: &Disk, is_new: bool) -> RedbStore {
    RedbStore::builder().on(Box::new(disk.clone()), is_new).expect("it opens")
}

/// The n-th state of a key: all of its bytes tell which it is. Two of them do not fit into a page, so a commit of one needs pages of an earlier commit of the other.
fn state(number: u64) -> Vec<u8> {
    vec![number as u8; 3_000 + 100 * number as usize]
}

/// The number of a state, which must be whole.
fn number(bytes: &[u8]) -> u64 {
    let number = u64::from(bytes[0]);
    assert_eq!(bytes, state(number), "a mixture");
    number
}

/// What was acknowledged of each key, and what was tried.
#[derive(Default)]
struct Known {
    acknowledged: BTreeMap<&'static str, u64>,
    tried: BTreeMap<&'static str, u64>,
    refused: u64,
}

impl Known {
    fn save(&mut self, store: &RedbStore, key: &'static str, number: u64) {
        self.tried.insert(key, number);
        match store.save(key, &state(number)) {
            Ok(()) => _ = self.acknowledged.insert(key, number),
            Err(error) => {
                assert_eq!(error.key(), Some(key), "{error}");
                self.refused += 1;
            }
        }
    }

    fn work(&mut self, store: &RedbStore, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|number| KEYS.into_iter().for_each(|key| self.save(store, key, number)));
    }

    #[track_caller]
    fn check(&self, store: &RedbStore, what: &str) {
        for key in KEYS {
            let found = store.load(key).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = found.map_or(0, |bytes| number(&bytes));
            let least = self.acknowledged.get(key).copied().unwrap_or(0);
            let most = self.tried.get(key).copied().unwrap_or(0);
            assert!((least..=most).contains(&found), "{what}: {key} is {found}, of {least} to {most}");
        }
    }
}

/// I48, F63: the power goes at every operation, and any part of what was not synced is on the disk.
#[test]
fn power_cut_anywhere_leaves_the_last_acknowledged_save() {
    let whole = Disk::default();
    let store = open(&whole, true);
    let first = whole.made() + 1;
    Known::default().work(&store, 1..=3);
    let last = whole.made();
    assert!(last - first > 20, "it is about the operations of saves: {first} to {last}");
    for at in first..=last {
        for seed in 0..4 {
            let (disk, mut known) = (Disk::default(), Known::default());
            let store = open(&disk, true);
            disk.plan(Plan::CrashAt(at));
            known.work(&store, 1..=3);
            drop(store);
            let what = format!("power cut at {at}, seed {seed}");
            let left = disk.after_power_cut(seed);
            let store = open(&left, false);
            known.check(&store, &what);
            known.work(&store, 4..=4);
            known.check(&store, &what);
        }
    }
}

/// I49, F64: an error at every operation, once, some times and for good: it is the error of that save, what was acknowledged can be read, and the store goes on; also a sync that failed makes nothing true later.
#[test]
fn error_of_the_disk_is_an_error_of_that_save() {
    let whole = Disk::default();
    let store = open(&whole, true);
    let first = whole.made() + 1;
    Known::default().work(&store, 1..=2);
    let last = whole.made();
    for at in first..=last {
        for count in [1, 2, u64::MAX] {
            let (disk, mut known) = (Disk::default(), Known::default());
            let store = open(&disk, true);
            disk.plan(Plan::FailAt(at, count));
            known.work(&store, 1..=2);
            let what = format!("{count} errors from {at}");
            assert!(known.refused > 0 && store.stats().failed > 0, "{what}");
            disk.plan(Plan::Never);
            known.check(&store, &what);
            known.save(&store, KEYS[0], 3);
            assert_eq!(known.acknowledged.get(KEYS[0]), Some(&3), "{what}");
            for seed in 0..2 {
                known.check(&open(&disk.after_power_cut(seed), false), &format!("{what}, then a power cut"));
            }
        }
    }
}

/// I49: the system's error is found below the store's.
#[test]
fn full_disk_is_told() {
    let disk = Disk::default();
    let store = open(&disk, true);
    disk.plan(Plan::FailAt(disk.made() + 1, u64::MAX));
    let error = store.save("index", b"row 7").expect_err("there is no room");
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::StorageFull), "{error}");
    assert_eq!((error.kind(), error.key()), (StoreErrorKind::Failed, Some("index")));
}

/// I51, F65: a bit turned over anywhere in the file: what loads is what was saved, nothing panics.
#[test]
fn damaged_file_is_an_error_or_what_was_saved() {
    let disk = Disk::default();
    let store = open(&disk, true);
    Known::default().work(&store, 1..=2);
    drop(store);
    let image = disk.image();
    let records: Vec<usize> = (0..image.len()).filter(|at| image[*at..].starts_with(b"OVSR")).collect();
    let written: Vec<usize> = (0..image.len()).filter(|at| image[*at] != 0).collect();
    let (mut seed, mut errors) = (1, 0);
    for turn in 0..120 {
        let mut one_of = |places: &[usize]| places[throw(&mut seed) as usize % places.len()];
        let at = if turn % 2 == 0 { one_of(&written) } else { one_of(&records) + turn };
        let mut damaged = image.clone();
        damaged[at] ^= 1 << (turn % 8);
        let opened = RedbStore::builder().on(Box::new(Disk::of(damaged)), false);
        let Ok(store) = opened.inspect_err(|_| errors += 1) else { continue };
        for key in KEYS {
            match store.load(key) {
                Ok(found) => assert!(found.is_none_or(|bytes| number(&bytes) <= 2), "byte {at}"),
                Err(error) => {
                    assert_eq!(error.key(), Some(key));
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 10, "only {errors} of {} were found", records.len());
    for end in (0..image.len()).step_by(image.len() / 12) {
        let opened = RedbStore::builder().on(Box::new(Disk::of(image[..end].to_vec())), false);
        if let Ok(store) = opened {
            for key in KEYS {
                assert!(store.load(key).is_ok_and(|found| found.is_none_or(|bytes| number(&bytes) <= 2)), "{end}");
            }
        }
    }
}

/// A record that is too large never gets to the disk.
#[test]
fn large_state_is_refused() {
    let disk = Disk::default();
    let store = RedbStore::builder().record_max(1_000).on(Box::new(disk.clone()), true).expect("it opens");
    let made = disk.made();
    let error = store.save("index", &[0; 1_000]).expect_err("five bytes too many");
    assert_eq!((error.kind(), error.key(), disk.made()), (StoreErrorKind::TooLarge, Some("index"), made));
    store.save("index", &[0; 995]).expect("it fits");
    assert!(
        store.generation("index").expect("it loads")
            < store.save("b", b"").and(store.generation("b")).expect("it loads")
    );
}

/// A disk whose syncs wait until they may.
#[derive(Debug)]
struct Slow(Disk, Arc<(AtomicUsize, Mutex<()>)>);

impl StorageBackend for Slow {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read(offset, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        // Relaxed: who looks waits for a number.
        self.1.0.fetch_add(1, Ordering::Relaxed);
        drop(self.1.1.lock());
        self.0.sync_data(eventual)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// Saves that come while a commit is under way are all in the next one.
#[test]
fn saves_share_commits() {
    let syncs = Arc::new((AtomicUsize::new(0), Mutex::new(())));
    let slow = Slow(Disk::default(), Arc::clone(&syncs));
    let store = RedbStore::builder().on(Box::new(slow), true).expect("it opens");
    let held = syncs.1.lock();
    // Relaxed: as above.
    let before = syncs.0.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| store.save("first", b"1"));
        // Relaxed: as above.
        while syncs.0.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        let store = &store;
        let others: Vec<_> = (0..6).map(|number| scope.spawn(move || store.save(&format!("{number}"), b"2"))).collect();
        while store.waiting() < 6 {
            std::thread::yield_now();
        }
        drop(held);
        first.join().expect("no panic").expect("it is saved");
        others.into_iter().for_each(|other| other.join().expect("no panic").expect("it is saved"));
    });
    let stats = store.stats();
    assert_eq!((stats.saves, stats.commits, stats.failed), (7, 2, 0));
}
