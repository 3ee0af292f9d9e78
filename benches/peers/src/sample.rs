//! What a child measured, on its way to the parent: lines of `metric value`.

use std::fmt;
use std::str::FromStr;

/// What a number tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Nanoseconds of wall time per operation.
    Wall,
    /// Nanoseconds of processor time per operation, user and system, of all threads.
    Cpu,
    /// Median of the time from post to start, in microseconds.
    StartP50,
    /// The 99th percentile of the time from post to start, in microseconds.
    StartP99,
    /// Microseconds of processor time per lone post, user and system, of all threads.
    PostCpu,
    /// Bytes of heap per item, as asked of the allocator.
    Heap,
    /// Bytes of resident memory per item.
    Resident,
}

impl Metric {
    /// Every metric with its name on the line and its unit in the tables.
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Wall, "wall", "ns"),
        (Self::Cpu, "cpu", "CPU ns"),
        (Self::StartP50, "start_p50", "p50 us"),
        (Self::StartP99, "start_p99", "p99 us"),
        (Self::PostCpu, "post_cpu", "CPU us"),
        (Self::Heap, "heap", "heap B"),
        (Self::Resident, "resident", "RSS B"),
    ];

    /// The unit, as in the tables.
    pub(crate) fn unit(self) -> &'static str {
        self.row().2
    }

    /// Whether the cell is judged by it. Processor time per operation is shown and not judged: a contender may win by a
    /// second core.
    pub(crate) fn is_judged(self) -> bool {
        self != Self::Cpu
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        Self::ALL.iter().find(|row| row.0 == self).expect("every metric has its row")
    }
}

/// One number of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// What the number tells.
    pub(crate) metric: Metric,
    /// The number, in the metric's unit.
    pub(crate) value: f64,
}

impl Reading {
    /// A reading of this metric.
    pub(crate) fn new(metric: Metric, value: f64) -> Self {
        Self { metric, value }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.metric.row().1, self.value)
    }
}

impl FromStr for Reading {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let malformed = || format!("not a reading: {line:?}");
        let (name, value) = line.split_once(' ').ok_or_else(malformed)?;
        let (metric, ..) = Metric::ALL.iter().find(|row| row.1 == name).ok_or_else(malformed)?;
        Ok(Self::new(*metric, value.parse().map_err(|_| malformed())?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Metric, Reading};

    #[test]
    fn every_reading_survives_its_line() {
        for (metric, ..) in Metric::ALL {
            let reading = Reading::new(metric, 12.34);
            assert_eq!(reading.to_string().parse(), Ok(reading));
        }
        assert!("wall".parse::<Reading>().is_err());
        assert!("wall fast".parse::<Reading>().is_err());
    }
}
