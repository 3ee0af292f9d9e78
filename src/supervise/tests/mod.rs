//! The policies: sentences about each, and each against a tiny model.
#![forbid(unsafe_code)]

mod backoff;
mod choice;
mod intensity;
mod outcome;
mod restart;

use std::time::Duration;

use proptest::prelude::ProptestConfig;

/// How many cases a property is tried with.
const CASES: u32 = match (cfg!(miri), cfg!(debug_assertions)) {
    (true, _) => 16,
    (false, true) => 4_096,
    (false, false) => 1_000_000,
};

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
