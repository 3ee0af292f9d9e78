//! The house rules, checked from the source text.
//!
//! | file | role |
//! |---|---|
//! | `tidy.rs` | the tables, and one test per rule |
//! | `tidy/source.rs` | reads a file into tokens, comments, paths and test regions |
//! | `tidy/rooms.rs` | rules on who may name what: layers, unsafe code, primitives, the clock |
//! | `tidy/orderings.rs` | rules on atomics: ORDER tags, their peers, fences |
//! | `tidy/shape.rs` | rules on text: pages, lengths, names, leftovers, sleeps |
//! | `tidy/proof.rs` | each rule is seen to fail on a small text that breaks it |
//!
//! A rule that is wrong is changed here, in its table, with a reason. *Test code* is what lies in a folder or file
//! called `tests`, or in an inline module that is called `tests` or stands under `#[cfg(test)]`.

#[path = "tidy/orderings.rs"]
mod orderings;
#[path = "tidy/proof.rs"]
mod proof;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::{Finding, Source, Text};

/// The rooms, lowest first. A room names rooms of lower rows only: not its neighbours, not the rows above.
const LAYERS: &[&[&str]] = &[
    &["sync"],
    &["queue", "park"],
    &["task", "time"],
    &["pool"],
    &["runner"],
    &["supervise"],
    &["retry"],
    &["service", "jobs"],
    &["testing"],
];

/// Rooms outside the table: everybody may name them, they name only what stands beside them.
const OPEN_ROOMS: &[(&str, &[&str])] = &[
    // An error carries the lock around what it gives back, and the report of a panic.
    ("error", &["sync", "task"]),
    // The choice of the defect is read once, behind a cell.
    ("zoo", &["sync"]),
];

/// Where `unsafe` may stand.
const UNSAFE_HOMES: &[(&str, &str)] = &[
    ("src/queue/", "lock-free containers own their nodes by protocol, not by type"),
    ("src/task/raw.rs", "the erasure of closures and runnables behind one word"),
    ("src/task/loan.rs", "the erasure of the lifetime of closures that are over before a call returns"),
];

/// Product files that cannot carry `#![forbid(unsafe_code)]`: it would reach down into a home of unsafe code.
const FORBID_EXEMPT: &[(&str, &str)] = &[
    ("src/lib.rs", "above every room"),
    ("src/queue/", "a home of unsafe code"),
    ("src/task/mod.rs", "above `raw`"),
    ("src/task/raw.rs", "a home of unsafe code"),
    ("src/task/loan.rs", "a home of unsafe code"),
];

/// The one door to primitives.
const PRIMITIVE_HOMES: &[(&str, &str)] = &[("src/sync/", "wraps them for three backends")];

/// What everybody may take from `std::sync` and `std::thread`: nothing that blocks, starts or orders anything.
const PLAIN_SYNC: &[&str] = &["Arc", "Weak", "PoisonError"];
const PLAIN_THREAD: &[&str] = &["panicking", "Result", "available_parallelism"];

/// Crates that reach the rest of the code through the door only.
const PRIMITIVE_CRATES: &[&str] = &["parking_lot", "loom", "shuttle", "once_cell"];

/// Who reads the clock.
const CLOCK_READERS: &[(&str, &str)] = &[
    ("src/time/clock.rs", "everybody else is handed the time"),
    ("src/sync/mod.rs", "an instant that a user gives as a deadline"),
    ("src/sync/std_backend.rs", "a wait measures its own length"),
    ("src/pool/observe.rs", "the time stamp of a trace, taken only while somebody listens"),
];

/// Where a sequentially consistent fence may stand.
const FENCE_HOMES: &[(&str, &str)] = &[
    ("src/pool/idle.rs", "sleep and wake: store, fence, load on both sides"),
    ("src/pool/shutdown.rs", "close against accept: store, fence, load on both sides"),
    ("src/queue/", "the deque: owner against thieves for the last element"),
];

