//! Chromium's way of threading for everybody.

mod sync;
mod queue;
mod zoo;
