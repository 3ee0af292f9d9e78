//! PRI-5, as the sequence sees it.

use std::sync::Arc;

use crate::ThreadPool;
use crate::task::handle::Lent;
use crate::task::traits::{Priority, TaskTraits};

/// What is lent lifts the class until the last of it is taken back; what is no higher than the sequence's own changes nothing.
#[test]
fn lent_priority_lifts_until_it_is_taken_back() {
    let pool = ThreadPool::builder().workers(1).build().expect("threads");
    let slow = pool.create_sequenced_task_runner(TaskTraits::best_effort());
    let (sequence, waited) = (slow.sequence(), slow.as_waited());
    assert!(Arc::clone(&waited).lend(Priority::UserBlocking) && Arc::clone(&waited).lend(Priority::UserVisible));
    assert_eq!(sequence.class(), Priority::UserBlocking);
    Arc::clone(&waited).take_back(Priority::UserBlocking);
    assert_eq!(sequence.class(), Priority::UserVisible);
    Arc::clone(&waited).take_back(Priority::UserVisible);
    assert_eq!(sequence.class(), Priority::BestEffort);
    assert!(!Arc::clone(&waited).lend(Priority::BestEffort), "nothing to take back");
    assert!(Lent::to(&waited).is_none(), "a thread outside of tasks has none");
}
