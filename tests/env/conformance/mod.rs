//! Every kind of runner × each promise that it keeps.
//!
//! | file | what it pins |
//! |---|---|
//! | `kinds` | the table of kinds, and the ways to reach them |
//! | `stage` | a runner in an environment of its own, and what is tried on it |
//! | `notes` | what tasks note |
//! | `posting` | POST-1 to POST-8 |
//! | `bounds` | POST-7 and POST-9: full queues |
//! | `panics` | POST-6: bodies, captures, results, payloads and hooks that panic |
//! | `sequences` | SEQ-1, SEQ-2, SEQ-6, SEQ-8, PRI-4 |
//! | `waits` | SEQ-9, SEQ-10, HND-4 |
//! | `delays` | DLY-1, DLY-2, DLY-4, DLY-6 |
//! | `handles` | HND-1, HND-2 |
//! | `shutdown` | SHUT-1, SHUT-2 |
//! | `misuse` | what a user may do wrong with a runner, and the error that comes of it |
//!
//! A runner is reached in three ways: by its own type, as `Arc<dyn TaskRunner>`, and through a wrapper that a user has written. Tasks note what they see, and the test judges it: the
//! environment hears of the panics of its own pool only, and the runner of a main thread has another.

/// The same expression for a runner of whatever type.
macro_rules! on {
    ($runner:expr, $it:ident => $body:expr) => {
        match $runner {
            crate::conformance::kinds::Own::Pool($it) => $body,
            crate::conformance::kinds::Own::Parallel($it) => $body,
            crate::conformance::kinds::Own::Sequenced($it) => $body,
            crate::conformance::kinds::Own::Single($it) => $body,
        }
    };
}

mod bounds;
mod delays;
mod handles;
mod kinds;
mod misuse;
mod notes;
mod panics;
mod posting;
mod sequences;
mod shutdown;
mod stage;
mod waits;
