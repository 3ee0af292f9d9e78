//! The runners whose turns this thread runs, one inside the other; no policy.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::Arc;

use super::sequence::Sequence;
use crate::sync::local;
use crate::task::current::{set_group, set_sequence};
use crate::task::raw::Erased;

/// What this thread does inside of what it did before.
enum Frame {
    /// A turn of that sequence.
    Turn(Arc<Erased<Sequence>>),
    /// A task of no sequence.
    Outside,
    /// A turn of that parallel runner.
    Group(u64),
    /// A call for a thread that holds these runners, and waits.
    Behalf(Box<[u64]>),
}

local! {
    static FRAMES: RefCell<Vec<Frame>> = RefCell::new(Vec::new());
}

/// The sequence whose turn this thread runs, the innermost if there are several.
pub(crate) fn sequence() -> Option<Arc<Erased<Sequence>>> {
    let innermost = |frames: &RefCell<Vec<Frame>>| {
        let frames = frames.borrow();
        match frames.iter().rev().find(|frame| !matches!(frame, Frame::Behalf(_)))? {
            Frame::Turn(sequence) => Some(Arc::clone(sequence)),
            Frame::Outside | Frame::Group(_) | Frame::Behalf(_) => None,
        }
    };
    FRAMES.try_with(innermost).ok().flatten()
}

/// True when this thread runs a turn of that runner, be it further out, or works for one that does.
pub(crate) fn holds(id: u64) -> bool {
    let is_it = |frame: &Frame| match frame {
        Frame::Turn(sequence) => sequence.object.runner.id == id,
        Frame::Group(group) => *group == id,
        Frame::Outside => false,
        Frame::Behalf(held) => held.contains(&id),
    };
    FRAMES.try_with(|frames| frames.borrow().iter().any(is_it)).unwrap_or(false)
}

/// The runners for which [`holds`] is true.
pub(crate) fn held() -> Box<[u64]> {
    let mut held = Vec::new();
    let _ = FRAMES.try_with(|frames| {
        for frame in frames.borrow().iter() {
            match frame {
                Frame::Turn(sequence) => held.push(sequence.object.runner.id),
                Frame::Group(id) => held.push(*id),
                Frame::Outside => {}
                Frame::Behalf(ids) => held.extend_from_slice(ids),
            }
        }
    });
    held.into()
}

/// Takes the current sequences away until the answer is dropped: something else is to run on this thread in between.
#[cfg(feature = "testing")]
#[must_use = "the sequences come back when this is dropped"]
pub(crate) fn suspend() -> Suspended {
    Suspended(FRAMES.try_with(|frames| frames.take()).unwrap_or_default())
}

/// Sequences that have been taken away.
#[cfg(feature = "testing")]
pub(crate) struct Suspended(Vec<Frame>);

#[cfg(feature = "testing")]
impl Drop for Suspended {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.0);
        let mine = FRAMES.try_with(|frames| frames.replace(before));
        drop(mine);
    }
}

/// What this thread does, until dropped; scopes nest.
pub(crate) struct Scope {
    id_before: Option<u64>,
    group_before: Option<u64>,
}

impl Scope {
    /// A turn of the sequence: it is current.
    pub(crate) fn enter(sequence: Arc<Erased<Sequence>>) -> Self {
        let id_before = set_sequence(sequence.object.runner.id);
        Self::push(Frame::Turn(sequence), Some(id_before))
    }

    /// A turn of the parallel runner with that number: no sequence is current.
    pub(crate) fn group(id: u64) -> Self {
        let mut scope = Self::push(Frame::Group(id), Some(set_sequence(0)));
        scope.group_before = Some(set_group(id));
        scope
    }

    /// A task of no sequence: none is current.
    pub(crate) fn outside() -> Self {
        Self::push(Frame::Outside, Some(set_sequence(0)))
    }

    /// A call for a thread that holds these runners; what is current stays so.
    pub(crate) fn on_behalf(held: Box<[u64]>) -> Self {
        Self::push(Frame::Behalf(held), None)
    }

    fn push(frame: Frame, id_before: Option<u64>) -> Self {
        let _ = FRAMES.try_with(|frames| frames.borrow_mut().push(frame));
        Self { id_before, group_before: None }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some(id_before) = self.id_before {
            set_sequence(id_before);
        }
        if let Some(group_before) = self.group_before {
            set_group(group_before);
        }
        let mine = FRAMES.try_with(|frames| frames.borrow_mut().pop());
        drop(mine);
    }
}
