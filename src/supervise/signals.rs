//! SIGINT and SIGTERM, for who asks for them.
#![forbid(unsafe_code)]

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::BuildError;
use crate::park;

/// Blocks until one of them comes.
pub(super) fn wait() -> Result<(), BuildError> {
    let registered = Signals::new([SIGINT, SIGTERM]);
    let mut signals = registered
        .map_err(|error| BuildError::new("signals", "SIGINT, SIGTERM", "the system refuses it").caused_by(error))?;
    let _waiting = park::waiting();
    let _first = signals.forever().next();
    Ok(())
}
