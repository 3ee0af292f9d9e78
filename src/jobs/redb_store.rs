//! A store in one file, by redb: what is acknowledged is on the disk.
//!
//! Saves are *gathered*: who comes while a commit is under way is in the next one, with all others who came. One of those who wait *leads*: it makes the commit, in its own call. No thread belongs to the store.
//!
//! | a save is | where | leaves it by |
//! |---|---|---|
//! | *waiting* | `queue` | the next leader takes it |
//! | *in a commit* | with the leader | its end, which is the answer of all that are in it |
//!
//! Witnessed by `jobs::tests` and `tests/p_kill.rs`.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, Durability, ReadableTable, StorageBackend, TableDefinition, TableHandle};

use super::backing::{Backing, Found, find, put_in_place};
use super::record;
use super::store::{StateStore, StoreError, StoreErrorKind};
use crate::park::{Bell, Wait};
use crate::sync::Mutex;
use crate::task::panic::{Panicked, catch};
use crate::zoo;

const STATES: TableDefinition<&str, &[u8]> = TableDefinition::new("overstrand states");
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("overstrand facts");
/// The layout of the tables.
const FORMAT: u64 = 1;

const RECORD_MAX: usize = 1 << 20;
const FILE_MAX: u64 = 256 << 20;
const CACHE: usize = 8 << 20;

type Redb<T> = Result<T, Box<redb::Error>>;

/// Boxes whatever error redb has for it.
fn redb<T>(result: Result<T, impl Into<redb::Error>>) -> Redb<T> {
    result.map_err(|error| Box::new(error.into()))
}

/// One save or removal that waits.
struct Change {
    key: Box<str>,
    /// `None` removes it.
    state: Option<Vec<u8>>,
    answer: Arc<Answer>,
}

#[derive(Default)]
struct Answer(Mutex<Option<Result<(), StoreError>>>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Change>,
    is_led: bool,
}

/// How a waiting save goes on.
enum Turn {
    Answered(Result<(), StoreError>),
    Lead,
}

/// A [`StateStore`] in one file, by [redb](https://docs.rs/redb): states survive the process, and the machine (RES-3). Needs the feature `store-redb`.
///
/// # Guarantees
///
/// - A save that returned `Ok` is on the disk, as far as the system's `fdatasync` is true. After a crash at any point the store has the last state that was acknowledged, or a newer complete one.
/// - Saves of several jobs share commits: those that come while one is under way are all in the next. A save is made when a job yields, not at each step, so there is never one sync per step.
/// - Each record has its length, version, generation and a CRC-32C. A damaged one is an error with its key, and so is one of a newer version; it stays until it is saved over or removed, and others load.
/// - An error of the disk is the error of the saves in that commit. Nothing of them is acknowledged later; the next save is made as if they had not been tried. What was saved before can be read.
/// - The file has one user: another process that opens it has [`StoreErrorKind::Locked`].
///
/// # Not guaranteed
///
/// Protection from whoever may write the file. The file never shrinks by itself.
///
/// # Defaults
///
/// | setting | default | source |
/// |---|---|---|
/// | `gather` | zero | a lone job would wait for nobody; saves that come together are gathered all the same |
/// | `record_max` | 1 MiB | a state that is larger belongs into a file of its own |
/// | `file_max` | 256 MiB | |
///
/// # Examples
///
/// ```
/// use overstrand::{RedbStore, StateStore, StoreErrorKind};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let directory = std::env::temp_dir().join(format!("overstrand-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let path = directory.join("jobs.redb");
/// let store = RedbStore::open(&path)?;
/// store.save("index", b"row 7")?;
/// let second = RedbStore::open(&path).expect_err("it is in use");
/// assert_eq!(second.kind(), StoreErrorKind::Locked);
/// drop(store);
///
/// let store = RedbStore::open(&path)?;
/// assert_eq!(store.load("index")?.as_deref(), Some(&b"row 7"[..]));
/// # drop(store);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # }
/// ```
pub struct RedbStore {
    backing: Arc<Backing>,
    /// `None` after an error, until the next call opens it.
    database: Mutex<Option<Arc<Database>>>,
    queue: Mutex<Queue>,
    /// Rings when a commit is over.
    over: Bell,
    /// Rings when a save has come.
    came: Bell,
    gather: Duration,
    record_max: usize,
    counts: Mutex<StoreStats>,
}

/// What a [`RedbStore`] has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Saves and removals that were acknowledged.
    pub saves: u64,
    /// Commits, each with its sync, that they were in.
    pub commits: u64,
    /// Commits that failed.
    pub failed: u64,
}

