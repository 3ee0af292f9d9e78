//! Sequence-local values.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    JoinError, MainThreadTaskRunner, Overflow, SequenceLocal, SequenceLocalError, SequencedTaskRunner, TaskTraits,
    ThreadMode,
};

use crate::AnyResult;
use crate::owned::{Grave, Mortal, named};

const SECOND: Duration = Duration::from_secs(1);

static COUNT: SequenceLocal<u32> = SequenceLocal::new(|| 10);
static KEPT: SequenceLocal<Option<Mortal>> = SequenceLocal::new(|| None);

fn count() -> Result<u32, SequenceLocalError> {
    COUNT.with(|count| {
        *count += 1;
        *count
    })
}

/// Each sequence has its own value, on whatever kind of runner; nobody else has one.
#[test]
fn each_sequence_has_its_value() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let bounded = SequencedTaskRunner::builder(env.pool()).capacity(4, Overflow::Block);
        let (a, b) = (named(env, "a"), bounded.build().expect("valid"));
        let thread = env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
        let (thread, main) = (thread.expect("a thread"), MainThreadTaskRunner::new());
        let handles: Vec<_> = (0..3).flat_map(|_| [a.spawn(count), b.spawn(count), thread.spawn(count)]).collect();
        let counts: Vec<_> = handles.into_iter().map(|handle| handle.join().expect("it runs")).collect();
        assert_eq!(counts, [11, 11, 11, 12, 12, 12, 13, 13, 13].map(Ok));
        let ours = main.runner().spawn(count);
        main.run_until_idle();
        assert_eq!(ours.join().expect("it ran"), Ok(11));
        assert_eq!(a.run_sync(count).expect("it is open"), Ok(14));
        let nowhere = Err(SequenceLocalError::NotInSequence);
        assert_eq!((count(), env.pool().spawn(count).join().expect("it runs")), (nowhere, nowhere));
    });
}

/// Values are dropped with their sequence, when what it accepted is over; a panic of one drop spoils nothing.
#[test]
fn local_values_die_with_their_sequence() {
    static BOMB: SequenceLocal<Option<Bomb>> = SequenceLocal::new(|| None);
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    TestEnvironment::builder().allow_panics().explore(0..50, |env| {
        let (home, grave) = (named(env, "home"), Grave::new());
        let mortal = grave.mortal();
        home.post_task(|| BOMB.with(|bomb| *bomb = Some(Bomb)).expect("in a sequence")).expect("open");
        home.post_task(move || KEPT.with(|kept| *kept = Some(mortal)).expect("in a sequence")).expect("open");
        home.post_delayed_task(SECOND, || assert!(KEPT.with(|kept| kept.is_some()).expect("it lives"))).expect("open");
        drop(home);
        env.run_until_idle();
        assert!(grave.places().is_empty());
        env.advance(SECOND);
        assert_eq!(grave.places().len(), 1);
        env.pool().spawn(|| ()).join().expect("the workers are well");
    });
}

/// A value in use is an error; a panic leaves it as it is, and one while it is made leaves none.
#[test]
fn local_value_in_use_is_an_error() -> AnyResult {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    static FAULTY: SequenceLocal<usize> = SequenceLocal::new(|| {
        assert!(FAULTY.with(|_| ()) == Err(SequenceLocalError::InUse), "it is being made");
        assert!(TRIED.fetch_add(1, Ordering::SeqCst) != 0, "the first one fails");
        7
    });
    let env = TestEnvironment::builder().allow_panics().build();
    let home = named(&env, "home");
    let nested = home.spawn(|| COUNT.with(|_| (count(), KEPT.with(|kept| kept.is_none()))));
    assert_eq!(nested.join()?, Ok((Err(SequenceLocalError::InUse), Ok(true))));
    let panics = home.spawn(|| {
        let _ = COUNT.with(|count| {
            *count = 20;
            panic!("in the closure")
        });
    });
    assert!(matches!(panics.join(), Err(JoinError::Panicked(_))));
    assert_eq!(home.spawn(count).join()?, Ok(21));
    assert!(home.spawn(|| FAULTY.with(|value| *value)).join().is_err());
    assert_eq!(home.spawn(|| FAULTY.with(|value| *value)).join()?, Ok(7));
    Ok(())
}
