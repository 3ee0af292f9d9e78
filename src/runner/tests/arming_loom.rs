//! The arming of a tick that is dropped meanwhile, under the model checker.

use std::sync::Arc;

use loom::thread;

use crate::runner::arming::Arming;

/// A tick that is dropped by another thread while it is being armed is acted on by exactly one of the two. Model of defect Z30.
#[test]
fn loom_dropped_tick_is_acted_on_once() {
    loom::model(|| {
        let arming = Arc::new(Arming::default());
        arming.begin();
        // The post was accepted; a queue overflows at once.
        let dropper = {
            let arming = Arc::clone(&arming);
            thread::spawn(move || arming.dropped())
        };
        let by_armer = arming.end();
        let by_dropper = dropper.join().expect("no panic");
        assert!(by_armer != by_dropper, "{by_armer} {by_dropper}");
    });
}

/// A tick that its own post refuses is acted on by who arms.
#[test]
fn loom_refused_tick_is_acted_on_by_who_arms() {
    loom::model(|| {
        let arming = Arming::default();
        arming.begin();
        assert!(!arming.dropped());
        assert!(arming.end());
        assert!(arming.dropped(), "settled: nobody else would");
    });
}