/// Tests that may sleep.
const SLEEPERS: &[(&str, &str)] = &[
    ("tests/env/futures.rs", "the future `sleep` of this crate is what is tested, in virtual time"),
    ("tests/env/supervise_runs.rs", "a body's sleep that a cancel ends is what is tested, in virtual time"),
    ("tests/env/supervise_rooms.rs", "bodies take virtual time"),
    ("tests/env/supervise_stops.rs", "a body's sleep that a cancel ends is what is tested, in virtual time"),
    ("tests/env/supervise_faults.rs", "bodies take virtual time"),
    ("tests/env/services.rs", "a stop function that uses up its time is what is tested, in virtual time"),
    ("tests/env/service_races.rs", "functions take virtual time"),
    ("tests/env/service_reloads.rs", "reloads take virtual time"),
    ("tests/env/tickers.rs", "ticks take virtual time"),
    ("tests/env/supervise_groups.rs", "bodies take virtual time"),
    ("tests/env/supervise_chaos.rs", "bodies take virtual time"),
    ("tests/env/break_supervise.rs", "bodies take virtual time"),
    ("tests/env/break_groups.rs", "bodies take virtual time"),
    ("tests/env/break_trees.rs", "bodies take virtual time"),
    ("tests/p_signals.rs", "a body that says something again and again until it is heard"),
    ("tests/env/supervise_races.rs", "bodies take virtual time"),
    ("tests/surface/", "programs, which are compiled and not to be changed"),
];

/// How far above an ordering its comment may stand, in lines.
const ORDER_REACH: usize = 8;
const RELAXED_REACH: usize = 6;

const FILE_LINES_MAX: usize = 600;

/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "prelude", "types", "manager"];

/// True when the path is in the table: a file by its name, a folder (with its slash) by its beginning.
fn is_listed(table: &[(&str, &str)], path: &str) -> bool {
    table.iter().any(|(home, _)| path == *home || (home.ends_with('/') && path.starts_with(home)))
}

#[track_caller]
fn demand_none(findings: Vec<Finding>) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} against the house rules:\n{}\n", lines.len(), lines.join("\n"));
}

fn src() -> Vec<Source> {
    source::read_rust(&["src"])
}

fn src_tests_and_examples() -> Vec<Source> {
    source::read_rust(&["src", "tests", "examples"])
}

#[test]
fn the_guard_sees_the_crate() {
    let sources = src_tests_and_examples();
    for path in ["src/lib.rs", "src/sync/mod.rs", "tests/tidy.rs"] {
        assert!(sources.iter().any(|source| source.path == path), "{path} was not read");
    }
}

#[test]
fn rooms_name_only_rooms_below_them() {
    demand_none(rooms::layers(&src()));
}

#[test]
fn unsafe_code_stays_in_its_homes() {
    demand_none(rooms::unsafe_code(&src()));
}

#[test]
fn every_safe_file_forbids_unsafe_code() {
    demand_none(rooms::forbid(&src()));
}

#[test]
fn primitives_come_through_sync() {
    demand_none(rooms::primitives(&src()));
}

#[test]
fn only_the_clock_reads_the_clock() {
    demand_none(rooms::clock(&src()));
}

#[test]
fn every_order_tag_is_unique_and_has_living_peers() {
    demand_none(orderings::tags(&src()));
}

#[test]
fn every_ordering_says_what_it_pairs_with() {
    demand_none(orderings::explained(&src()));
}

#[test]
fn sequentially_consistent_fences_stay_in_their_homes() {
    demand_none(orderings::fences(&src()));
}

#[test]
fn nothing_is_left_for_later() {
    demand_none(shape::leftovers(&src_tests_and_examples()));
}

#[test]
fn tests_do_not_sleep() {
    demand_none(shape::sleeps(&source::read_rust(&["src", "tests"])));
}

#[test]
fn every_file_begins_with_its_page() {
    demand_none(shape::pages(&src_tests_and_examples()));
}

#[test]
fn no_file_is_too_long() {
    demand_none(shape::lengths(&src_tests_and_examples()));
}

#[test]
fn lints_are_not_allowed_away() {
    demand_none(shape::allows(&src()));
}

#[test]
fn module_names_say_something() {
    demand_none(shape::names(&source::read_rust(&["src", "tests"])));
}

#[test]
fn public_prose_names_no_machine_path() {
    let places = ["src", "tests", "examples", "benches", ".ci", "README.md", "DESIGN.md", "CHANGELOG.md", "Cargo.toml"];
    let texts: Vec<Text> = source::read_texts(&places);
    demand_none(shape::machine_paths(&texts));
}
