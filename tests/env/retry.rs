//! Helpers that wait, and the circuit breaker, in virtual time (SUP-17).

use std::cell::Cell;
use std::time::Duration;

use overstrand::retry::{CircuitBreaker, CircuitState, poll_until, retry};
use overstrand::testing::TestEnvironment;
use overstrand::{Backoff, CancelToken, Jitter};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// It looks at once, after each tick, and for the last time when the limit is over.
#[test]
fn polling_looks_at_each_tick_and_at_the_end() {
    let env = TestEnvironment::with_seed(1);
    let token = CancelToken::new();
    let begun = env.now();
    let mut looks = Vec::new();
    let mut look = |answer: bool| {
        looks.push((env.now() - begun).as_millis());
        answer
    };
    assert!(!poll_until(&token, SECOND, Duration::from_millis(2500), || look(false)));
    assert_eq!(looks, [0, 1000, 2000, 2500]);
    let mut left = 5;
    let found = poll_until(&token, SECOND, None, || {
        left -= 1;
        left == 0
    });
    assert!(found);
    assert_eq!((env.now() - begun).as_millis(), 6500);
    assert!(
        !poll_until(&token, Duration::ZERO, Duration::from_millis(5), || false),
        "time goes on though the tick is zero"
    );
    assert!(!poll_until(&token, SECOND, Duration::ZERO, || false));
}

/// A signal ends the pause, and nothing is looked at any more.
#[test]
fn token_ends_the_polling_at_once() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let token = CancelToken::new();
    let cancels = token.clone();
    env.pool().post_delayed_task(Duration::from_millis(1500), move || cancels.cancel())?;
    let looks = Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        false
    };
    assert!(!poll_until(&token, SECOND, None, look));
    assert_eq!((env.now(), looks.get()), (Duration::from_millis(1500), 2));
    assert!(!poll_until(&token, SECOND, None, || true));
    Ok(())
}

/// The pauses are those of the backoff; a signal ends them with the last error.
#[test]
fn retries_pause_and_give_up_when_the_task_is_cancelled() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let pauses = Backoff::exponential(SECOND).max(SECOND * 5);
    let calls = Cell::new(0);
    let failing = || {
        calls.set(calls.get() + 1);
        Err::<(), _>(calls.get())
    };
    assert_eq!(retry(pauses, 4, |_| true, failing), Err(5));
    assert_eq!(env.now(), SECOND * (1 + 2 + 4 + 5));
    let mut tries = 0;
    let endless = env.pool().spawn(move || {
        let op = || {
            tries += 1;
            Err::<(), _>(tries)
        };
        retry(Backoff::constant(SECOND), None, |_| true, op)
    });
    env.advance(Duration::from_millis(2500));
    endless.cancel();
    assert_eq!(endless.join()?, Err(3));
    Ok(())
}

/// Jitter comes from the seed: the same seed, the same pauses; another one, others.
#[test]
fn jitter_is_the_seeds() {
    let end = |seed: u64| {
        let env = TestEnvironment::with_seed(seed);
        let pauses = Backoff::constant(SECOND).jitter(Jitter::Full);
        assert!(retry(pauses, 10, |_| true, || Err::<(), _>(())).is_err());
        env.now()
    };
    assert_eq!(end(3), end(3));
    assert_ne!(end(3), end(4));
    assert!(end(5) < SECOND * 10);
}

/// Open for so long, then one probe at a time.
#[test]
fn circuit_opens_rests_and_probes() -> AnyResult {
    let env = TestEnvironment::builder().baton().workers(3).build();
    let breaker = CircuitBreaker::builder().failures(2).window(SECOND * 10).open_for(SECOND * 30).build()?;
    let fail = || Err::<(), _>(());
    assert!(breaker.call(fail)?.is_err());
    env.advance(SECOND * 11);
    assert!(breaker.call(fail)?.is_err());
    assert_eq!(breaker.state(), CircuitState::Closed, "the first failure is forgotten");
    assert!(breaker.call(fail)?.is_err());
    assert_eq!((breaker.state(), breaker.refuses_for()), (CircuitState::Open, SECOND * 30));
    env.advance(SECOND * 30);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    let never = CancelToken::new();
    let of_probe = breaker.clone();
    let probe = env.pool().spawn(move || of_probe.call(|| Ok::<_, ()>(never.wait_timeout(SECOND))).is_ok());
    env.advance(SECOND / 2);
    assert!(breaker.call(|| Ok::<_, ()>(())).is_err(), "the probe is on its way");
    assert!(probe.join()?);
    assert_eq!(breaker.state(), CircuitState::Closed);
    Ok(())
}
