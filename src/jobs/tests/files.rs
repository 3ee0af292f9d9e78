//! Stores in files: who may open one, what is none.

use std::path::PathBuf;

use crate::jobs::{RedbStore, StateStore, StoreErrorKind};

/// A directory that is gone after the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("overstrand-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What is saved is there for the next one, what is removed is not; a store that is open is locked, and free afterwards.
#[test]
fn store_is_there_for_the_next_process() {
    let directory = Directory::new("next");
    let path = directory.file("jobs.redb");
    let store = RedbStore::open(&path).expect("it is made");
    store.save("index", b"row 7").expect("there is room");
    store.save("report", b"page 2").expect("there is room");
    store.remove("report").expect("it was there");
    store.remove("nothing").expect("it is not there");
    assert_eq!(RedbStore::open(&path).expect_err("it is open").kind(), StoreErrorKind::Locked);
    drop(store);
    let store = RedbStore::open(&path).expect("it is there");
    assert_eq!(store.load("index").expect("it loads").as_deref(), Some(&b"row 7"[..]));
    assert_eq!(store.load("report").expect("it can be asked"), None);
    assert!(!directory.file("jobs.redb.new").exists());
}

/// A crash while a store is made leaves something beside its place, which is made anew.
#[test]
fn unfinished_store_is_made_anew() {
    let directory = Directory::new("unfinished");
    std::fs::write(directory.file("jobs.redb.new"), [7; 10_000]).expect("there is room");
    let store = RedbStore::open(directory.file("jobs.redb")).expect("it is made");
    store.save("index", b"row 7").expect("there is room");
}

/// F65: what is no store is an error, and is left as it is.
#[test]
fn other_files_are_refused() {
    let directory = Directory::new("others");
    let whole = directory.file("whole");
    RedbStore::open(&whole).expect("it is made").save("index", b"row 7").expect("there is room");
    let whole = std::fs::read(whole).expect("it is there");
    let cases: [(&str, &[u8], StoreErrorKind); 3] = [
        ("empty", b"", StoreErrorKind::Truncated),
        ("text", b"a letter to nobody", StoreErrorKind::Foreign),
        ("cut", &whole[..100], StoreErrorKind::Truncated),
    ];
    for (name, bytes, kind) in cases {
        let path = directory.file(name);
        std::fs::write(&path, bytes).expect("there is room");
        let error = RedbStore::open(&path).expect_err("it is none");
        assert_eq!((error.kind(), error.key()), (kind, None), "{name}: {error}");
        assert_eq!(std::fs::read(&path).expect("it is there"), bytes, "{name}");
    }
    let error = RedbStore::open(&directory.0).expect_err("a directory is none");
    assert_eq!(error.kind(), StoreErrorKind::Failed);
    let path = directory.file("foreign.redb");
    {
        let table = redb::TableDefinition::<u64, u64>::new("somebody's");
        let database = redb::Database::create(&path).expect("there is room");
        let transaction = database.begin_write().expect("it is open");
        transaction.open_table(table).expect("it is made").insert(1, 2).expect("there is room");
        transaction.commit().expect("there is room");
    }
    assert_eq!(RedbStore::open(&path).expect_err("another program's").kind(), StoreErrorKind::Foreign);
}
