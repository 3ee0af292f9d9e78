//! Faults that a test environment gives to the next task body of its thread.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::sync::local;

/// What is to happen instead of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Panic,
    Cancel,
}

/// The payload of a panic that was asked for.
#[derive(Debug)]
pub(crate) struct Injected;

local! {
    static ARMED: Cell<Option<Fault>> = Cell::new(None);
}

/// Arms the next body of this thread, or (`None`) disarms it.
pub(crate) fn arm(fault: Option<Fault>) {
    ARMED.with(|armed| armed.set(fault));
}

/// Panics, if that is what the body shall do.
pub(crate) fn trip() {
    if take(Fault::Panic) {
        std::panic::resume_unwind(Box::new(Injected));
    }
}

/// True when the body shall find itself cancelled.
pub(crate) fn is_cancelled() -> bool {
    take(Fault::Cancel)
}

fn take(fault: Fault) -> bool {
    ARMED.with(|armed| {
        let is_armed = armed.get() == Some(fault);
        if is_armed {
            armed.set(None);
        }
        is_armed
    })
}
