//! What a pool tells about itself: hooks, `tracing` events and spans. May be asked by anyone, decides nothing.
//!
//! Hooks are user code: each call has a panic boundary of its own, and none happens under a lock.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::error::RejectReason;
use crate::task::current::Name;
use crate::task::panic::{catch, drop_payload};
use crate::task::raw::{Extension, Runner};
use crate::task::site::Site;
use crate::task::traits::Meta;

/// The default age at which a running task is reported as a stall: what Chromium's hang watcher and most users take for "too long".
pub(crate) const STALL_THRESHOLD: Duration = Duration::from_secs(10);

/// A task that panicked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PanicReport {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where the task was posted.
    pub location: &'static Location<'static>,
    /// The post sites that it descends from, its own first, at most four.
    pub chain: Vec<&'static Location<'static>>,
    /// The name of the runner, if it was given one.
    pub runner: Option<Arc<str>>,
    /// The panic's text, if the payload was a string.
    pub message: Option<String>,
}

impl PanicReport {
    pub(crate) fn new(running: Running, message: Option<&str>) -> Self {
        Self {
            name: running.name,
            location: running.site.location(),
            chain: running.site.chain().collect(),
            runner: running.runner,
            message: message.map(Into::into),
        }
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.as_deref().unwrap_or("<non-string payload>");
        write!(f, "{} panicked: {message}", Subject::new(&self.name, &self.runner, &self.chain))
    }
}

/// A post that was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RejectionReport {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where the post was made.
    pub location: &'static Location<'static>,
    /// The name of the runner, if it was given one.
    pub runner: Option<Arc<str>>,
    /// Why it was refused.
    pub reason: RejectReason,
}

impl fmt::Display for RejectionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was refused: {}", Subject::new(&self.name, &self.runner, &[self.location]), self.reason)
    }
}

/// A task that has been running for long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallReport {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where the task was posted.
    pub location: &'static Location<'static>,
    /// The post sites that it descends from, its own first, at most four.
    pub chain: Vec<&'static Location<'static>>,
    /// The name of the runner, if it was given one.
    pub runner: Option<Arc<str>>,
    /// How long it has been running at least: the time since it was first seen.
    pub running_for: Duration,
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = Subject::new(&self.name, &self.runner, &self.chain);
        write!(f, "{subject} has been running for {:?}", self.running_for)
    }
}

/// The head of every report.
struct Subject<'a> {
    name: Option<&'a str>,
    runner: Option<&'a str>,
    chain: &'a [&'static Location<'static>],
}

impl<'a> Subject<'a> {
    fn new(name: &'a Option<Name>, runner: &'a Option<Name>, chain: &'a [&'static Location<'static>]) -> Self {
        Self { name: name.as_deref(), runner: runner.as_deref(), chain }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "task {name:?}")?,
            None => write!(f, "task")?,
        }
        if let Some(runner) = self.runner {
            write!(f, " on {runner:?}")?;
        }
        for (index, location) in self.chain.iter().enumerate() {
            write!(f, "{}{location}", if index == 0 { " posted at " } else { " < " })?;
        }
        Ok(())
    }
}

pub(crate) type Hook<T> = Option<Arc<dyn Fn(&T) + Send + Sync>>;

/// What the user asked to be told.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) thread_start: Hook<str>,
    pub(crate) thread_stop: Hook<str>,
    pub(crate) panic: Hook<PanicReport>,
    pub(crate) rejected: Hook<RejectionReport>,
    pub(crate) stall: Hook<StallReport>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Calls a hook inside a boundary of its own (POST-6).
pub(crate) fn call<T: ?Sized>(hook: &Hook<T>, value: &T) {
    if let Some(hook) = hook {
        if let Err(payload) = catch(|| hook(value)) {
            drop_payload(payload);
            tracing::error!("a hook panicked");
        }
    }
}

/// What runs: for reports.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) site: &'static Site,
    pub(crate) name: Option<Name>,
    pub(crate) runner: Option<Name>,
}

impl Hooks {
    pub(crate) fn tell_panic(&self, running: Running, message: Option<&str>) {
        let report = PanicReport::new(running, message);
        tracing::error!(name = report.name.as_deref(), location = %report.location, "{report}");
        call(&self.panic, &report);
    }

    pub(crate) fn tell_rejected(
        &self,
        name: Option<Name>,
        location: &'static Location<'static>,
        runner: Option<Name>,
        reason: RejectReason,
    ) {
        let report = RejectionReport { name, location, runner, reason };
        tracing::debug!(name = report.name.as_deref(), location = %report.location, "{report}");
        call(&self.rejected, &report);
    }

    pub(crate) fn tell_stall(&self, running: Running, running_for: Duration) {
        let report = StallReport {
            name: running.name,
            location: running.site.location(),
            chain: running.site.chain().collect(),
            runner: running.runner,
            running_for,
        };
        tracing::warn!(name = report.name.as_deref(), location = %report.location, "{report}");
        call(&self.stall, &report);
    }
}

/// True when somebody listens at trace level. One relaxed load.
#[inline]
pub(crate) fn is_tracing() -> bool {
    LevelFilter::current() >= LevelFilter::TRACE
}

/// What is kept of the poster for the task's span.
#[expect(clippy::disallowed_methods, reason = "the time stamp of a trace is not the clock that schedules")]
pub(crate) fn stamp(extension: &mut Extension) {
    extension.cause = tracing::Span::current().id();
    extension.posted_at = Some(Instant::now());
}

/// The span of one task.
pub(crate) fn task_span(extension: &Extension, site: &'static Site, meta: Meta, runner: &Runner) -> tracing::Span {
    let span = tracing::trace_span!(
        "task",
        name = extension.name.as_deref(),
        location = %site.location(),
        runner = runner.name.as_deref(),
        runner_id = runner.id,
        priority = ?meta.priority(),
        queued_for = ?extension.posted_at.map(|at| at.elapsed()),
    );
    if let Some(cause) = &extension.cause {
        span.follows_from(cause);
    }
    span
}
