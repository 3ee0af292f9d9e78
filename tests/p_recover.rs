//! SUP-17: how a recovered panic is told. It puts a panic hook into the process, so a test binary of its own.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, panic_any};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use overstrand::retry::recover;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Set in the process that panics for the others to read what it says.
const CHILD: &str = "OVERSTRAND_RECOVER_CHILD";

/// Keeps the fields of all events.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        self.0.lock().expect("no panic").push(fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Who listens hears of it, and then nothing is said on standard error.
fn told_to_a_listener() {
    let listener = Listener::default();
    let events = Arc::clone(&listener.0);
    tracing::subscriber::with_default(listener, || {
        assert!(recover("heard", || descend(0)).is_err());
    });
    let events = events.lock().expect("no panic");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["name"], r#""heard""#);
    assert!(events[0]["location"].contains(file!()) && events[0]["frames"].contains("descend"), "{events:?}");
    assert!(events[0]["message"].ends_with(": too deep"), "{events:?}");
}

#[inline(never)]
fn descend(depth: usize) -> usize {
    assert!(depth < 30, "too deep");
    std::hint::black_box(descend(depth + 1)) + 1
}

/// What the child does: panics inside, panics that are caught inside, panics outside.
fn child() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| _ = TOLD.fetch_add(1, Ordering::SeqCst)));
    assert_eq!(recover("fine", || 7).ok(), Some(7));
    let panicked = recover("deep", || descend(0)).expect_err("it panics");
    assert_eq!(panicked.message(), Some("too deep"));
    let caught = recover("outer", || catch_unwind(|| panic!("caught inside")).is_err());
    assert!(caught.is_ok_and(|was_caught| was_caught));
    let inner = recover("outer", || recover("inner", || panic_any(7)).is_err());
    assert!(inner.is_ok_and(|was_caught| was_caught));
    assert_eq!(TOLD.load(Ordering::SeqCst), 0, "the program's hook hears of panics outside only");
    assert!(catch_unwind(|| panic!("outside")).is_err());
    let elsewhere = || std::thread::spawn(|| panic!("on another thread")).join();
    assert!(recover("thread", elsewhere).is_ok_and(|joined| joined.is_err()));
    told_to_a_listener();
    assert_eq!(TOLD.load(Ordering::SeqCst), 2);
}

#[test]
fn recovered_panic_is_told_once_with_name_place_and_frames() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let program = std::env::current_exe().expect("a test has a program");
    let output = Command::new(program)
        .args(["--exact", "recovered_panic_is_told_once_with_name_place_and_frames", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let heads: Vec<_> = text.lines().filter(|line| line.contains(" panicked at ")).collect();
    assert_eq!(heads.len(), 3, "{text}");
    for (head, name, message) in [
        (heads[0], "deep", "too deep"),
        (heads[1], "outer", "caught inside"),
        (heads[2], "inner", "<non-string payload>"),
    ] {
        assert!(head.starts_with(&format!("{name:?} panicked at {}:", file!())), "{head}");
        assert!(head.ends_with(&format!(": {message}")), "{head}");
    }
    let frames: Vec<_> = text.lines().skip(1).take_while(|line| line.starts_with("  ")).collect();
    assert_eq!(frames.len(), 10, "{text}");
    assert!(frames.iter().all(|frame| frame.contains("descend")), "{text}");
}
