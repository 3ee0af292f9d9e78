//! Exact checkers: what a strand, a pool and its counters did, judged from a record. For real threads and virtual time alike.
//!
//! Times are tickets of one counter, not readings of a clock: they order events on any hardware.
//!
//! # Why the check of the order is exact
//!
//! A post takes effect at some instant between its call and its return. Runs in the order `a, b` are wrong only if `b`'s post had returned before `a`'s was called.
//! So going through the runs and keeping the latest call so far, a run whose post had returned before that call is a violation, and there is
//! a violation only if one is found so. One pass is enough.
//!
//! Witnessed by `tests::one_pass_finds_what_all_pairs_find`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pool::PoolStats;
use crate::runner::RunnerStats;
use crate::sync::Mutex;

/// A promise that a record shows broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Two runs of a strand at once (SEQ-1).
    #[error("runs {0} and {1} overlap")]
    Overlap(u64, u64),
    /// The first ran before the second, whose post had returned before the first was posted (SEQ-2).
    #[error("{0} ran before {1}, which had been posted before it")]
    Order(u64, u64),
    /// Accepted, but neither run nor dropped (POST-2).
    #[error("{0} was accepted and is lost")]
    Lost(u64),
    /// Refused, and run all the same (POST-2).
    #[error("{0} was refused and ran")]
    RanThoughRefused(u64),
    /// Marked more than once.
    #[error("{0} happened {1} times")]
    Doubled(u64, u64),
    /// Marked, but never issued.
    #[error("{0} was never issued")]
    Unknown(u64),
    /// A flush returned before the end of something that had been posted before it (SEQ-9).
    #[error("a flush returned before {0} was over")]
    FlushTooEarly(u64),
    /// The counters do not add up.
    #[error("{posted} were posted, {accounted} are accounted for")]
    Unaccounted {
        /// What was accepted.
        posted: u64,
        /// The sum of what ran, is queued, delayed or running, and was dropped.
        accounted: u64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    called: u64,
    returned: Option<u64>,
    began: Option<u64>,
    ended: Option<u64>,
    dropped: bool,
}

#[derive(Debug, Default)]
struct Records {
    clock: u64,
    posts: Vec<Record>,
    flushes: Vec<(u64, u64)>,
}

impl Records {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// The record of one strand: posts, runs and flushes, from any number of threads.
///
/// ```
/// use overstrand::testing::StrandHistory;
/// use overstrand::{TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let strand = pool.create_sequenced_task_runner(TaskTraits::default());
/// let history = StrandHistory::new();
/// for _ in 0..10 {
///     let (post, run) = history.post();
///     if strand.post_task(move || run.during(|| ())).is_ok() {
///         post.accepted();
///     }
/// }
/// history.flush(|| strand.flush())?;
/// history.check()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct StrandHistory(Arc<Mutex<Records>>);

/// A post that is being made; dropped without [`accepted`](Self::accepted) it counts as refused.
#[derive(Debug)]
#[must_use = "a post that is not accepted was refused"]
pub struct Post(StrandHistory, u64);

/// The run that belongs to a post; goes into its task. Dropped unused, the task was dropped unrun.
#[derive(Debug)]
pub struct Run(StrandHistory, u64);

impl StrandHistory {
    /// An empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A post begins.
    pub fn post(&self) -> (Post, Run) {
        let mut records = self.0.lock();
        let (called, id) = (records.tick(), records.posts.len() as u64);
        records.posts.push(Record { called, ..Record::default() });
        (Post(self.clone(), id), Run(self.clone(), id))
    }

    /// Records a flush; one that fails says nothing.
    pub fn flush<T, E>(&self, flush: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let called = self.0.lock().tick();
        let answer = flush()?;
        let mut records = self.0.lock();
        let returned = records.tick();
        records.flushes.push((called, returned));
        Ok(answer)
    }

    fn note(&self, id: u64, set: impl FnOnce(&mut Record, u64)) {
        let mut records = self.0.lock();
        let now = records.tick();
        if let Some(record) = usize::try_from(id).ok().and_then(|index| records.posts.get_mut(index)) {
            set(record, now);
        }
    }

