//! The parent: starts a child per sample, interleaved, and collects the readings.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::cell::Cell;
use crate::contender::Entry;
use crate::options::{Plan, child_arguments};
use crate::sample::{Metric, Reading};

/// A child that takes longer is killed, and its contender is out of the cell.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Bytes hardly vary: this many rounds of the memory cells are enough.
pub(crate) const MEMORY_ROUNDS: usize = 3;

/// What a run measured. Cells and contenders go by their place in the plan.
#[derive(Default)]
pub(crate) struct Run {
    samples: BTreeMap<(usize, usize, Metric), Vec<f64>>,
    failed: BTreeSet<(usize, usize)>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The samples of one contender in one row, in brief.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The value in the middle, or the mean of the two there.
    pub(crate) median: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest value.
    pub(crate) max: f64,
}

/// Carries out the plan.
pub(crate) fn run(plan: &Plan) -> Run {
    let started = Instant::now();
    let mut run = Run::default();
    for round in 0..plan.rounds {
        for (at, cell) in plan.cells.iter().enumerate() {
            if round < MEMORY_ROUNDS || !cell.is_memory() {
                run.round_of_cell(plan, round, at);
            }
        }
        eprintln!("round {} of {}: {:.0} s so far", round + 1, plan.rounds, started.elapsed().as_secs_f64());
    }
    run.took = started.elapsed();
    run
}

impl Run {
    /// The metrics that were read in this cell.
    pub(crate) fn metrics(&self, cell: usize) -> BTreeSet<Metric> {
        self.samples.keys().filter(|key| key.0 == cell).map(|key| key.2).collect()
    }

    /// What this contender did in the row, if it did anything.
    pub(crate) fn summary(&self, cell: usize, contender: usize, metric: Metric) -> Option<Summary> {
        self.samples.get(&(cell, contender, metric)).and_then(|values| Summary::of(values))
    }

    /// The contenders that did not finish a cell, as pairs of cell and contender.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (usize, usize)> {
        self.failed.iter().copied()
    }

    /// Each contender once, another one first in each round and cell.
    fn round_of_cell(&mut self, plan: &Plan, round: usize, at: usize) {
        let count = plan.contenders.len();
        for turn in 0..count {
            let who = (turn + round + at) % count;
            let (cell, entry) = (&plan.cells[at], plan.contenders[who]);
            if !(entry.supports)(cell) || self.failed.contains(&(at, who)) {
                continue;
            }
            match sample(cell, entry, plan.scale) {
                Ok(readings) => self.add(at, who, &readings),
                Err(reason) => {
                    eprintln!("{} in {cell}: {reason}", entry.name);
                    self.fail(at, who);
                }
            }
        }
    }

    fn add(&mut self, cell: usize, contender: usize, readings: &[Reading]) {
        for reading in readings {
            self.samples.entry((cell, contender, reading.metric)).or_default().push(reading.value);
        }
    }

    /// Out of the cell: what it did in earlier rounds does not count either.
    fn fail(&mut self, cell: usize, contender: usize) {
        self.failed.insert((cell, contender));
        self.samples.retain(|key, _| (key.0, key.1) != (cell, contender));
    }
}

impl Summary {
    /// The summary of these values, if there are any.
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: (lower + sorted[middle]) / 2.0, min, max })
    }

    /// How far the samples lie apart, as a share of the median.
    pub(crate) fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median } else { 0.0 }
    }
}

/// One sample in a process of its own.
fn sample(cell: &Cell, contender: &Entry, scale: f64) -> Result<Vec<Reading>, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let mut child = Command::new(program)
        .args(child_arguments(cell, contender, scale))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("not started: {error}"))?;
    let text = output_of(&mut child, WATCHDOG);
    let status = child.wait().map_err(|error| format!("lost: {error}"))?;
    let text = text.ok_or_else(|| format!("killed after {} s", WATCHDOG.as_secs()))?;
    if !status.success() {
        return Err(status.to_string());
    }
    text.lines().map(str::parse).collect()
}

/// All that the child prints; `None` if it had to be killed after `limit`. Sleeps meanwhile, so that the child
/// has the machine.
fn output_of(child: &mut Child, limit: Duration) -> Option<String> {
    let mut output = child.stdout.take().expect("its output is piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // A broken pipe or foreign bytes leave a text that does not parse, which the caller reports. The receiver may
        // have given up.
        let _ = output.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    let text = receiver.recv_timeout(limit).ok();
    if text.is_none() {
        // It fails only for a child that has ended by now.
        let _ = child.kill();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::{Duration, Metric, Reading, Run, Summary, WATCHDOG, output_of};

    fn child(program: &str, argument: &str) -> Child {
        Command::new(program).arg(argument).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn child_that_hangs_is_killed() {
        let mut hanging = child("sleep", "1000");
        assert_eq!(output_of(&mut hanging, Duration::from_millis(20)), None);
        assert!(!hanging.wait().unwrap().success());

        let mut speaking = child("echo", "wall 1.5");
        assert_eq!(output_of(&mut speaking, WATCHDOG).as_deref(), Some("wall 1.5\n"));
        assert!(speaking.wait().unwrap().success());
    }

    #[test]
    fn contender_that_failed_once_has_no_figure_in_the_cell() {
        let mut run = Run::default();
        run.add(0, 1, &[Reading::new(Metric::Wall, 5.0)]);
        run.add(1, 1, &[Reading::new(Metric::Wall, 6.0)]);
        run.fail(0, 1);
        assert_eq!(run.summary(0, 1, Metric::Wall), None);
        assert!(run.summary(1, 1, Metric::Wall).is_some());
        assert!(run.failures().eq([(0, 1)]));
    }

    #[test]
    fn summary_takes_the_middle() {
        let odd = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd, Summary { median: 2.0, min: 1.0, max: 3.0 });
        assert!((odd.spread() - 1.0).abs() < f64::EPSILON);
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert!((even.median - 2.5).abs() < f64::EPSILON);
        assert_eq!(Summary::of(&[]), None);
    }
}
