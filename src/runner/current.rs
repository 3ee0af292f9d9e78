//! The runner whose turn this thread runs; no policy.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use super::sequence::Sequence;
use crate::sync::local;
use crate::task::current::set_sequence;
use crate::task::raw::Erased;

local! {
    static SEQUENCE: RefCell<Option<Arc<Erased<Sequence>>>> = RefCell::new(None);
}

/// The sequence whose turn this thread runs.
pub(crate) fn sequence() -> Option<Arc<Erased<Sequence>>> {
    SEQUENCE.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

/// Takes the current sequence away until the answer is dropped: something else is to run on this thread in between.
#[cfg(feature = "testing")]
#[must_use = "the sequence comes back when this is dropped"]
pub(crate) fn suspend() -> Suspended {
    Suspended(SEQUENCE.try_with(|slot| slot.take()).ok().flatten())
}

/// A sequence that has been taken away.
#[cfg(feature = "testing")]
pub(crate) struct Suspended(Option<Arc<Erased<Sequence>>>);

#[cfg(feature = "testing")]
impl Drop for Suspended {
    fn drop(&mut self) {
        let mine = SEQUENCE.try_with(|slot| slot.replace(self.0.take())).ok().flatten();
        drop(mine);
    }
}

/// Makes the sequence current until dropped; turns may nest.
pub(crate) struct Scope {
    before: Option<Arc<Erased<Sequence>>>,
    id_before: u64,
}

impl Scope {
    pub(crate) fn enter(sequence: Arc<Erased<Sequence>>) -> Self {
        let id_before = set_sequence(sequence.object.runner.id);
        let before = SEQUENCE.try_with(|slot| slot.replace(Some(sequence))).ok().flatten();
        Self { before, id_before }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        set_sequence(self.id_before);
        let before = self.before.take();
        let mine = SEQUENCE.try_with(|slot| slot.replace(before)).ok().flatten();
        drop(mine);
    }
}