    /// Judges the record; call it when everything is over.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] that is found.
    pub fn check(&self) -> Result<(), Violation> {
        let records = self.0.lock();
        check_ends(&records.posts)?;
        let mut runs: Vec<_> = (0..).zip(&records.posts).filter(|(_, record)| record.began.is_some()).collect();
        runs.sort_by_key(|(_, record)| record.began);
        check_exclusion(&runs)?;
        check_order(&runs)?;
        check_flushes(&records)
    }
}

fn check_ends(posts: &[Record]) -> Result<(), Violation> {
    for (id, record) in (0..).zip(posts) {
        let was_accepted = record.returned.is_some();
        if was_accepted && record.ended.is_none() && !record.dropped {
            return Err(Violation::Lost(id));
        }
        if !was_accepted && record.began.is_some() {
            return Err(Violation::RanThoughRefused(id));
        }
    }
    Ok(())
}

fn check_exclusion(runs: &[(u64, &Record)]) -> Result<(), Violation> {
    for pair in runs.windows(2) {
        let [(first, earlier), (second, later)] = pair else { continue };
        if earlier.ended.is_none_or(|ended| later.began.is_some_and(|began| began < ended)) {
            return Err(Violation::Overlap(*first, *second));
        }
    }
    Ok(())
}

fn check_order(runs: &[(u64, &Record)]) -> Result<(), Violation> {
    let mut latest_call: Option<(u64, u64)> = None;
    for (id, record) in runs {
        if let Some((called, earlier)) = latest_call {
            if record.returned.is_some_and(|returned| returned < called) {
                return Err(Violation::Order(earlier, *id));
            }
        }
        latest_call = latest_call.max(Some((record.called, *id)));
    }
    Ok(())
}

fn check_flushes(records: &Records) -> Result<(), Violation> {
    // By the time of its return: the latest end of everything accepted until then.
    let mut ends = BTreeMap::new();
    let mut accepted: Vec<_> = (0_u64..).zip(&records.posts).filter(|(_, record)| record.returned.is_some()).collect();
    accepted.sort_by_key(|(_, record)| record.returned);
    let mut latest = None;
    for (id, record) in accepted {
        latest = latest.max(record.ended.map(|ended| (ended, id)));
        ends.insert(record.returned, latest);
    }
    for (called, returned) in &records.flushes {
        let before = ends.range(..Some(*called)).next_back().and_then(|(_, latest)| *latest);
        if let Some((_, id)) = before.filter(|(ended, _)| ended > returned) {
            return Err(Violation::FlushTooEarly(id));
        }
    }
    Ok(())
}

impl Post {
    /// The runner said `Ok`.
    pub fn accepted(self) {
        self.0.note(self.1, |record, now| record.returned = Some(now));
    }
}

impl Run {
    /// The run: from now until `f` returns or panics.
    pub fn during<T>(self, f: impl FnOnce() -> T) -> T {
        self.0.note(self.1, |record, now| record.began = Some(now));
        let _ends = self;
        f()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.note(self.1, |record, now| match record.began {
            Some(_) => record.ended = Some(now),
            None => record.dropped = true,
        });
    }
}

/// Exactly once, by distinct numbers: a sum would not notice one that is lost and one that comes twice.
///
/// ```
/// use overstrand::testing::{OnceLedger, Violation};
///
/// let ledger = OnceLedger::new();
/// let (first, second) = (ledger.issue(), ledger.issue());
/// ledger.mark(first);
/// assert_eq!(ledger.check(), Err(Violation::Lost(second)));
/// ledger.mark(second);
/// assert_eq!(ledger.check(), Ok(()));
/// ledger.mark(second);
/// assert_eq!(ledger.check(), Err(Violation::Doubled(second, 2)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct OnceLedger(Arc<Mutex<Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    issued: u64,
    marks: BTreeMap<u64, u64>,
}

impl OnceLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that nobody else has.
    #[must_use]
    pub fn issue(&self) -> u64 {
        let mut ledger = self.0.lock();
        ledger.issued += 1;
        ledger.issued
    }

    /// What has that number has happened.
    pub fn mark(&self, id: u64) {
        *self.0.lock().marks.entry(id).or_default() += 1;
    }

    /// Everything issued has happened once.
    ///
    /// # Errors
    ///
    /// The first [`Violation`]: lost, doubled or unknown.
    pub fn check(&self) -> Result<(), Violation> {
        let ledger = self.0.lock();
        for (&id, &times) in &ledger.marks {
            match times {
                _ if id == 0 || id > ledger.issued => return Err(Violation::Unknown(id)),
                1 => {}
                times => return Err(Violation::Doubled(id, times)),
            }
        }
        let lost = (1..=ledger.issued).find(|id| !ledger.marks.contains_key(id));
        lost.map_or(Ok(()), |id| Err(Violation::Lost(id)))
    }
}

/// The counters of a pool or a runner, as far as they must add up.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    posted: u64,
    accounted: u64,
}

impl From<PoolStats> for Counters {
    fn from(stats: PoolStats) -> Self {
        let accounted = stats.ran + stats.queued + stats.delayed + stats.running + stats.dropped;
        Self { posted: stats.posted, accounted }
    }
}

impl From<RunnerStats> for Counters {
    fn from(stats: RunnerStats) -> Self {
        let accounted = stats.ran + stats.queued + stats.delayed + stats.running + stats.dropped;
        Self { posted: stats.posted, accounted }
    }
}