impl RedbStore {
    /// Opens the store in that file, or makes one.
    ///
    /// # Errors
    ///
    /// [`StoreError`], by [`kind`](StoreError::kind): `Locked`, it is open elsewhere; `Foreign`, it is something else; `Newer`; `Corrupt`; `Failed`, with the system's error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder().open(path)
    }

    /// Configures a store.
    pub fn builder() -> RedbStoreBuilder {
        RedbStoreBuilder { gather: Duration::ZERO, record_max: RECORD_MAX, file_max: FILE_MAX }
    }

    /// Which save in the life of the store the state of that key is from; `None` if there is none. It grows with each save of any key.
    ///
    /// # Errors
    ///
    /// As [`load`](StateStore::load).
    pub fn generation(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.read(key, |generation, _| generation)
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        *self.counts.lock()
    }

    /// How many changes wait for the next commit.
    #[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// The database; opened anew after an error.
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut database = self.database.lock();
        if let Some(database) = &*database {
            return Ok(Arc::clone(database));
        }
        let opened = Arc::new(open_database(&self.backing)?);
        *database = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Gives a database up that has failed; false when another call has.
    fn give_up(&self, failed: &Arc<Database>) -> bool {
        let mut database = self.database.lock();
        let given_up = database.take_if(|current| Arc::ptr_eq(current, failed));
        if given_up.is_some() {
            // Before the next one is opened: who still has this one neither reads nor writes any more.
            drop(self.backing.gate());
        }
        drop(database);
        given_up.is_some()
    }

    fn read<T>(&self, key: &str, f: impl FnOnce(u64, &[u8]) -> T) -> Result<Option<T>, StoreError> {
        let record = loop {
            let database = self.database().map_err(|error| error.of_key(key))?;
            let read = guarded(|| {
                let states = redb(redb(database.begin_read())?.open_table(STATES))?;
                Ok(redb(states.get(key))?.map(|record| record.value().to_vec()))
            });
            match read {
                Ok(record) => break record,
                Err(error) if self.give_up(&database) => return Err(error.of_key(key)),
                // A save has failed meanwhile, and this database was given up for that.
                Err(_) => {}
            }
        };
        let Some(record) = record else { return Ok(None) };
        let (generation, state) = record::decode(key, &record).map_err(|kind| StoreError::of(kind).of_key(key))?;
        Ok(Some(f(generation, state)))
    }

    /// Waits until the change is on the disk.
    fn change(&self, key: &str, state: Option<Vec<u8>>) -> Result<(), StoreError> {
        let answer = Arc::new(Answer::default());
        self.queue.lock().waiting.push(Change { key: key.into(), state, answer: Arc::clone(&answer) });
        self.came.ring();
        let look = || match answer.0.lock().take() {
            Some(result) => Some(Turn::Answered(result)),
            None => {
                let mut queue = self.queue.lock();
                // Who has no answer is in the queue, or with the one who leads.
                (!std::mem::replace(&mut queue.is_led, true)).then_some(Turn::Lead)
            }
        };
        loop {
            match self.over.wait_until(look, Wait::on("a commit of the store")) {
                Some(Turn::Answered(result)) => return result.map_err(|error| error.of_key(key)),
                Some(Turn::Lead) => self.lead(),
                None => {}
            }
        }
    }

    /// Makes one commit of all that wait.
    fn lead(&self) {
        if !self.gather.is_zero() {
            let nobody = || None::<()>;
            self.came.wait_until(nobody, Wait::on("saves of other jobs").at_most(Some(self.gather)));
        }
        let changes = std::mem::take(&mut self.queue.lock().waiting);
        if !changes.is_empty() {
            let result = self.commit(&changes);
            for change in changes {
                *change.answer.0.lock() = Some(result.clone());
            }
        }
        self.queue.lock().is_led = false;
        self.over.ring();
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let done = self
            .database()
            .and_then(|database| guarded(|| write(&database, changes)).inspect_err(|_| _ = self.give_up(&database)));
        let mut counts = self.counts.lock();
        match done {
            Ok(()) => {
                counts.commits += 1;
                counts.saves += changes.len() as u64;
            }
            Err(_) => counts.failed += 1,
        }
        done
    }
}

