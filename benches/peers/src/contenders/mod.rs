//! The competitors, a file each.

mod async_executor;
mod crossbeam_channel;
mod executors;
mod mutex_pool;
#[cfg(feature = "ours")]
mod ours;
mod rayon;
mod std_thread;
mod tokio;

use crate::contender::Entry;

/// The name of the crate that all others are compared with.
pub(crate) const OURS: &str = "overstrand";

/// Every contender, in the order of the tables: ours first.
pub(crate) fn all() -> Vec<&'static Entry> {
    vec![
        #[cfg(feature = "ours")]
        Entry::of::<ours::Overstrand>(),
        Entry::of::<rayon::Rayon>(),
        Entry::of::<tokio::Tokio>(),
        Entry::of::<async_executor::AsyncExecutor>(),
        Entry::of::<executors::WorkStealing>(),
        Entry::of::<crossbeam_channel::ChannelPool>(),
        Entry::of::<mutex_pool::MutexPool>(),
        Entry::of::<std_thread::StdThread>(),
    ]
}

#[cfg(test)]
mod tests;
