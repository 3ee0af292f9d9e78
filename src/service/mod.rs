//! Things that are started and stopped: services and tickers, as thin bodies on supervision.
//!
//! Each has a supervisor of its own, with one task at a time: what is never run twice at once, recorded, and waited for is what supervision gives.
//!
//! | file | what it holds |
//! |---|---|
//! | `service` | [`Service`]: two functions, one that runs and one that ends it |
//! | `beside` | ticks that do not wait for one another |
//! | `ticker` | [`Ticker`]: a function that is called by a schedule |
//! | `unit` | what both are: turns of start and stop |
//! | `signs` | what is seen of them without a lock |
//! | `error` | [`ServiceError`] |
//!
//! Witnessed by `tests/env/services.rs`, `tests/env/tickers.rs`.
#![forbid(unsafe_code)]

mod beside;
mod error;
#[expect(clippy::module_inception, reason = "the room is named after its first inhabitant")]
mod service;
mod signs;
mod ticker;
mod unit;

pub use error::ServiceError;
pub use service::Service;
pub use ticker::{Overlap, TickContext, Ticker};
