//! Numbers in `[0, 1)` that spread pauses: from the seed where time is virtual, from the system elsewhere.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

#[cfg(feature = "testing")]
use crate::park::driver;

/// How many numbers there are.
const SIDES: f64 = (1_u64 << 32) as f64;

/// Dice of its own for each caller.
pub(super) fn dice() -> impl FnMut() -> f64 {
    let keys = RandomState::new();
    let mut thrown = 0_u64;
    move || {
        #[cfg(feature = "testing")]
        if let Some(driver) = driver::current() {
            return f64::from(driver.lots().0) / SIDES;
        }
        thrown += 1;
        // WHY the upper half: it fits into a float, and in a hash it is as good as the lower.
        let bits = u32::try_from(keys.hash_one(thrown) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / SIDES
    }
}
