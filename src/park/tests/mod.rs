//! The permit contract, alone and under the model checker.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{Parker, Wait, wait_for};

#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod unit {
    use super::*;

    #[test]
    fn permit_given_before_the_wait_ends_it() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        parker.park();
        assert!(!parker.park_timeout(Duration::from_millis(1)), "permits do not add up");
    }

    #[test]
    fn wait_without_a_permit_ends_with_its_time() {
        assert_eq!(wait_for(|_| Poll::<()>::Pending, Wait::on("nothing").at_most(Some(Duration::ZERO))), None);
    }

    #[test]
    fn a_bell_that_never_rings_keeps_nobody_who_has_left() {
        let (often, never) = (super::super::Bell::new(), super::super::Bell::new());
        for _ in 0..3 {
            let mut looks = 0;
            let look = || {
                looks += 1;
                often.ring();
                (looks > 5).then_some(looks)
            };
            let waited = super::super::Bell::wait_for_either([&often, &never], look, Wait::on("a test"));
            assert_eq!(waited, Some(6));
        }
        assert_eq!((often.listeners(), never.listeners()), (0, 0));
    }

    #[test]
    fn many_permits_across_threads_are_each_seen() {
        let (ping, pong) = (Arc::new(Parker::new()), Arc::new(Parker::new()));
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        let other = {
            let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
            std::thread::spawn(move || {
                for _ in 0..rounds {
                    ping.park();
                    pong.unpark();
                }
            })
        };
        for _ in 0..rounds {
            ping.unpark();
            pong.park();
        }
        other.join().expect("no panic");
    }
}

/// All interleavings, without a bound.
#[cfg(overstrand_loom)]
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(f);
}

#[cfg(overstrand_loom)]
#[test]
fn loom_permit_is_never_lost() {
    model(|| {
        let parker = Arc::new(Parker::new());
        let other = {
            let parker = Arc::clone(&parker);
            loom::thread::spawn(move || parker.unpark())
        };
        parker.park();
        other.join().expect("no panic");
    });
}

#[cfg(overstrand_loom)]
#[test]
fn loom_waiter_sees_what_came_before_the_wake() {
    use crate::sync::Mutex;
    model(|| {
        let slot = Arc::new(Mutex::new((None, None::<std::task::Waker>)));
        let other = {
            let slot = Arc::clone(&slot);
            loom::thread::spawn(move || {
                let waker = {
                    let mut slot = slot.lock();
                    slot.0 = Some(7);
                    slot.1.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            })
        };
        let seen = wait_for(
            |context| {
                let mut slot = slot.lock();
                match slot.0 {
                    Some(value) => Poll::Ready(value),
                    None => {
                        slot.1 = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            },
            Wait::on("a value"),
        );
        assert_eq!(seen, Some(7));
        other.join().expect("no panic");
    });
}
