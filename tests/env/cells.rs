//! Cells that open on one sequence.

use std::sync::Arc;

use overstrand::testing::TestEnvironment;
use overstrand::{SequenceCell, SequenceCellError};

use crate::AnyResult;
use crate::owned::named;

/// A cell opens on its sequence only, once at a time, and says who and where.
#[test]
fn cell_opens_at_home() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let (home, away) = (named(&env, "home"), named(&env, "away"));
    let cell = Arc::new(SequenceCell::new(&home, 1));
    let (here, there, inside) = (Arc::clone(&cell), Arc::clone(&cell), Arc::clone(&cell));
    let nested =
        home.spawn(move || here.with(|value| (*value, inside.with(|value| *value).map_err(|e| e.to_string()))));
    let in_use = "the value of sequence \"home\" is in use further out".to_owned();
    assert_eq!(nested.join()?, Ok((1, Err(in_use))));
    let wrong = away.spawn(move || there.with(|value| *value)).join()?.expect_err("elsewhere");
    assert_eq!(wrong.to_string(), "sequence \"home\" owns the value, and this is sequence \"away\"");
    assert!(matches!(cell.with(|_| ()), Err(SequenceCellError::WrongSequence { here, .. }) if here == "no sequence"));
    let panics = Arc::clone(&cell);
    assert!(home.spawn(move || panics.with(|value| assert_eq!(std::mem::take(value), 2))).join().is_err());
    assert_eq!(home.run_sync(|| cell.with(|value| *value))?, Ok(0), "as the panic left it");
    assert_eq!(Arc::into_inner(cell).map(SequenceCell::into_inner), Some(0));
    Ok(())
}
