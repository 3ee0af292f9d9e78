//! How work is posted: the runners, and what tasks can learn about theirs.
#![forbid(unsafe_code)]

mod bound;
pub(crate) mod current;
mod lane;
mod sequence;
pub(crate) mod sequenced;

#[cfg(test)]
mod tests;

pub use bound::Overflow;
pub use sequence::RunnerStats;
pub use sequenced::{Close, SequencedTaskRunner, SequencedTaskRunnerBuilder};
