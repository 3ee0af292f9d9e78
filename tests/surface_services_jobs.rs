//! A program against the surface, unchanged; that it compiles is the test.

#[path = "surface/5_services_jobs.rs"]
#[expect(clippy::disallowed_methods, reason = "a program reads the clock and sleeps as it likes")]
mod services_jobs;
