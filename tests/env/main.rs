//! The test environment, and the pool's promises in it, explored over seeds.
//!
//! | file | what it pins |
//! |---|---|
//! | `basics` | time, waits, the global pool, what is left (ENV-1, ENV-2, ENV-4) |
//! | `seeds` | same seed, same order; failures are found, shortened, replayed (ENV-3) |
//! | `blocking` | baton mode |
//! | `conformance` | every kind of runner × each promise that it keeps |
//! | `endings` | futures that nobody wakes any more |
//! | `notes` | a log of lines, and a strand, for several of these |
//! | `control` | control over a pool: fences |
//! | `edges` | edges of calls, traits and parallel runners |
//! | `edges_of_time` | edges of order, time and place |
//! | `cells` | values that open on one sequence |
//! | `cron` | schedules by the wall clock (SUP-16) |
//! | `cron_zones` | the same around every change of clocks, against a model |
//! | `day` | the logic of an example over a virtual day |
//! | `forgotten` | what a dropped environment fails the test for |
//! | `dump` | what dumps tell of runners, and for how long nothing has moved |
//! | `fan_in` | many into one, one to many |
//! | `faults` | injected faults, coverage, convergence |
//! | `jobs_classes` | resumable jobs: classes, preemption, lanes, room |
//! | `jobs_ends` | their cancels, failures, resources, shutdown |
//! | `jobs_states` | their states, saved or not |
//! | `jobs_supervised` | resumable bodies under a supervisor |
//! | `locals` | sequence-local values |
//! | `once` | values that die on their runner, events that happen once |
//! | `owned` | owned state, callbacks, replies |
//! | `owned_later` | delayed and repeated calls of owned state |
//! | `replies` | replies that are built, to any runner, and continuations |
//! | `futures` | futures on runners |
//! | `inheritance` | who waits lends its priority |
//! | `pauses` | runners that are paused |
//! | `scopes` | parallel work that the caller waits for |
//! | `parallel` | bounded concurrency |
//! | `sync_calls` | synchronous calls into a sequence |
//! | `tracked` | tasks that are called off together |
//! | `supervise_chaos` | all of supervision at once, in any order, judged by its invariants |
//! | `services` | start, stop and restart; a service as a supervised body |
//! | `service_races` | services in the hands of several at once |
//! | `service_reloads` | reloads of what runs; readiness |
//! | `supervise_events` | events of supervised tasks |
//! | `supervise_faults` | faults of supervised tasks, what comes at a bad moment |
//! | `supervise_groups` | groups of supervised tasks |
//! | `supervise_pairs` | each two causes of an end, in both orders; each end by each policy |
//! | `supervise_races` | two things that happen to a supervised task at once |
//! | `supervise_rooms` | capacity, eviction, permits, slots |
//! | `supervise_runs` | supervised tasks: outcomes, restarts, backoff, bodies of each kind |
//! | `supervise_asks` | what is asked of a supervisor, and by which tokens tasks are stopped |
//! | `supervise_stops` | cancel, grace, stuck runs, time limits, the watchdog, shutdown |
//! | `tickers` | ticks by a schedule |
//! | `tickers_beside` | ticks that do not wait for one another |
//! | `threads` | runners with a real thread, the pump of a thread |
//! | `pumps` | the pump of the test's own thread, in virtual time |
//! | `recent` | what is written down of ended tasks |
//! | `bounds` | posters that wait for room |
//! | `break_supervise` | supervised tasks at their limits: causes, awkward moments, destructors, extreme values |
//! | `break_groups` | groups at awkward moments |
//! | `break_trees` | trees of groups, meddled with at random, judged by their invariants |
//! | `waits` | waits in all their forms |
//! | `repeating` | tasks that repeat, tokens that end them |
//! | `timers` | delayed tasks that are taken back, timers |
//! | `retry` | helpers that wait, the circuit breaker |
//! | `mixed` | the big scenario, and the core's promises over seeds |

mod basics;
mod blocking;
mod bounds;
mod break_groups;
mod break_supervise;
mod break_trees;
mod cells;
mod conformance;
mod control;
#[cfg(feature = "cron")]
mod cron;
#[cfg(feature = "cron")]
mod cron_zones;
mod day;
mod dump;
mod edges;
mod edges_of_time;
mod endings;
mod fan_in;
mod faults;
mod forgotten;
mod futures;
mod inheritance;
mod jobs_classes;
mod jobs_ends;
mod jobs_states;
mod jobs_supervised;
mod locals;
mod mixed;
mod notes;
mod once;
mod owned;
mod owned_later;
mod parallel;
mod pauses;
mod pumps;
mod recent;
mod repeating;
mod replies;
mod retry;
mod scopes;
mod seeds;
mod service_races;
mod service_reloads;
mod services;
mod supervise_asks;
mod supervise_chaos;
mod supervise_events;
mod supervise_faults;
mod supervise_groups;
mod supervise_pairs;
mod supervise_races;
mod supervise_rooms;
mod supervise_runs;
mod supervise_stops;
mod sync_calls;
mod threads;
mod tickers;
mod tickers_beside;
mod timers;
mod tracked;
mod waits;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Prints what a test has counted, for the table of figures: `cargo test ... -- supervise --nocapture | grep figure`.
fn figure(number: &str, counted: std::fmt::Arguments<'_>) {
    println!("figure {number} {counted}");
}

type AnyResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The text of the panic that `f` ends with.
#[track_caller]
fn panic_text(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().map_or_else(String::new, |text| (*text).to_owned()),
    }
}
