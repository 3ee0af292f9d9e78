//! Same seed, same order; failures are found, shortened, replayed.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use overstrand::ThreadPool;
use overstrand::testing::{Strategy, TestEnvironment, Trace};

use crate::{AnyResult, panic_text};

fn order(builder: overstrand::testing::TestEnvironmentBuilder) -> AnyResult<(Vec<usize>, u64)> {
    let env = builder.build();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for task in 0..10 {
        let seen = Arc::clone(&seen);
        env.pool().post_task(move || seen.lock().expect("no panic").push(task))?;
    }
    env.run_until_idle();
    let order = seen.lock().expect("no panic").clone();
    Ok((order, env.trace_hash()))
}

/// ENV-3: same seed, same order; other seeds, other orders.
#[test]
fn seed_decides_the_order() -> AnyResult {
    let mut orders = HashSet::new();
    for seed in 0..50 {
        let first = order(TestEnvironment::builder().seed(seed))?;
        assert_eq!(first, order(TestEnvironment::builder().seed(seed))?);
        let blocking = order(TestEnvironment::builder().seed(seed).baton())?;
        assert_eq!(blocking, order(TestEnvironment::builder().seed(seed).baton())?);
        orders.insert(first.0);
    }
    assert!(orders.len() > 10, "{} orders", orders.len());
    Ok(())
}

/// Each strategy gives a complete run of its own.
#[test]
fn every_strategy_runs_everything() -> AnyResult {
    let strategies = [
        Strategy::Random,
        Strategy::Pct { depth: 3 },
        Strategy::RoundRobin,
        Strategy::Strict,
        Strategy::StarveOne,
        Strategy::Replay("1=1,3=0".parse()?),
    ];
    for strategy in strategies {
        let (mut order, _) = order(TestEnvironment::builder().seed(5).strategy(strategy.clone()))?;
        order.sort_unstable();
        assert_eq!(order, (0..10).collect::<Vec<_>>(), "{strategy}");
    }
    Ok(())
}

/// A counter that is read and written in two tasks.
fn lossy_counter(pool: &ThreadPool) -> Arc<AtomicUsize> {
    let counter = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let (counter, again) = (Arc::clone(&counter), pool.clone());
        let read = move || {
            let seen = counter.load(Ordering::SeqCst);
            let _ = again.post_task(move || counter.store(seen + 1, Ordering::SeqCst));
        };
        pool.post_task(read).expect("open");
    }
    counter
}

fn scenario(env: &TestEnvironment) {
    let counter = lossy_counter(env.pool());
    env.run_until_no_tasks();
    assert_eq!(counter.load(Ordering::SeqCst), 2, "a count was lost");
}

/// ENV-3: an exploration finds the order that loses a count.
#[test]
fn exploration_finds_the_lost_count() {
    let text = panic_text(|| TestEnvironment::explore(0..1000, scenario));
    assert!(text.contains("a count was lost"), "{text}");
    let text = panic_text(|| TestEnvironment::builder().baton().explore(0..1000, scenario));
    assert!(text.contains("a count was lost"), "{text}");
}

/// The trace of a run gives the run again.
#[test]
fn trace_replays_its_run() -> AnyResult {
    for seed in 0..30 {
        let env = TestEnvironment::with_seed(seed);
        let counter = lossy_counter(env.pool());
        env.run_until_no_tasks();
        let (count, trace, steps) = (counter.load(Ordering::SeqCst), env.trace(), env.steps());
        drop(env);
        let env = TestEnvironment::builder().seed(seed).strategy(Strategy::Replay(trace.clone())).build();
        let counter = lossy_counter(env.pool());
        env.run_until_no_tasks();
        assert_eq!((counter.load(Ordering::SeqCst), env.steps(), env.trace()), (count, steps, trace));
    }
    assert!("1=2,x".parse::<Trace>().is_err());
    Ok(())
}

/// This test's own process, asked by `failing_seed_is_printed_and_replayed` only.
#[test]
fn child_explores() {
    if std::env::var("OVERSTRAND_TEST_CHILD").is_ok() {
        TestEnvironment::explore(0..1000, scenario);
    }
}

/// ENV-3: the seed is printed, and what is printed replays the failure in another process, with the same order.
#[test]
fn failing_seed_is_printed_and_replayed() -> AnyResult {
    let child = |replay: &str| {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(["seeds::child_explores", "--exact", "--nocapture"]);
        command.env("OVERSTRAND_TEST_CHILD", "1").env("OVERSTRAND_REPLAY", replay).output()
    };
    let output = child("")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    let head = text.lines().find(|line| line.starts_with("failed: seed ")).ok_or("no seed is printed")?;
    let replay = text.lines().find_map(|line| line.strip_prefix("replay: OVERSTRAND_REPLAY='")).ok_or("no replay")?;
    let replay = replay.split('\'').next().unwrap_or_default();
    let hash = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    for _ in 0..2 {
        let output = child(replay)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let again =
            text.lines().find(|line| line.starts_with("failed again: seed ")).ok_or("it does not fail again")?;
        assert_eq!(hash(again), hash(head), "{head}\n{again}");
    }
    Ok(())
}
