//! States that survive: how they become bytes, and where the bytes are kept.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::error::BoxError;
use crate::sync::Mutex;

/// A state that can be made into bytes, and back.
pub trait SavedState: Sized {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// Any; it is the job's error then.
    fn save(&self) -> Result<Vec<u8>, BoxError>;

    /// The state that has these bytes.
    ///
    /// # Errors
    ///
    /// Any; it is the job's error then.
    fn restore(bytes: &[u8]) -> Result<Self, BoxError>;
}

/// Where the bytes of states are kept. It is called on the threads of workers, between steps.
pub trait StateStore: Send + Sync {
    /// Keeps a state, instead of an earlier one of that key.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: nothing was changed.
    fn save(&self, key: &str, state: &[u8]) -> Result<(), StoreError>;

    /// The state that was kept last; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be told.
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets the state, if there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it may be there still.
    fn remove(&self, key: &str) -> Result<(), StoreError>;
}

/// What is wrong with a store or a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Something failed; the [source](std::error::Error::source) says what.
    #[error("failed")]
    Failed,
    /// Another process has it open, or another store of this one.
    #[error("is open elsewhere")]
    Locked,
    /// It was written by something else.
    #[error("is of another kind")]
    Foreign,
    /// A newer version of this crate wrote it.
    #[error("is of a newer version")]
    Newer,
    /// Bytes are not as they were written.
    #[error("is damaged")]
    Corrupt,
    /// It ends too early.
    #[error("is cut off")]
    Truncated,
    /// It is larger than it may be.
    #[error("is larger than it may be")]
    TooLarge,
}

/// A state could not be kept or brought back, or a store could not be opened.
#[derive(Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    key: Option<Box<str>>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl StoreError {
    /// An error with that cause, of kind [`Failed`](StoreErrorKind::Failed).
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self { kind: StoreErrorKind::Failed, key: None, cause: Some(Arc::from(cause.into())) }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The key whose state it is about; `None` if it is about the store.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

#[cfg(feature = "store-redb")]
impl StoreError {
    pub(super) fn of(kind: StoreErrorKind) -> Self {
        Self { kind, key: None, cause: None }
    }

    pub(super) fn of_key(self, key: &str) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    pub(super) fn because(self, cause: impl Into<BoxError>) -> Self {
        Self { cause: Some(Arc::from(cause.into())), ..self }
    }

    /// What an error of the database means.
    pub(super) fn of_database(error: redb::Error) -> Self {
        let kind = match &error {
            redb::Error::DatabaseAlreadyOpen => StoreErrorKind::Locked,
            redb::Error::Corrupted(_) => StoreErrorKind::Corrupt,
            redb::Error::ValueTooLarge(_) => StoreErrorKind::TooLarge,
            redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. } => StoreErrorKind::Foreign,
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => StoreErrorKind::Foreign,
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => StoreErrorKind::Truncated,
            _ => StoreErrorKind::Failed,
        };
        match error {
            redb::Error::Io(error) => Self::of(kind).because(error),
            error => Self::of(kind).because(error),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("key", &self.key)
            .field("cause", &self.cause)
            .finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "the state of {key:?} in the store {}", self.kind)?,
            None => write!(f, "the store {}", self.kind)?,
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// A store in memory, for tests and for jobs that need not survive the process.
///
/// ```
/// use overstrand::{MemoryStore, StateStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let store = MemoryStore::default();
/// store.save("index", b"row 7")?;
/// assert_eq!(store.load("index")?.as_deref(), Some(&b"row 7"[..]));
/// store.remove("index")?;
/// assert_eq!(store.load("index")?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct MemoryStore(Mutex<HashMap<String, Vec<u8>>>);

impl StateStore for MemoryStore {
    fn save(&self, key: &str, state: &[u8]) -> Result<(), StoreError> {
        self.0.lock().insert(key.to_owned(), state.to_vec());
        Ok(())
    }

    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().get(key).cloned())
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.lock().remove(key);
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("states", &self.0.lock().len()).finish_non_exhaustive()
    }
}
