//! overstrand beside its Rust peers: every competitor runs the same workloads behind one trait, interleaved in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml                      # all cells, 7 rounds
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick          # a first look
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- --cells W3,W4-1000 --only overstrand,rayon --rounds 11
//! cargo run --release --manifest-path benches/peers/Cargo.toml --no-default-features   # the peers alone
//! ```
//!
//! The Markdown tables go to standard output, progress to standard error. `--help` lists the options.
//!
//! # How it measures
//!
//! The parent process ([`runner`]) starts itself again as a child for each sample: one cell, one contender, one process.
//! In every round each cell is run by each contender once, and the order rotates from round to round, so that a machine
//! that gets slower or faster meets everybody alike. Compare ratios within one run, never numbers of two runs.
//!
//! The child ([`workload`]) builds the pool and its strands, runs 10,000 tasks to warm up, and then times the workload
//! alone: from the first post until the shared counter shows that all tasks ran. The body of each task is one relaxed
//! atomic add; where the task has more to do, that is another post. The waiting thread naps in the same way for all.
//!
//! | cells | what is timed |
//! |---|---|
//! | `W1-…` | posts from outside to the pool, unordered; 1 and 2 workers × 1 and 2 producers |
//! | `W2-…` | fan-out: each task posts two more from inside |
//! | `W3-…` | posts to one strand |
//! | `W4-1000-…`, `W4-100000-…` | posts to that many strands in turn |
//! | `W5-pingpong-…`, `W5-chain-…` | two strands that post to each other; a pool task that posts the next one |
//! | `W5c-…` | one post after 1 ms of idleness: p50 and p99 from post to start, processor time per post |
//! | `W8-…` | bytes per strand and per queued task: heap as asked for, and resident memory ([`memory`]) |
//!
//! `1w2p` is one worker and two producers. A cell that a contender cannot run, or did not finish in 60 s, shows `–`.
//!
//! # How it judges
//!
//! Each figure is the median of the rounds. A cell is won when `ours / best peer` is at most 1.00, or at most 1.05 where
//! the spread, `(max − min) / median`, of either of the two exceeds 10 %: such a cell cannot tell them apart.
//! Processor time per operation is shown and not judged. The memory cells hardly vary and run in the first three rounds
//! only.
//!
//! # Limits
//!
//! The shared counter in the body favours whoever runs everything on one worker, as users with shared state see it too.
//! With 2 producers and 2 workers a machine of 2 cores is oversubscribed. Nothing here tells about 8 cores or more.
//!
//! # Where to change what
//!
//! A new competitor is a file in `contenders/` and a line in [`contenders::all`]; a new workload is a variant of
//! [`cell::Workload`], a line in `cell::all` and a function in [`workload`].

mod allocator;
mod cell;
mod cold;
mod contender;
mod contenders;
mod machine;
mod memory;
mod options;
mod report;
mod runner;
mod sample;
mod stopwatch;
mod workload;

use std::process::ExitCode;

use options::Mode;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(Mode::Help) => {
            println!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Mode::Child { cell, contender, scale }) => {
            for reading in (contender.measure)(cell, scale) {
                println!("{reading}");
            }
            // WHY: the contender is leaked and its workers are alive; leaving `main` ends them.
            ExitCode::SUCCESS
        }
        Ok(Mode::Parent(plan)) => {
            let run = runner::run(&plan);
            print!("{}", report::Report::new(&plan, &run));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}\n\n{}", options::HELP);
            ExitCode::FAILURE
        }
    }
}
