//! How work is posted: the runners, and what tasks can learn about theirs.
#![forbid(unsafe_code)]

mod bound;
pub(crate) mod current;
mod lane;
mod owned;
mod repeating;
mod reply;
mod sequence;
pub(crate) mod sequenced;

#[cfg(test)]
mod tests;

pub use bound::Overflow;
pub use owned::SequenceBound;
pub use repeating::RepeatingTaskHandle;
pub use sequence::RunnerStats;
pub use sequenced::{Close, SequencedTaskRunner, SequencedTaskRunnerBuilder};
