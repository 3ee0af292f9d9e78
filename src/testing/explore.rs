//! Exploring: the same scenario under many seeds, and what is done about the first that fails.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt::Write as _;

use super::environment::{TestEnvironment, TestEnvironmentBuilder};
use super::faults::{Coverage, merge_coverage};
use super::schedule::{Strategy, Trace};
use crate::sync::thread::current_name;
use crate::task::panic::{catch, message_of};

/// Every so many seeds a run is repeated, to see that it is the same again.
const REPEATED: u64 = 64;

/// How many shorter schedules are tried for a failure.
const SHRINKS_MAX: usize = 300;

/// The variable that makes an exploration run one seed only: `SEED`, `SEED:STRATEGY` or `SEED:TRACE`.
const REPLAY_VARIABLE: &str = "OVERSTRAND_REPLAY";

/// How a run ended.
struct Ended {
    hash: u64,
    trace: Trace,
    outcome: Result<Coverage, Failure>,
}

struct Failure {
    text: String,
    position: String,
    recent: String,
    payload: Option<Box<dyn Any + Send>>,
}

impl TestEnvironment {
    /// Runs a scenario once for each seed, each with an environment of its own, in plain mode with two workers; see
    /// [`TestEnvironmentBuilder::explore`].
    ///
    /// # Panics
    ///
    /// When a run panics or forgets something; see there.
    pub fn explore(seeds: impl IntoIterator<Item = u64>, scenario: impl Fn(&Self)) {
        Self::builder().explore(seeds, scenario);
    }
}

impl TestEnvironmentBuilder {
    /// Runs a scenario once for each seed, each with an environment of its own.
    ///
    /// The first run that fails is made shorter, as far as it goes on failing, and reported on standard error: its seed, strategy and step, the last
    /// steps, and a value for the environment variable `OVERSTRAND_REPLAY` with which the same test runs that schedule alone. Every 64th seed runs twice, and
    /// must give the same order again.
    ///
    /// # Panics
    ///
    /// With the panic of the run that failed; when a run forgets something (see [`TestEnvironment`]); when a seed gives two different orders; when
    /// something that must happen [`sometimes`](super::sometimes) never did; when `OVERSTRAND_REPLAY` cannot be read.
    pub fn explore(self, seeds: impl IntoIterator<Item = u64>, scenario: impl Fn(&TestEnvironment)) {
        if let Some(replay) = replay_wanted() {
            return self.replay(&replay, &scenario);
        }
        let mut coverage = Coverage::new();
        for seed in seeds {
            let builder = self.clone().seed(seed);
            let ended = builder.run(&scenario);
            match ended.outcome {
                Ok(seen) => merge_coverage(&mut coverage, seen),
                Err(failure) => builder.report(failure, ended.trace, &scenario),
            }
            if seed % REPEATED == 0 {
                let again = builder.run(&scenario);
                assert_eq!(
                    again.hash, ended.hash,
                    "seed {seed} gave two different orders: the scenario depends on something else"
                );
            }
        }
        let missed: Vec<_> = coverage.iter().filter(|(_, was_true)| !**was_true).map(|(name, _)| *name).collect();
        assert!(missed.is_empty(), "no seed ever reached: {missed:?}");
    }

    fn run(&self, scenario: &impl Fn(&TestEnvironment)) -> Ended {
        let env = self.clone().build();
        let result = catch(|| {
            scenario(&env);
            env.finish()
        });
        let shared = env.shared();
        let outcome = match result {
            Ok(Ok(coverage)) => Ok(coverage),
            Ok(Err(text)) => Err(Failure { text, position: shared.position(), recent: shared.recent(), payload: None }),
            Err(payload) => {
                let text = message_of(&*payload).unwrap_or("<non-string payload>").to_owned();
                let (position, recent) = (shared.position(), shared.recent());
                shared.fail("the scenario panicked".into());
                Err(Failure { text, position, recent, payload: Some(payload) })
            }
        };
        Ended { hash: env.trace_hash(), trace: env.trace(), outcome }
    }

    /// Tells of a failure, after having made it shorter, and panics with it.
    fn report(&self, failure: Failure, trace: Trace, scenario: &impl Fn(&TestEnvironment)) -> ! {
        let seed = self.seed;
        let full = trace.0.len();
        let (failure, trace) = self.shrink(failure, trace, scenario);
        let test = current_name().unwrap_or_else(|| "the test".into());
        let mut text = String::new();
        let _ = writeln!(text, "\nfailed: {}", failure.position);
        let _ = writeln!(
            text,
            "{} of {full} switches are left in the shortest schedule that fails; its last steps:",
            trace.0.len()
        );
        let _ = write!(text, "{}", failure.recent);
        let _ = writeln!(text, "replay: {REPLAY_VARIABLE}='{seed}:{trace}' cargo test {test}");
        eprintln!("{text}");
        match failure.payload {
            Some(payload) => std::panic::resume_unwind(payload),
            None => panic!("{}", failure.text),
        }
    }

    /// Leaves out switches as long as the run fails in the same way: halves first, then smaller parts.
    fn shrink(&self, mut failure: Failure, mut trace: Trace, scenario: &impl Fn(&TestEnvironment)) -> (Failure, Trace) {
        let mut tries = 0;
        let mut part = trace.0.len().div_ceil(2);
        while part > 0 && tries < SHRINKS_MAX {
            let steps: Vec<u64> = trace.0.keys().copied().collect();
            let mut was_shortened = false;
            for left_out in steps.chunks(part) {
                let mut shorter = trace.clone();
                shorter.0.retain(|step, _| !left_out.contains(step));
                tries += 1;
                let ended = self.clone().strategy(Strategy::Replay(shorter)).run(scenario);
                let same = ended.outcome.err().filter(|other| other.text == failure.text);
                if let Some(other) = same.filter(|_| ended.trace.0.len() < trace.0.len()) {
                    (failure, trace, was_shortened) = (other, ended.trace, true);
                    break;
                }
            }
            if !was_shortened {
                part /= 2;
            }
        }
        (failure, trace)
    }

    fn replay(self, replay: &str, scenario: &impl Fn(&TestEnvironment)) {
        let (seed, how) = replay.split_once(':').unwrap_or((replay, ""));
        let seed = seed.trim().parse().unwrap_or_else(|_| panic!("{REPLAY_VARIABLE}={replay:?}: {seed:?} is no seed"));
        let strategy = match how.trim() {
            _ if !replay.contains(':') => self.strategy.clone(),
            how => {
                Strategy::Replay(how.parse().unwrap_or_else(|error| panic!("{REPLAY_VARIABLE}={replay:?}: {error}")))
            }
        };
        let builder = self.seed(seed).strategy(strategy);
        if let Err(failure) = builder.run(scenario).outcome {
            eprintln!("\nfailed again: {}\n{}", failure.position, failure.recent);
            match failure.payload {
                Some(payload) => std::panic::resume_unwind(payload),
                None => panic!("{}", failure.text),
            }
        }
    }
}

fn replay_wanted() -> Option<String> {
    std::env::var(REPLAY_VARIABLE).ok().filter(|text| !text.is_empty())
}
