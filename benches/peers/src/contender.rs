//! The one trait behind which every competitor runs the same workloads.

use crate::cell::Cell;
use crate::sample::Reading;
use crate::workload;

/// A closure in a box: what the hand-made pools and strands queue.
pub(crate) type BoxedTask = Box<dyn FnOnce() + Send>;

/// A pool of workers that runs closures, and perhaps strands on top of it.
///
/// The workloads leak their contender (a sample is a process of its own), so that `&'static Self` is the cheap handle with
/// which a task posts again from inside, the same for everybody and without a reference count.
pub(crate) trait Contender: Sized + Send + Sync + 'static {
    /// The name in the tables and in `--only`.
    const NAME: &'static str;

    /// How the pool and its strands are made, in a line for the legend.
    const ABOUT: &'static str;

    /// A queue whose tasks run one after another, in the order of posting.
    type Strand: Send + Sync + 'static;

    /// Whether this contender can run the cell.
    fn supports(cell: &Cell) -> bool {
        let _ = cell;
        true
    }

    /// Starts a pool of this many threads.
    fn build(workers: usize) -> Self;

    /// Posts to the pool, in no order, from any thread.
    fn post<F: FnOnce() + Send + 'static>(&self, task: F);

    /// Makes a strand; `None` from a contender without strands, which supports no cell that needs them.
    fn strand(&self) -> Option<Self::Strand>;

    /// Posts to the strand, from any thread.
    fn post_strand<F: FnOnce() + Send + 'static>(strand: &Self::Strand, task: F);
}

/// The strand of a contender that has none: there is no such value.
pub(crate) enum NoStrand {}

/// A contender without its type, as the parent and the child pick it by name.
pub(crate) struct Entry {
    /// [`Contender::NAME`].
    pub(crate) name: &'static str,
    /// [`Contender::ABOUT`].
    pub(crate) about: &'static str,
    /// [`Contender::supports`].
    pub(crate) supports: fn(&Cell) -> bool,
    /// Runs one sample of a cell in this process.
    pub(crate) measure: fn(Cell, f64) -> Vec<Reading>,
}

impl Entry {
    /// The entry of `C`.
    pub(crate) const fn of<C: Contender>() -> &'static Self {
        &Self { name: C::NAME, about: C::ABOUT, supports: C::supports, measure: workload::measure::<C> }
    }
}
