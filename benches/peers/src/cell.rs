//! The cells of the table: which workload, with how many workers and producers, and how many operations.

use std::fmt;

/// What a cell makes its contender do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// W1: posts from outside to the pool.
    Outside,
    /// W2: each task posts two from inside.
    FanOut,
    /// W3: posts to one strand.
    OneStrand,
    /// W4: posts to this many strands in turn.
    ManyStrands(usize),
    /// W5: two strands post to each other.
    PingPong,
    /// W5: each pool task posts the next one.
    Chain,
    /// W5c: lone posts to an idle pool.
    ColdPool,
    /// W5c: lone posts to an idle strand.
    ColdStrand,
    /// W8: bytes per strand that never had a task.
    IdleStrand,
    /// W8: bytes per strand that ran one task and is idle again.
    UsedStrand,
    /// W8: bytes per task that waits in the pool and captured this many bytes.
    QueuedInPool(usize),
    /// W8: bytes per task that waits in a strand and captured this many bytes.
    QueuedInStrand(usize),
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// What is done.
    pub(crate) workload: Workload,
    /// Worker threads of the contender.
    pub(crate) workers: usize,
    /// Threads that post from outside, the main thread among them.
    pub(crate) producers: usize,
}

/// Every cell, in the order of the tables.
pub(crate) fn all() -> Vec<Cell> {
    use Workload::{
        Chain, ColdPool, ColdStrand, FanOut, IdleStrand, ManyStrands, OneStrand, Outside, PingPong, QueuedInPool,
        QueuedInStrand, UsedStrand,
    };
    const SQUARE: &[(usize, usize)] = &[(1, 1), (1, 2), (2, 1), (2, 2)];
    const MANY: &[(usize, usize)] = &[(1, 1), (2, 1), (2, 2)];
    const WORKERS: &[(usize, usize)] = &[(1, 1), (2, 1)];
    const ONE: &[(usize, usize)] = &[(1, 1)];
    const TWO: &[(usize, usize)] = &[(2, 1)];
    let grid: [(Workload, &[(usize, usize)]); 15] = [
        (Outside, SQUARE),
        (FanOut, WORKERS),
        (OneStrand, SQUARE),
        (ManyStrands(1_000), MANY),
        (ManyStrands(100_000), MANY),
        (PingPong, WORKERS),
        (Chain, WORKERS),
        (ColdPool, WORKERS),
        (ColdStrand, TWO),
        (IdleStrand, ONE),
        (UsedStrand, ONE),
        (QueuedInPool(0), ONE),
        (QueuedInPool(24), ONE),
        (QueuedInStrand(0), ONE),
        (QueuedInStrand(24), ONE),
    ];
    let cells = |(workload, sizes): (Workload, &'static [(usize, usize)])| {
        sizes.iter().map(move |&(workers, producers)| Cell { workload, workers, producers })
    };
    grid.into_iter().flat_map(cells).collect()
}

impl Cell {
    /// Whether the contender needs strands for this cell.
    pub(crate) fn uses_strands(&self) -> bool {
        use Workload::{ColdStrand, IdleStrand, ManyStrands, OneStrand, PingPong, QueuedInStrand, UsedStrand};
        matches!(
            self.workload,
            OneStrand | ManyStrands(_) | PingPong | ColdStrand | IdleStrand | UsedStrand | QueuedInStrand(_)
        )
    }

    /// Whether this cell measures memory, not time.
    pub(crate) fn is_memory(&self) -> bool {
        use Workload::{IdleStrand, QueuedInPool, QueuedInStrand, UsedStrand};
        matches!(self.workload, IdleStrand | UsedStrand | QueuedInPool(_) | QueuedInStrand(_))
    }

    /// Tasks (W1–W4), hops (W5), posts (W5c), strands or queued tasks (W8) of one sample at this scale.
    pub(crate) fn ops(&self, scale: f64) -> u64 {
        let full: u32 = match self.workload {
            Workload::Outside | Workload::OneStrand | Workload::Chain => 1_000_000,
            Workload::FanOut => 1 << 20,
            Workload::ManyStrands(_) => 2_000_000,
            Workload::PingPong => 500_000,
            Workload::ColdPool | Workload::ColdStrand => 1_000,
            Workload::IdleStrand | Workload::UsedStrand => 100_000,
            Workload::QueuedInPool(_) | Workload::QueuedInStrand(_) => 1_000_000,
        };
        // WHY: ten operations are the least that p99 and the two producers can do something with.
        ((f64::from(full) * scale) as u64).max(10)
    }

    /// Whether `filter` names this cell: its id, or whole leading parts of it (`W4`, `W4-1000`, `W4-1000-2w1p`).
    pub(crate) fn matches(&self, filter: &str) -> bool {
        let id = self.to_string();
        id.strip_prefix(filter).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// The cell's id, as in the tables and in `--cells`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, workers: w, producers: p } = self;
        match workload {
            Workload::Outside => write!(f, "W1-{w}w{p}p"),
            Workload::FanOut => write!(f, "W2-{w}w"),
            Workload::OneStrand => write!(f, "W3-{w}w{p}p"),
            Workload::ManyStrands(strands) => write!(f, "W4-{strands}-{w}w{p}p"),
            Workload::PingPong => write!(f, "W5-pingpong-{w}w"),
            Workload::Chain => write!(f, "W5-chain-{w}w"),
            Workload::ColdPool => write!(f, "W5c-pool-{w}w"),
            Workload::ColdStrand => write!(f, "W5c-strand-{w}w"),
            Workload::IdleStrand => write!(f, "W8-strand-idle"),
            Workload::UsedStrand => write!(f, "W8-strand-used"),
            Workload::QueuedInPool(bytes) => write!(f, "W8-queued-pool-{bytes}B"),
            Workload::QueuedInStrand(bytes) => write!(f, "W8-queued-strand-{bytes}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_cell_has_an_id_of_its_own() {
        let mut ids: Vec<String> = super::all().iter().map(ToString::to_string).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn filter_names_whole_parts_of_the_id() {
        let count = |filter| super::all().iter().filter(|cell| cell.matches(filter)).count();
        assert_eq!(count("W1"), 4);
        assert_eq!(count("W4-1000"), 3, "not the cells of 100,000 strands");
        assert_eq!(count("W5"), 4, "not the cells of W5c");
        assert_eq!(count("W"), 0);
    }
}
