//! The counters of a sequence, read as one picture.
#![forbid(unsafe_code)]

use super::{RunnerStats, Sequence, read};
use crate::task::raw::Tally;

impl Sequence {
    /// A snapshot; see the pool's ledger for how it is made.
    pub(crate) fn stats(&self) -> RunnerStats {
        let stats = self.read_once();
        let ended = stats.running.saturating_sub(1);
        RunnerStats { running: stats.running - ended, ran: stats.ran + ended, ..stats }
    }

    fn read_once(&self) -> RunnerStats {
        let panicked = Tally::read(&self.tally.panicked);
        let (ran, dropped) = (Tally::read(&self.tally.ran), Tally::read(&self.tally.dropped));
        let (overflowed, dropped_delayed) = (self.overflowed(), read(&self.shared.dropped_delayed));
        let started = Tally::read(&self.tally.started);
        let (ripened, pushed) = {
            let _both = self.shared.ripening.lock();
            (read(&self.shared.ripened), self.lane.pushed())
        };
        let posted_delayed = read(&self.shared.posted_delayed);
        RunnerStats {
            posted: pushed - ripened + posted_delayed,
            ran,
            queued: pushed - started - overflowed,
            delayed: posted_delayed - ripened - dropped_delayed,
            running: started - ran - dropped,
            dropped: dropped + overflowed + dropped_delayed,
            rejected: read(&self.shared.rejected),
            panicked: panicked.min(ran),
        }
    }
}
