//! Numbers by chance: the seed's where time is virtual, so that a run can be repeated; else anything.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Random numbers, by splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// New ones.
    pub(crate) fn new() -> Self {
        #[cfg(feature = "testing")]
        if let Some(driver) = crate::park::driver::current() {
            let (random, turn) = driver.lots();
            return Self(u64::from(random) << 32 | u64::from(turn));
        }
        Self(RandomState::new().build_hasher().finish())
    }

    /// A number in `[0, 1)`.
    pub(crate) fn throw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A duration in `[0, most)`, exactly zero for zero; of one that floats cannot count exactly, `most` itself may come.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        Duration::try_from_secs_f64(most.as_secs_f64() * self.throw()).unwrap_or(most).min(most)
    }
}
