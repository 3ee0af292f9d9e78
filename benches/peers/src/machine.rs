//! What the tables say about the machine and the day.

use std::fs;
use std::process::Command;
use std::thread;

use crate::options::Plan;
use crate::runner::{MEMORY_ROUNDS, Run};

/// Rounds from which on the medians are worth a verdict.
const ROUNDS_TO_JUDGE: usize = 7;

/// The lines above the tables.
pub(crate) fn header(plan: &Plan, run: &Run) -> String {
    let cores = thread::available_parallelism().map_or_else(|_| "?".into(), |cores| cores.to_string());
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let mut text = format!(
        "- machine: {cores} cores ({}), Linux {}, transparent huge pages {}\n\
         - load over the last 1, 5, 15 minutes: {}\n\
         - compiler: {}\n\
         - ended: {}; {} rounds ({} of the memory cells) in {:.0} s\n",
        processor(),
        read("/proc/sys/kernel/osrelease"),
        read("/sys/kernel/mm/transparent_hugepage/enabled"),
        load.join(" "),
        output("rustc", &["--version"]),
        output("date", &["--utc", "+%Y-%m-%d %H:%M UTC"]),
        plan.rounds,
        plan.rounds.min(MEMORY_ROUNDS),
        run.took.as_secs_f64(),
    );
    if plan.rounds < ROUNDS_TO_JUDGE {
        text += &format!("- smoke run: the verdicts need {ROUNDS_TO_JUDGE} rounds, a spread needs two\n");
    }
    if (plan.scale - 1.0).abs() > f64::EPSILON {
        text += &format!("- scale: {} of the operations of each cell; not comparable with a full run\n", plan.scale);
    }
    text
}

/// The processor's name.
fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    name.map_or_else(|| "unknown processor".into(), |(_, name)| name.into())
}

/// A small file of the system, or a question mark.
fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "?".into(), |text| text.trim().into())
}

/// What a program says, or a question mark.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).trim().into())
}