impl StateStore for RedbStore {
    fn save(&self, key: &str, state: &[u8]) -> Result<(), StoreError> {
        if key.len() + state.len() > self.record_max {
            return Err(StoreError::of(StoreErrorKind::TooLarge).of_key(key));
        }
        self.change(key, Some(state.to_vec()))
    }

    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(key, |_, state| state.to_vec())
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.change(key, None)
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Code of the database: a panic in it, as over a damaged file, is an error.
fn guarded<T>(f: impl FnOnce() -> Redb<T>) -> Result<T, StoreError> {
    match catch(f) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::of_database(*error)),
        Err(payload) => {
            let panicked = Panicked::new(payload).to_string();
            Err(StoreError::of(StoreErrorKind::Corrupt).because(panicked))
        }
    }
}

fn write(database: &Database, changes: &[Change]) -> Redb<()> {
    let mut transaction = redb(database.begin_write())?;
    transaction.set_durability(if zoo::has("Z22") { Durability::None } else { Durability::Immediate });
    {
        let mut states = redb(transaction.open_table(STATES))?;
        let mut facts = redb(transaction.open_table(FACTS))?;
        let mut generation = redb(facts.get("generation"))?.map_or(0, |number| number.value());
        for Change { key, state, .. } in changes {
            generation += 1;
            match state {
                Some(state) => {
                    let record = record::encode(key, generation, state);
                    drop(redb(states.insert(&**key, record.as_slice()))?);
                }
                None => drop(redb(states.remove(&**key))?),
            }
        }
        drop(redb(facts.insert("generation", generation))?);
    }
    redb(transaction.commit())
}

fn open_database(backing: &Arc<Backing>) -> Result<Database, StoreError> {
    let gate = backing.gate();
    guarded(|| redb(Database::builder().set_cache_size(CACHE).create_with_backend(gate)))
}

/// The tables are there, and ours; in a new database they are made.
fn check(database: &Database, is_new: bool) -> Result<(), StoreError> {
    let format = guarded(|| {
        if is_new {
            let transaction = redb(database.begin_write())?;
            redb(transaction.open_table(STATES))?;
            redb(redb(transaction.open_table(FACTS))?.insert("format", FORMAT))?;
            redb(transaction.commit())?;
            return Ok(Some(FORMAT));
        }
        let transaction = redb(database.begin_read())?;
        if !redb(transaction.list_tables())?.any(|table| table.name() == FACTS.name()) {
            return Ok(None);
        }
        redb(transaction.open_table(STATES))?;
        let facts = redb(transaction.open_table(FACTS))?;
        let format = redb(facts.get("format"))?;
        Ok(format.map(|format| format.value()))
    })?;
    match format {
        Some(FORMAT) => Ok(()),
        Some(_) => Err(StoreError::of(StoreErrorKind::Newer)),
        None => Err(StoreError::of(StoreErrorKind::Foreign)),
    }
}

/// Configures a [`RedbStore`]; made by [`RedbStore::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a store"]
pub struct RedbStoreBuilder {
    gather: Duration,
    record_max: usize,
    file_max: u64,
}

impl RedbStoreBuilder {
    /// How long a commit waits for saves of other jobs. Each save takes that much longer, and more of them share a sync.
    pub fn gather(mut self, time: Duration) -> Self {
        self.gather = time;
        self
    }

    /// How many bytes a key and its state may have together; more is [`StoreErrorKind::TooLarge`].
    pub fn record_max(mut self, bytes: usize) -> Self {
        self.record_max = bytes;
        self
    }

    /// How many bytes the file may have; a save that needs more fails as on a full disk.
    pub fn file_max(mut self, bytes: u64) -> Self {
        self.file_max = bytes;
        self
    }

    /// Opens the store in that file, or makes one.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<RedbStore, StoreError> {
        let path = path.as_ref();
        match find(path)? {
            Found::Old(file) => self.on(Box::new(file), false),
            Found::New(file) => {
                let store = self.on(Box::new(file), true)?;
                put_in_place(path).map_err(StoreError::new)?;
                Ok(store)
            }
        }
    }

    /// The store on a disk.
    pub(super) fn on(self, disk: Box<dyn StorageBackend>, is_new: bool) -> Result<RedbStore, StoreError> {
        let backing = Backing::new(disk, self.file_max);
        let database = open_database(&backing)?;
        check(&database, is_new)?;
        Ok(RedbStore {
            backing,
            database: Mutex::new(Some(Arc::new(database))),
            queue: Mutex::default(),
            over: Bell::new(),
            came: Bell::new(),
            gather: self.gather,
            record_max: self.record_max,
            counts: Mutex::default(),
        })
    }
}
