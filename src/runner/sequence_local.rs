//! Values that belong to the sequence that asks for them: what a thread-local is to a thread.
//!
//! A value lies in its sequence's map, and a call takes it out and puts it back within its turn: so calls exclude one another by the sequence alone. The map's lock is held for a look-up, never
//! while user code runs; a call inside a call finds the value gone, and says so.
//!
//! | entry | means | leaves it |
//! |---|---|---|
//! | none | not made yet, or its making panicked | the next call, which makes it |
//! | a value | there | a call, for its time; the end of the sequence |
//! | empty | a call has it, or makes it | that call |
#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use super::current;
use crate::sync::Mutex;
use crate::sync::unmodelled::{AtomicU64, Ordering};
use crate::task::panic::drop_quietly;

type Value = Box<dyn Any + Send>;

/// The values of one sequence, by the number of their key.
#[derive(Default)]
pub(super) struct Locals(Mutex<BTreeMap<u64, Option<Value>>>);

impl Locals {
    /// Takes the value out; `None`, when it is out already.
    fn take(&self, key: u64) -> Option<Taken> {
        let mut values = self.0.lock();
        match values.get_mut(&key) {
            None => {
                values.insert(key, None);
                Some(Taken::Unmade)
            }
            Some(value) => value.take().map(Taken::Value),
        }
    }

    /// Puts the value back; `None` when it could not be made.
    fn put(&self, key: u64, value: Option<Value>) {
        let mut values = self.0.lock();
        match value {
            Some(value) => drop(values.insert(key, Some(value))),
            None => drop(values.remove(&key)),
        }
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        // WHY one by one, and quietly: a sequence may end anywhere, on a worker between two tasks, too.
        let values = std::mem::take(&mut *self.0.lock());
        for value in values.into_values() {
            drop_quietly(value);
        }
    }
}

enum Taken {
    Unmade,
    Value(Value),
}

/// Puts the value back when dropped, be it by a panic.
struct Lent<'a, T: Send + 'static> {
    locals: &'a Locals,
    key: u64,
    value: Option<Box<T>>,
}

impl<T: Send + 'static> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        let value = self.value.take().map(|value| value as Value);
        self.locals.put(self.key, value);
    }
}

/// Why there is no sequence-local value to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceLocalError {
    /// The caller is no task of a sequence.
    #[error("there is no sequence here that could have values of its own")]
    NotInSequence,
    /// A call further out has it.
    #[error("the value is in use further out")]
    InUse,
}

/// A value per sequence: what a thread-local is to a thread. Each sequence that asks gets its own, made when it asks first; strands, single-thread and main-thread runners have them.
///
/// # Guarantees
///
/// - Tasks of one sequence see one value, tasks of others another. Nobody else sees it, so it need not be `Sync`.
/// - It is dropped with the sequence: when its handles are gone and what it accepted is over, on the thread that lets go of it last.
/// - A panic in the closure leaves the value as it is; one while it is made leaves none, and the next call makes it anew.
///
/// # Not guaranteed
///
/// A value that holds a handle to its own sequence keeps it, and so itself, alive.
///
/// # Examples
///
/// ```
/// use overstrand::{SequenceLocal, SequenceLocalError, TaskTraits, ThreadPool};
///
/// static COUNT: SequenceLocal<u32> = SequenceLocal::new(|| 0);
///
/// fn count() -> Result<u32, SequenceLocalError> {
///     COUNT.with(|count| {
///         *count += 1;
///         *count
///     })
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let [a, b] = [(); 2].map(|()| pool.create_sequenced_task_runner(TaskTraits::default()));
/// assert_eq!([a.spawn(count).join()?, a.spawn(count).join()?, b.spawn(count).join()?], [Ok(1), Ok(2), Ok(1)]);
/// assert_eq!(count(), Err(SequenceLocalError::NotInSequence));
/// # Ok(())
/// # }
/// ```
///
/// It moves between threads with its sequence, so it must be `Send`:
///
/// ```compile_fail,E0277
/// static LIST: overstrand::SequenceLocal<std::rc::Rc<u32>> = overstrand::SequenceLocal::new(|| std::rc::Rc::new(0));
/// ```
pub struct SequenceLocal<T> {
    init: fn() -> T,
    /// Its key in the maps; 0 until it is used.
    key: AtomicU64,
}

/// The next key.
static KEYS: AtomicU64 = AtomicU64::new(1);

impl<T: Send + 'static> SequenceLocal<T> {
    /// A value per sequence, made by `init`; meant for a `static`.
    #[must_use]
    pub const fn new(init: fn() -> T) -> Self {
        Self { init, key: AtomicU64::new(0) }
    }

    /// Lends the value of the sequence whose task runs here.
    ///
    /// # Errors
    ///
    /// [`SequenceLocalError::NotInSequence`] outside of sequences: on threads of your own, in tasks of pools and parallel runners; [`SequenceLocalError::InUse`] inside a call for the same value.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, SequenceLocalError> {
        let sequence = current::sequence().ok_or(SequenceLocalError::NotInSequence)?;
        let (locals, key) = (sequence.object.locals(), self.key());
        let taken = locals.take(key).ok_or(SequenceLocalError::InUse)?;
        let mut lent = Lent { locals, key, value: None };
        let value = match taken {
            Taken::Unmade => Box::new((self.init)()),
            Taken::Value(value) => match value.downcast() {
                Ok(value) => value,
                Err(_) => unreachable!("a key is for values of one type"),
            },
        };
        Ok(f(lent.value.insert(value)))
    }

    fn key(&self) -> u64 {
        // Relaxed: a number, which nothing depends on.
        let key = self.key.load(Ordering::Relaxed);
        if key != 0 {
            return key;
        }
        // Relaxed: as above; who comes second takes the number of the first.
        let mine = KEYS.fetch_add(1, Ordering::Relaxed);
        self.key.compare_exchange(0, mine, Ordering::Relaxed, Ordering::Relaxed).err().unwrap_or(mine)
    }
}

impl<T> fmt::Debug for SequenceLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequenceLocal").finish_non_exhaustive()
    }
}
