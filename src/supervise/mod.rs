//! Keeping tasks alive: the policies, as plain data and plain decisions.
//!
//! Nothing here reads a clock, starts a thread, takes a lock or runs user code. Whoever supervises says what happened and when, and is told what to do next, so
//! that tests and virtual time meet the very same decisions.
//!
//! | file | the question it answers |
//! |---|---|
//! | `backoff` | [`Backoff`]: how long is the pause before the next attempt? |
//! | `choice` | who gives up a place for a newcomer? |
//! | `intensity` | [`Exhausted`]: do restarts come too often, and what then? |
//! | `restart` | [`RestartPolicy`]: is there a next attempt? |
#![forbid(unsafe_code)]

#[cfg_attr(
    not(all(test, not(any(overstrand_loom, overstrand_shuttle)))),
    expect(dead_code, reason = "so far only its tests ask this policy")
)]
mod backoff;
#[cfg_attr(
    not(all(test, not(any(overstrand_loom, overstrand_shuttle)))),
    expect(dead_code, reason = "so far only its tests ask this policy")
)]
mod choice;
#[cfg_attr(
    not(all(test, not(any(overstrand_loom, overstrand_shuttle)))),
    expect(dead_code, reason = "so far only its tests ask this policy")
)]
mod intensity;
#[cfg_attr(
    not(all(test, not(any(overstrand_loom, overstrand_shuttle)))),
    expect(dead_code, reason = "so far only its tests ask this policy")
)]
mod restart;

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

pub use backoff::{Backoff, Jitter};
pub use intensity::Exhausted;
pub use restart::RestartPolicy;
