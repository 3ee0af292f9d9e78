//! Turning a panic into a value, and telling of it once.
//!
//! What a panic leaves behind for `catch_unwind` has no place and no frames any more; only the panic hook sees them. So the first call puts a hook of this crate in
//! front of the program's, for good. On a thread that is inside of [`recover`] the new hook reports the panic; anywhere else it calls the hook that was there
//! before. A panic has one call of one hook, so it is told of once, even when it is caught within the closure, and even when it ends the process.
//!
//! A program that sets a hook later puts its own in the place of this one: it hears of all panics then, and names are lost.
//!
//! Witnessed by the test binary `p_recover`.
#![forbid(unsafe_code)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::PanicHookInfo;

use crate::sync::local;
use crate::sync::unmodelled::OnceCell;
use crate::task::current::{Name, name_of};
use crate::task::panic::{Panicked, catch, message_of};

const FRAMES_MAX: usize = 10;

local! {
    /// The names of the calls that this thread is in, outermost first.
    static NAMES: RefCell<Vec<Name>> = RefCell::new(Vec::new());
}

/// Calls a closure that may panic; a panic comes back as a value, after it was reported (SUP-17).
///
/// # Guarantees
///
/// A panic is reported exactly once, on one of two ways: as a `tracing` event at error level if somebody listens, else as a few lines on standard error. The report
/// has the name, the panic's text, its place and at most ten frames. The panic hook of the program is not called for it.
///
/// # Not guaranteed
///
/// What `f` has left half-done is the caller's to judge. Nothing is recovered from `panic = "abort"`, a second panic while unwinding, or a stack overflow. The
/// process has one panic hook, and the first call of this function puts one in front of it; a program that sets one itself does so before.
///
/// # Examples
///
/// ```
/// use overstrand::retry::recover;
///
/// let size = recover("plugin", || "seven".parse::<usize>().expect("a number"));
/// assert!(size.is_err_and(|panic| panic.message().is_some_and(|text| text.starts_with("a number"))));
/// ```
///
/// # Errors
///
/// [`Panicked`] with what it panicked with.
pub fn recover<T>(name: impl Into<Cow<'static, str>>, f: impl FnOnce() -> T) -> Result<T, Panicked> {
    put_hook();
    let _inside = Inside::begin(name_of(name));
    catch(f).map_err(Panicked::new)
}

/// The thread is inside of a call, until this is dropped.
struct Inside;

impl Inside {
    fn begin(name: Name) -> Self {
        let _ = NAMES.try_with(|names| names.borrow_mut().push(name));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let name = NAMES.try_with(|names| names.borrow_mut().pop());
        drop(name);
    }
}

/// Puts the hook in front of the program's, once.
fn put_hook() {
    static IS_PUT: OnceCell<()> = OnceCell::new();
    // WHY not while panicking: the system refuses it with a second panic. The next call does it.
    if IS_PUT.get().is_some() || std::thread::panicking() {
        return;
    }
    IS_PUT.get_or_init(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match name_of_innermost() {
            Some(name) => report(&name, panic),
            None => before(panic),
        }));
    });
}

/// The name of the innermost call that this thread is in.
fn name_of_innermost() -> Option<Name> {
    NAMES.try_with(|names| names.try_borrow().ok()?.last().cloned()).ok().flatten()
}

fn report(name: &str, panic: &PanicHookInfo<'_>) {
    let message = message_of(panic.payload()).unwrap_or("<non-string payload>");
    let place = panic.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    let backtrace = Backtrace::force_capture();
    let frames = match backtrace.status() {
        BacktraceStatus::Captured => frames(&backtrace.to_string()),
        _ => String::new(),
    };
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(name, location = place, frames, "{name:?} panicked at {place}: {message}");
    } else {
        // WHY the result is ignored: where nobody can be told, there is nothing else to do.
        let _ = write!(std::io::stderr(), "{name:?} panicked at {place}: {message}\n{frames}");
    }
}

/// The innermost frames of the code that panicked, one per line: what comes before it, the machinery of panics, is left out, and so is what called `recover`.
fn frames(backtrace: &str) -> String {
    let mut all = Vec::new();
    for line in backtrace.lines().map(str::trim) {
        match (line.strip_prefix("at "), all.last_mut()) {
            (Some(place), Some((_, at))) => *at = place,
            (Some(_), None) => {}
            (None, _) => all.push((line.split_once(": ").map_or(line, |(_, symbol)| symbol), "")),
        }
    }
    let panics = all.iter().position(|(symbol, _)| symbol.contains("begin_unwind")).map_or(0, |at| at + 1);
    let mut shown = &all[panics..];
    shown = &shown[shown.iter().take_while(|(symbol, _)| is_of_panics(symbol)).count()..];
    shown = &shown[..shown.iter().take_while(|(symbol, _)| !symbol.contains("retry::recover::recover")).count()];
    while let [before @ .., (symbol, _)] = shown {
        if !is_of_catching(symbol) {
            break;
        }
        shown = before;
    }
    let known = shown.iter().filter(|(symbol, _)| *symbol != "<unknown>");
    let mut text = String::new();
    for (number, (symbol, at)) in known.take(FRAMES_MAX).enumerate() {
        let _ = writeln!(text, "  {number}: {symbol}{}{at}", if at.is_empty() { "" } else { " at " });
    }
    text
}

/// What lies between a panic and its hook.
fn is_of_panics(symbol: &str) -> bool {
    symbol.contains("core::panicking::") || symbol.ends_with("_failed")
}

/// What lies between `recover` and the code that it calls.
fn is_of_catching(symbol: &str) -> bool {
    const NAMES: &[&str] = &["task::panic::catch", "std::panic", "__rust_try", "AssertUnwindSafe"];
    NAMES.iter().any(|name| symbol.contains(name))
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::frames;

    const BACKTRACE: &str = "   0: std::backtrace::Backtrace::force_capture
             at /std/src/backtrace.rs:1:2
   1: overstrand::retry::recover::report
   2: __rustc::rust_begin_unwind
             at /std/src/panicking.rs:7:5
   3: core::panicking::panic_fmt
   4: core::option::expect_failed
             at /core/src/option.rs:1:2
   5: app::plugin::size
             at ./src/plugin.rs:3:14
   6: <unknown>
   7: app::plugin::run
   8: std::panic::catch_unwind
   9: app::plugin::call
  10: <core::panic::unwind_safe::AssertUnwindSafe<F> as core::ops::function::FnOnce<()>>::call_once
  11: std::panicking::catch_unwind::do_call
  12: __rust_try
  13: overstrand::task::panic::catch
  14: overstrand::retry::recover::recover
  15: app::main
";

    #[test]
    fn frames_are_those_of_the_code_that_panicked() {
        let shown = [
            "app::plugin::size at ./src/plugin.rs:3:14",
            "app::plugin::run",
            "std::panic::catch_unwind",
            "app::plugin::call",
        ];
        let numbered = shown.iter().enumerate().map(|(number, frame)| format!("  {number}: {frame}\n"));
        assert_eq!(frames(BACKTRACE), numbered.collect::<String>());
    }

    #[test]
    fn frames_are_ten_at_most() {
        let deep: String = (0..100).map(|depth| format!("{depth:>4}: app::descend\n")).collect();
        assert_eq!(frames(&deep).lines().count(), 10);
        assert_eq!(frames(""), "");
    }
}
