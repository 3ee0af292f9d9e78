//! Deterministic tests of code that posts tasks: virtual time, seeded orders, faults (feature `testing`).
//!
//! # A guide
//!
//! Code that takes a [`ThreadPool`](crate::ThreadPool) or a runner is tested by giving it the pool of a [`TestEnvironment`]. Nothing runs until the test waits for something
//! or tells the environment to go on; delays end when the test moves the time:
//!
//! ```
//! use overstrand::testing::TestEnvironment;
//! use overstrand::{CancelToken, ThreadPool};
//! use std::time::Duration;
//!
//! /// The code under test: it knows nothing of tests.
//! fn session(pool: &ThreadPool) -> CancelToken {
//!     let ended = CancelToken::new();
//!     let token = ended.clone();
//!     let _ = pool.post_delayed_task(Duration::from_secs(60), move || token.cancel());
//!     ended
//! }
//!
//! let env = TestEnvironment::with_seed(7);
//! let ended = session(env.pool());
//! env.advance(Duration::from_secs(59));
//! assert!(!ended.is_cancelled());
//! env.advance(Duration::from_secs(1));
//! assert!(ended.is_cancelled());
//! ```
//!
//! | to | call |
//! |---|---|
//! | run what can run now | [`run_until_idle`](TestEnvironment::run_until_idle) |
//! | let time pass | [`advance`](TestEnvironment::advance), [`jump`](TestEnvironment::jump) |
//! | run all there is, delays included | [`run_until_no_tasks`](TestEnvironment::run_until_no_tasks) |
//! | wait for one result | [`TaskHandle::join`](crate::TaskHandle::join), as ever: the wait drives the environment |
//! | see what is left | [`pending`](TestEnvironment::pending), [`next_delay`](TestEnvironment::next_delay) |
//! | try many orders | [`explore`](TestEnvironment::explore) |
//! | run the tasks of a [`MainThreadTaskRunner`](crate::MainThreadTaskRunner) | any of the first three, or its own calls |
//! | use code that asks for the global pool | [`as_global`](TestEnvironment::as_global) |
//!
//! # Many orders
//!
//! A seed decides which worker goes on when, how long turns are, and who steals from whom. [`explore`](TestEnvironment::explore) tries many; if one fails, it prints a
//! shortest schedule that fails, and how to replay it. No one strategy finds everything, so the seeds go through [several](Strategy::Portfolio). That an
//! interesting state was reached at all is said with [`sometimes!`](crate::sometimes).
//!
//! # Code that blocks
//!
//! In *plain* mode everything runs on the test's thread. A task may wait, for a handle or a token: others run meanwhile on top of its stack. That is not enough when two
//! waits overlap, or one outlasts the call of the test, as in supervised loops and services: then the test fails, as a deadlock maybe. With
//! [`baton`](TestEnvironmentBuilder::baton) each worker has a thread of its own, of which one at a time runs. Waits by other means, a channel of the standard library say,
//! are declared with [`wait_until`].
//!
//! # Faults
//!
//! [`Faults`] makes tasks panic, be cancelled, take time, and threads be refused, by the same seed. After the chaos
//! [`assert_converges`](TestEnvironment::assert_converges) demands that everything comes to an end.
//!
//! # Exact checkers
//!
//! [`StrandHistory`] judges the order, exclusion and flushes of a strand, [`OnceLedger`] that everything happened once, [`check_conservation`] that counters add
//! up. They work with real threads too.
//!
//! # Only the time
//!
//! [`Clock::manual`] is a clock for an ordinary pool with real threads, whose delays end when the test says so.
#![forbid(unsafe_code)]

mod baton;
mod check;
mod clock;
mod environment;
mod explore;
mod faults;
mod plain;
mod schedule;
mod shared;
mod waiting;

pub use check::{Counters, OnceLedger, Post, Run, StrandHistory, Violation, check_conservation};
pub use clock::Clock;
pub use environment::{Pending, TestEnvironment, TestEnvironmentBuilder};
pub use faults::{Faults, sometimes};
pub use schedule::{InvalidTrace, Strategy, Trace};
pub use waiting::{wait_until, yield_point};

/// Notes whether a condition holds here; an exploration that came here and never saw it true fails.
///
/// ```
/// use overstrand::testing::TestEnvironment;
///
/// TestEnvironment::explore(0..50, |env| {
///     let (first, second) = (env.pool().spawn(|| ()), env.pool().spawn(|| ()));
///     while !first.is_finished() && !second.is_finished() {
///         env.run_until_idle();
///     }
///     overstrand::sometimes!(second.is_finished(), "the second task has run");
/// });
/// ```
#[macro_export]
macro_rules! sometimes {
    ($condition:expr, $name:literal $(,)?) => {
        $crate::testing::sometimes($name, $condition)
    };
}