/// Every accepted task is accounted for: `posted` is the sum of ran, queued, delayed, running and dropped, in any snapshot.
///
/// ```
/// # let pool = overstrand::ThreadPool::builder().workers(1).build().expect("a thread");
/// overstrand::testing::check_conservation(pool.stats()).expect("it adds up");
/// ```
///
/// # Errors
///
/// [`Violation::Unaccounted`].
pub fn check_conservation(stats: impl Into<Counters>) -> Result<(), Violation> {
    let Counters { posted, accounted } = stats.into();
    if posted == accounted { Ok(()) } else { Err(Violation::Unaccounted { posted, accounted }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(called: u64, returned: u64, began: u64, ended: u64) -> Record {
        Record { called, returned: Some(returned), began: Some(began), ended: Some(ended), dropped: false }
    }

    fn judged(posts: Vec<Record>, flushes: Vec<(u64, u64)>) -> Result<(), Violation> {
        StrandHistory(Arc::new(Mutex::new(Records { clock: 1_000, posts, flushes }))).check()
    }

    #[test]
    fn each_kind_of_violation_is_found() {
        let in_order = vec![record(1, 2, 5, 6), record(3, 4, 7, 8)];
        assert_eq!(judged(in_order.clone(), vec![(9, 10)]), Ok(()));
        assert_eq!(judged(in_order, vec![(3, 6)]), Ok(()), "the second had not returned");
        assert_eq!(judged(vec![record(1, 2, 7, 8), record(3, 4, 5, 6)], vec![]), Err(Violation::Order(1, 0)));
        assert_eq!(judged(vec![record(1, 4, 7, 8), record(2, 3, 5, 6)], vec![]), Ok(()), "the posts overlapped");
        assert_eq!(judged(vec![record(1, 2, 5, 8), record(3, 4, 7, 9)], vec![]), Err(Violation::Overlap(0, 1)));
        assert_eq!(judged(vec![record(1, 2, 5, 8)], vec![(3, 7)]), Err(Violation::FlushTooEarly(0)));
        let lost = Record { called: 1, returned: Some(2), ..Record::default() };
        assert_eq!(judged(vec![lost], vec![]), Err(Violation::Lost(0)));
        assert_eq!(judged(vec![Record { dropped: true, ..lost }], vec![]), Ok(()));
        let refused = Record { returned: None, ..record(1, 2, 3, 4) };
        assert_eq!(judged(vec![refused], vec![]), Err(Violation::RanThoughRefused(0)));
        let counters = Counters { posted: 2, accounted: 1 };
        assert_eq!(check_conservation(counters), Err(Violation::Unaccounted { posted: 2, accounted: 1 }));
    }

    /// By definition: a pair that ran one way and was posted, without overlap, the other way.
    fn has_wrong_pair(runs: &[(u64, &Record)]) -> bool {
        let wrong = |(at, first): (usize, &(u64, &Record))| {
            runs[at + 1..].iter().any(|(_, later)| later.returned.is_some_and(|returned| returned < first.1.called))
        };
        runs.iter().enumerate().any(wrong)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_all_pairs_find(
            spans in prop::collection::vec((1_u64..60, 1_u64..30), 0..12),
            order in prop::collection::vec(any::<u32>(), 12),
        ) {
            let mut posts: Vec<_> = spans.iter().map(|(called, length)| record(*called, called + length, 0, 0)).collect();
            let mut places: Vec<usize> = (0..posts.len()).collect();
            places.sort_by_key(|place| order[*place]);
            for (turn, place) in places.into_iter().enumerate() {
                let began = 100 + 2 * turn as u64;
                (posts[place].began, posts[place].ended) = (Some(began), Some(began + 1));
            }
            let mut runs: Vec<_> = (0..).zip(&posts).collect();
            runs.sort_by_key(|(_, record)| record.began);
            prop_assert_eq!(check_order(&runs).is_err(), has_wrong_pair(&runs));
        }

        #[test]
        fn flush_is_judged_as_by_definition(
            spans in prop::collection::vec((1_u64..40, 1_u64..20, 1_u64..60), 0..10),
            flush in (1_u64..60, 1_u64..40),
        ) {
            let runs = spans.iter().map(|(called, length, run)| record(*called, called + length, 0, called + length + run));
            let records = Records { clock: 0, posts: runs.collect(), flushes: vec![(flush.0, flush.0 + flush.1)] };
            let (called, returned) = records.flushes[0];
            let is_wrong = |record: &Record| record.returned < Some(called) && record.ended > Some(returned);
            prop_assert_eq!(check_flushes(&records).is_err(), records.posts.iter().any(is_wrong));
        }
    }
}
