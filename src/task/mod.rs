//! What a unit of work is; knows no queue it waits in and no pool it runs on.
//!
//! | file | role |
//! |---|---|
//! | `traits` | what a poster says about a task: plain data |
//! | `site` | where it was posted, and what that descends from |
//! | `raw` | the erasure: any closure behind one word. *unsafe* |
//! | `loan` | closures that borrow, lent for one call. *unsafe* |
//! | `panic` | the two panic boundaries |
//! | `handle` | the result, and cancelling before the start |
//! | `answer`, `promise` | a result on its way, as data; one that somebody owes |
//! | `flat` | a result that is in itself one |
//! | `cancel` | asking running work to stop |
//! | `recent` | a ring of the tasks that ended last |
//! | `fault` | faults that tests inject into bodies |
//! | `current` | what running code can learn about its task |

pub(crate) mod answer;
pub(crate) mod cancel;
pub(crate) mod current;
#[cfg(feature = "testing")]
pub(crate) mod fault;
mod flat;
pub(crate) mod handle;
pub(crate) mod loan;
pub(crate) mod panic;
pub(crate) mod promise;
pub(crate) mod raw;
pub(crate) mod recent;
pub(crate) mod site;
pub(crate) mod traits;

#[cfg(test)]
mod tests;
