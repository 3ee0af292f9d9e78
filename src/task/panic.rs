//! The two panic boundaries: [`catch`] around user code that runs, [`drop_quietly`] around user values that are dropped.
//!
//! `catch` turns an unwinding panic into a value. It does not stop a program that is built with `panic = "abort"`, a second panic while
//! unwinding, or a stack overflow: those end the process, as everywhere in Rust.
//!
//! A panic payload is a user value too: its destructor may panic when nobody catches any more. So payloads are dropped inside a boundary
//! of their own, and the payload of that second panic, should there be one, is leaked.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::Mutex;
use crate::zoo;

pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs user code; a panic comes back as its payload.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a user value; true when its destructor panicked.
pub(crate) fn drop_quietly<T>(value: T) -> bool {
    match catch(|| drop(value)) {
        Ok(()) => false,
        Err(payload) => {
            drop_payload(payload);
            true
        }
    }
}

/// Drops a panic payload, whose destructor may panic in turn.
pub(crate) fn drop_payload(payload: Payload) {
    if zoo::has("Z13") {
        drop(payload);
        return;
    }
    if let Err(second) = catch(|| drop(payload)) {
        // WHY: leaked, because dropping it could panic again, without end.
        std::mem::forget(second);
    }
}

/// The text of a panic, for payloads that are a string.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&'static str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// What a task panicked with; found in [`JoinError::Panicked`](crate::JoinError::Panicked).
pub struct Panicked {
    message: Option<Box<str>>,
    payload: Mutex<Option<Payload>>,
}

impl Panicked {
    pub(crate) fn new(payload: Payload) -> Self {
        Self { message: message_of(&*payload).map(Into::into), payload: Mutex::new(Some(payload)) }
    }

    /// The panic's text; `None` when the payload is not a string.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The value that the task panicked with, as [`std::panic::catch_unwind`] gives it.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        let payload = self.payload.lock().take();
        payload.unwrap_or_else(|| Box::new("the payload was taken"))
    }

    /// Goes on with the panic on this thread, as if it had started here; the panic hook is not called again.
    ///
    /// # Panics
    ///
    /// Always: that is what it does.
    pub fn resume(self) -> ! {
        std::panic::resume_unwind(self.into_payload())
    }
}

impl Drop for Panicked {
    fn drop(&mut self) {
        let payload = self.payload.lock().take();
        if let Some(payload) = payload {
            drop_payload(payload);
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked").field("message", &self.message).finish_non_exhaustive()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().unwrap_or("<non-string payload>"))
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "leaks the second payload, as it should")]
    fn payload_that_panics_when_dropped_is_contained() {
        let payload = catch(|| std::panic::panic_any(PanicsOnDrop)).expect_err("it panics");
        drop_payload(payload);
        let panicked = catch(|| std::panic::panic_any(PanicsOnDrop)).map_err(Panicked::new).expect_err("it panics");
        assert_eq!((panicked.message(), panicked.to_string()), (None, "<non-string payload>".into()));
        drop(panicked);
        assert!(drop_quietly(PanicsOnDrop));
        assert!(!drop_quietly(7));
    }

    #[test]
    fn text_of_both_string_kinds_is_kept() {
        for f in [|| panic!("plain"), || panic!("{}{}", "pl", "ain")] {
            let panicked = Panicked::new(catch(f).expect_err("it panics"));
            assert_eq!(panicked.message(), Some("plain"));
            assert_eq!(message_of(&*panicked.into_payload()), Some("plain"));
        }
    }
}
