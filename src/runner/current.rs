//! The runners whose turns this thread runs, one inside the other; no policy.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use super::sequence::Sequence;
use crate::sync::local;
use crate::task::current::set_sequence;
use crate::task::raw::Erased;

local! {
    static SEQUENCES: RefCell<Vec<Arc<Erased<Sequence>>>> = RefCell::new(Vec::new());
}

/// The sequence whose turn this thread runs, the innermost if there are several.
pub(crate) fn sequence() -> Option<Arc<Erased<Sequence>>> {
    SEQUENCES.try_with(|stack| stack.borrow().last().cloned()).ok().flatten()
}

/// True when this thread runs a turn of that sequence, be it further out.
pub(crate) fn holds(id: u64) -> bool {
    let is_it = |sequence: &Arc<Erased<Sequence>>| sequence.object.runner.id == id;
    SEQUENCES.try_with(|stack| stack.borrow().iter().any(is_it)).unwrap_or(false)
}

/// Takes the current sequences away until the answer is dropped: something else is to run on this thread in between.
#[cfg(feature = "testing")]
#[must_use = "the sequences come back when this is dropped"]
pub(crate) fn suspend() -> Suspended {
    Suspended(SEQUENCES.try_with(|stack| stack.take()).unwrap_or_default())
}

/// Sequences that have been taken away.
#[cfg(feature = "testing")]
pub(crate) struct Suspended(Vec<Arc<Erased<Sequence>>>);

#[cfg(feature = "testing")]
impl Drop for Suspended {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        let mine = SEQUENCES.try_with(|stack| stack.replace(before));
        drop(mine);
    }
}

/// Makes the sequence current until dropped; turns may nest.
pub(crate) struct Scope {
    id_before: u64,
}

impl Scope {
    pub(crate) fn enter(sequence: Arc<Erased<Sequence>>) -> Self {
        let id_before = set_sequence(sequence.object.runner.id);
        let _ = SEQUENCES.try_with(|stack| stack.borrow_mut().push(sequence));
        Self { id_before }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        set_sequence(self.id_before);
        let mine = SEQUENCES.try_with(|stack| stack.borrow_mut().pop());
        drop(mine);
    }
}
