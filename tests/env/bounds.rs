//! Posters that wait for room, in virtual time.

use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{Overflow, ParallelTaskRunner, RejectReason, SequencedTaskRunner};

const SECOND: Duration = Duration::from_secs(1);

/// POST-9, POST-7: a full queue makes the poster wait at most so long; a worker of the pool is refused at once.
#[test]
fn full_queue_blocks_for_so_long() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, wait_for_room);
    }
}

fn wait_for_room(env: &TestEnvironment) {
    let builder = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::BlockFor(SECOND));
    let strand = builder.build().expect("valid");
    let pause = strand.pause();
    strand.post_task(|| ()).expect("there is room");
    let refused = strand.post_task(|| ()).map_err(|refused| refused.reason());
    assert_eq!((refused, env.now()), (Err(RejectReason::Full), SECOND));
    let own = strand.clone();
    let inside = env.pool().spawn(move || own.post_task(|| ()).map_err(|refused| refused.reason()));
    assert_eq!(inside.join().expect("it runs"), Err(RejectReason::Full));
    assert_eq!(env.now(), SECOND);
    env.pool().post_delayed_task(SECOND / 2, move || pause.resume()).expect("open");
    strand.post_task(|| ()).expect("there is room in time");
    assert_eq!(env.now(), SECOND + SECOND / 2);
    strand.flush().expect("open");
    assert_eq!((strand.stats().ran, strand.stats().rejected), (2, 2));

    let limited = ParallelTaskRunner::builder(env.pool()).capacity(1, Overflow::BlockFor(SECOND));
    let limited = limited.build().expect("valid");
    let _pause = limited.pause();
    limited.post_task(|| ()).expect("there is room");
    let before = env.now();
    assert_eq!(limited.post_task(|| ()).map_err(|refused| refused.reason()), Err(RejectReason::Full));
    assert_eq!(env.now(), before + SECOND);
}
