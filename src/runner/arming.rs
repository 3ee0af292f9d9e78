//! Whether a tick is being armed: so that the drop of a tick is heard of by exactly one thread.
//!
//! A tick that is dropped unrun calls for the next one. Who drops it may be the thread that arms it, when its runner refuses it; or another one, as soon as it was accepted, when a queue
//! overflows. In the first case who arms learns it from the refusal, and acting on both would end in a recursion.
//!
//! | state | means | who may leave it |
//! |---|---|---|
//! | *settled* | nobody arms | who arms: to *arming* |
//! | *arming* | a post is on its way | who arms, when the post has answered: to *settled*; who drops a tick: to *dropped* |
//! | *dropped* | a tick was dropped meanwhile | who arms: to *settled*, and acts on the drop |
//!
//! Two threads arm at once only when the tick of the first runs before its post has returned; that tick is not dropped then. So each drop finds *arming*, and one of the two ends sees
//! *dropped*, or it finds *settled* and is acted on by who drops.
//!
//! Witnessed by `tests::arming_loom::*`.
#![forbid(unsafe_code)]

use crate::sync::atomic::{AtomicU8, Ordering};
use crate::zoo;

const SETTLED: u8 = 0;
const ARMING: u8 = 1;
const DROPPED: u8 = 2;

/// The state.
#[derive(Debug, Default)]
pub(super) struct Arming(AtomicU8);

impl Arming {
    pub(super) fn begin(&self) {
        // ORDER arming.begin: Release; comes before the post, so before any drop; pairs with arming.drop, arming.end.
        self.0.store(ARMING, Ordering::Release);
    }

    /// The post has answered; true when a tick was dropped meanwhile, and who arms must act on it.
    #[must_use = "a dropped tick ends the series unless somebody acts"]
    pub(super) fn end(&self) -> bool {
        if zoo::has("Z30") {
            // ORDER arming.defect: Acquire; the defect Z30: looks, then settles; pairs with arming.drop.
            let was_dropped = self.0.load(Ordering::Acquire) == DROPPED;
            // Relaxed: as above.
            self.0.store(SETTLED, Ordering::Relaxed);
            return was_dropped;
        }
        // ORDER arming.end: AcqRel; what the drop came after is visible; pairs with arming.drop, arming.begin.
        self.0.swap(SETTLED, Ordering::AcqRel) == DROPPED
    }

    /// A tick was dropped; true when who drops it must act on it.
    #[must_use = "a dropped tick ends the series unless somebody acts"]
    pub(super) fn dropped(&self) -> bool {
        // ORDER arming.drop: AcqRel; decided against the end in the order of the state; pairs with arming.end, arming.begin.
        self.0.compare_exchange(ARMING, DROPPED, Ordering::AcqRel, Ordering::Acquire).is_err()
    }
}
