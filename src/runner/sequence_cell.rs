//! A value that may go anywhere, and be opened on one sequence only.
//!
//! Where a [`SequenceBound`](crate::SequenceBound) brings the call to the value, this checks that the caller is there already: for state that is shared by callbacks which all run on one
//! sequence anyway. A call takes the value out and puts it back, so a call inside a call finds it gone; the lock is held for a move of one pointer.
#![forbid(unsafe_code)]

use std::fmt;

use super::sequenced::SequencedTaskRunner;
use crate::sync::Mutex;
use crate::task::current::{self as task_current, Name};

/// Why a [`SequenceCell`] was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceCellError {
    /// The caller is no task of the cell's sequence.
    #[error("{home} owns the value, and this is {here}")]
    WrongSequence {
        /// The cell's sequence: its name, or its number.
        home: String,
        /// The caller's sequence: its name, its number, or that there is none.
        here: String,
    },
    /// A call further out has the value.
    #[error("the value of {home} is in use further out")]
    InUse {
        /// The cell's sequence: its name, or its number.
        home: String,
    },
}

/// A value that any thread may hold and only tasks of one sequence may open; what they do with it needs no lock.
///
/// # Guarantees
///
/// - Whoever opens it elsewhere gets an error that names both sequences; whoever opens it inside of itself gets one, too. Neither waits, panics, or sees the value.
/// - A panic in the closure leaves the value as it is.
///
/// # Not guaranteed
///
/// Where it is dropped: with the cell. If that matters, see [`DropOn`](crate::DropOn).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use overstrand::{SequenceCell, SequenceCellError, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let list = Arc::new(SequenceCell::new(&seq, vec![1]));
/// let there = Arc::clone(&list);
/// assert_eq!(seq.spawn(move || there.with(|list| list.len())).join()?, Ok(1));
/// assert!(matches!(list.with(|list| list.len()), Err(SequenceCellError::WrongSequence { .. })));
/// # Ok(())
/// # }
/// ```
///
/// It hands out no reference that could be used elsewhere:
///
/// ```compile_fail
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let pool = overstrand::ThreadPool::builder().workers(2).build()?;
/// # let seq = pool.create_sequenced_task_runner(overstrand::TaskTraits::default());
/// let list = overstrand::SequenceCell::new(&seq, vec![1]);
/// let outside = list.with(|list| &*list)?;
/// # Ok(())
/// # }
/// ```
pub struct SequenceCell<T> {
    /// The number and the name of its sequence, and no handle: a cell keeps no thread alive.
    home: (u64, Option<Name>),
    value: Mutex<Option<Box<T>>>,
}

impl<T: Send> SequenceCell<T> {
    /// A cell for tasks of that runner: a strand, or a runner with a thread of its own.
    #[must_use]
    pub fn new(runner: &impl AsRef<SequencedTaskRunner>, value: T) -> Self {
        Self { home: runner.as_ref().identity(), value: Mutex::new(Some(Box::new(value))) }
    }

    /// Lends the value, in a task of its sequence.
    ///
    /// # Errors
    ///
    /// [`SequenceCellError::WrongSequence`] anywhere else; [`SequenceCellError::InUse`] inside another call for this value.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Result<R, SequenceCellError> {
        if task_current::sequence() != self.home.0 {
            let here = SequencedTaskRunner::current();
            let here = here.map_or_else(|| "no sequence".to_owned(), |here| label(&here.identity()));
            return Err(SequenceCellError::WrongSequence { home: label(&self.home), here });
        }
        let value = self.value.lock().take();
        let Some(value) = value else { return Err(SequenceCellError::InUse { home: label(&self.home) }) };
        let mut lent = Lent { cell: self, value: Some(value) };
        match &mut lent.value {
            Some(value) => Ok(f(value)),
            None => unreachable!("it was put there"),
        }
    }

    /// The value, from whoever owns the cell.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self.value.into_inner() {
            Some(value) => *value,
            None => unreachable!("a call borrows the cell, so none has the value"),
        }
    }
}

fn label((number, name): &(u64, Option<Name>)) -> String {
    match name {
        Some(name) => format!("sequence \"{name}\""),
        None => format!("sequence {number}"),
    }
}

/// Puts the value back when dropped, be it by a panic.
struct Lent<'a, T> {
    cell: &'a SequenceCell<T>,
    value: Option<Box<T>>,
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        *self.cell.value.lock() = self.value.take();
    }
}

impl<T> fmt::Debug for SequenceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequenceCell").field("home", &label(&self.home)).finish_non_exhaustive()
    }
}
