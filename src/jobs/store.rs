//! States that survive: how they become bytes, and where the bytes are kept.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;

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

/// A state could not be kept or brought back.
pub struct StoreError(BoxError);

impl StoreError {
    /// An error with that cause.
    pub fn new(cause: impl Into<BoxError>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreError").field(&self.0).finish()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store failed: {}", self.0)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
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
