//! The policies: sentences about each, and each against a tiny model.
#![forbid(unsafe_code)]

mod backoff;
mod choice;
mod intensity;
mod outcome;
mod restart;

use std::time::Duration;

use proptest::prelude::ProptestConfig;

use crate::sync::unmodelled::{AtomicU64, Ordering};

/// How many cases a property is tried with.
const CASES: u32 = match (cfg!(miri), cfg!(debug_assertions)) {
    (true, _) => 16,
    (false, true) => 4_096,
    (false, false) => 1_000_000,
};

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// Counts a case of a property, and prints the figure with the last of them.
fn count(cases: &AtomicU64, number: &str) {
    // Relaxed: a count.
    let counted = cases.fetch_add(1, Ordering::Relaxed) + 1;
    if counted == u64::from(CASES) {
        println!("figure {number} {counted} cases of a property");
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
