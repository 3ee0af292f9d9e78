//! The guard guarded: every rule passes a text that keeps it and finds the line of one that breaks it.

use super::source::{Finding, Source, Text};
use super::{orderings, rooms, shape};

type Rule = fn(&[Source]) -> Vec<Finding>;

fn check(rule: Rule, path: &str, text: &str) -> Vec<String> {
    rule(&[Source::parse(path, text)]).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn accepts(rule: Rule, path: &str, text: &str) {
    assert_eq!(check(rule, path, text), Vec::<String>::new(), "in {text}");
}

/// The rule finds one thing, in this line, and says this.
#[track_caller]
fn finds(rule: Rule, path: &str, text: &str, line: usize, says: &str) {
    let found = check(rule, path, text);
    assert_eq!(found.len(), 1, "{found:?} in {text}");
    assert!(found[0].starts_with(&format!("{path}:{line}: ")), "{found:?}");
    assert!(found[0].contains(says), "{found:?} does not say {says:?}");
}

#[test]
fn upward_path_is_found() {
    accepts(rooms::layers, "src/pool/idle.rs", "use crate::task::Task;\nuse crate::{zoo, error::Rejected, sync};");
    finds(rooms::layers, "src/task/raw.rs", "\nuse crate::pool::Pool;", 2, "`task` may not name `pool`");
    finds(rooms::layers, "src/queue/fifo.rs", "fn f() {\n    crate::task::run();\n}", 2, "`queue` may not name `task`");
    finds(rooms::layers, "src/zoo.rs", "use crate::pool::Pool;", 1, "`zoo` may not name `pool`");
}

#[test]
fn upward_path_in_a_group_is_found() {
    let text = "use crate::{\n    sync::{Mutex, atomic::{self, AtomicBool}},\n    runner::Runner as R,\n    zoo,\n};";
    finds(rooms::layers, "src/pool/core.rs", text, 3, "`pool` may not name `runner`");
}

#[test]
fn path_to_a_neighbour_is_found() {
    finds(rooms::layers, "src/queue/fifo.rs", "use crate::park::Parker;", 1, "`queue` may not name `park`");
    finds(rooms::layers, "src/time/wheel.rs", "use crate::task::Task;", 1, "`time` may not name `task`");
}

#[test]
fn path_that_climbs_by_super_is_found() {
    accepts(rooms::layers, "src/task/raw.rs", "use super::site::Site;");
    accepts(rooms::layers, "src/task/raw.rs", "mod pool {\n    use super::super::site::Site;\n}");
    finds(rooms::layers, "src/task/raw.rs", "use super::super::pool::Pool;", 1, "`task` may not name `pool`");
    finds(rooms::layers, "src/queue/mod.rs", "use self::super::pool::Pool;", 1, "`queue` may not name `pool`");
    finds(
        rooms::layers,
        "src/task/mod.rs",
        "mod a {\n    use super::super::pool::Pool;\n}",
        2,
        "`task` may not name `pool`",
    );
}

#[test]
fn path_through_the_front_door_is_found() {
    let lib = "//! Page.\npub use pool::{ThreadPool, Builder as PoolBuilder};\npub use crate::task::Task;";
    let check = |path: &str, text: &str| {
        let findings = rooms::layers(&[Source::parse("src/lib.rs", lib), Source::parse(path, text)]);
        findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(check("src/supervise/run.rs", "use crate::{PoolBuilder, Task};").is_empty());
    assert_eq!(
        check("src/time/wheel.rs", "use crate::PoolBuilder;"),
        ["src/time/wheel.rs:1: layers: `time` may not name `pool`"]
    );
    assert!(
        check("src/runner/mod.rs", "use crate::Thing;")[0].contains("`Thing` is neither a room nor shown by lib.rs")
    );
}

#[test]
fn words_and_strings_are_no_paths() {
    let text = "//! [`crate::pool`]\n/// crate::pool\n// crate::pool\n/* crate::pool /* */ crate::pool */\n";
    accepts(rooms::layers, "src/queue/fifo.rs", text);
    let text = "const A: &str = \"crate::pool \\\" crate::pool\";\nconst B: &str = r#\"\" crate::pool\"#;\nconst C: char = '\"';";
    accepts(rooms::layers, "src/queue/fifo.rs", text);
    let text = "fn f<'a>(x: &'a str) -> char { '\\'' }\nuse crate::pool::P;";
    finds(rooms::layers, "src/queue/fifo.rs", text, 2, "may not name `pool`");
}

#[test]
fn test_code_may_name_any_room() {
    let path = "use crate::pool::Pool;";
    accepts(rooms::layers, "src/queue/tests/unit.rs", path);
    accepts(rooms::layers, "src/queue/fifo.rs", &format!("mod tests {{\n    {path}\n}}"));
    accepts(rooms::layers, "src/queue/fifo.rs", &format!("#[cfg(all(test, unix))]\nmod unit {{\n    {path}\n}}"));
    let not_test = format!("#[cfg(not(test))]\nmod real {{\n    {path}\n}}");
    finds(rooms::layers, "src/queue/fifo.rs", &not_test, 3, "may not name `pool`");
    let after = format!("mod tests {{\n    fn f() {{}}\n}}\n{path}");
    finds(rooms::layers, "src/queue/fifo.rs", &after, 4, "may not name `pool`");
}

#[test]
fn room_without_a_row_is_found() {
    finds(rooms::layers, "src/cache/mod.rs", "//! Page.", 1, "`cache` has no row");
    finds(rooms::layers, "src/cache.rs", "//! Page.", 1, "`cache` has no row");
}

#[test]
fn unsafe_code_outside_its_homes_is_found() {
    accepts(rooms::unsafe_code, "src/queue/slab.rs", "unsafe { f() }");
    accepts(rooms::unsafe_code, "src/task/raw.rs", "unsafe { f() }");
    accepts(rooms::unsafe_code, "src/park/mod.rs", "#![forbid(unsafe_code, unsafe_op_in_unsafe_fn)]\n// unsafe\n");
    finds(rooms::unsafe_code, "src/task/handle.rs", "fn f() {\n    unsafe { g() }\n}", 2, "not in the list");
    finds(rooms::unsafe_code, "src/task/tests/raw.rs", "unsafe impl Send for X {}", 1, "not in the list");
}

#[test]
fn missing_forbid_is_found() {
    accepts(rooms::forbid, "src/park/mod.rs", "//! Page.\n#![cfg(unix)]\n#![forbid(unsafe_code)]\nuse std::fmt;");
    accepts(rooms::forbid, "src/queue/mod.rs", "//! Page.");
    accepts(rooms::forbid, "src/park/tests/mod.rs", "//! Page.");
    finds(rooms::forbid, "src/park/mod.rs", "//! Page.\nuse std::fmt;", 1, "is missing");
    finds(rooms::forbid, "src/park/mod.rs", "//! Page.\n// #![forbid(unsafe_code)]\n", 1, "is missing");
    finds(rooms::forbid, "src/park/mod.rs", "//! Page.\nmod a {\n    #![forbid(unsafe_code)]\n}", 1, "is missing");
}

#[test]
fn raw_primitive_is_found() {
    let fine = "use std::sync::{Arc, Weak, PoisonError};\nfn f() -> std::thread::Result<bool> { Ok(std::thread::panicking()) }";
    accepts(rooms::primitives, "src/pool/core.rs", fine);
    accepts(rooms::primitives, "src/sync/std_backend.rs", "use std::sync::Mutex;");
    accepts(rooms::primitives, "src/pool/tests/it.rs", "use std::sync::Mutex;");
    let broken = [
        ("use std::sync::{Arc, Mutex};", "std::sync::Mutex"),
        ("use std::{fmt, sync::atomic::AtomicBool};", "std::sync::atomic::AtomicBool"),
        ("use std::sync;", "std::sync"),
        ("use std::sync::{self, Arc};", "std::sync::self"),
        ("use std::sync::*;", "std::sync::*"),
        ("fn f() { ::std::thread::spawn(g); }", "std::thread::spawn"),
        ("use core::sync::atomic::fence;", "core::sync::atomic::fence"),
        ("use parking_lot::Mutex;", "parking_lot::Mutex"),
        ("static A: once_cell::sync::OnceCell<u8> = x;", "once_cell::sync::OnceCell"),
    ];
    for (text, says) in broken {
        finds(rooms::primitives, "src/pool/core.rs", text, 1, &format!("`{says}`"));
    }
}

#[test]
fn reading_the_clock_is_found() {
    accepts(rooms::clock, "src/time/clock.rs", "fn f() { Instant::now(); }");
    finds(
        rooms::clock,
        "src/pool/timer.rs",
        "fn f() {\n    std::time::Instant::now();\n}",
        2,
        "may not read the clock",
    );
    finds(
        rooms::clock,
        "src/pool/timer.rs",
        "const NOW: fn() -> SystemTime = SystemTime::now;",
        1,
        "may not read the clock",
    );
}

const PAIR: &str = "// ORDER fifo.push: Release; the body becomes visible,\n// to whom it concerns; pairs with\n// fifo.pop.\n\
                    // SAFETY: none needed.\n// ORDER fifo.pop: Acquire; (pairs with fifo.push and fifo.pop).\n";

#[test]
fn missing_peer_is_found() {
    accepts(orderings::tags, "src/queue/fifo.rs", PAIR);
    let text = "\n// ORDER fifo.pop: Acquire; pairs with fifo.push, fifo.pop.";
    finds(orderings::tags, "src/queue/fifo.rs", text, 2, "there is no peer `fifo.push`");
    finds(orderings::tags, "src/queue/fifo.rs", "// ORDER fifo.pop: Acquire.", 1, "names no peer");
    let ended = "// ORDER fifo.pop: Acquire; pairs with\n// SAFETY: fifo.pop.";
    finds(orderings::tags, "src/queue/fifo.rs", ended, 1, "names no peer");
    let in_tests = format!("{text}\nmod tests {{\n// ORDER fifo.push: Release; pairs with fifo.pop.\n}}");
    finds(orderings::tags, "src/queue/fifo.rs", &in_tests, 2, "there is no peer `fifo.push`");
}

#[test]
fn repeated_or_shapeless_tag_is_found() {
    let again = format!("{PAIR}// ORDER fifo.pop: Acquire; pairs with fifo.push.");
    finds(orderings::tags, "src/queue/fifo.rs", &again, 6, "stands at src/queue/fifo.rs:5 too");
    let shapeless = format!("{PAIR}// ORDER fifo: Release; pairs with fifo.push.");
    finds(orderings::tags, "src/queue/fifo.rs", &shapeless, 6, "not of the form");
    let nameless = format!("{PAIR}// ORDER: Release; pairs with fifo.push.");
    finds(orderings::tags, "src/queue/fifo.rs", &nameless, 6, "not of the form");
}

#[test]
fn unexplained_ordering_is_found() {
    let order = "// ORDER fifo.pop: Acquire; pairs with fifo.pop.";
    let load = "x.load(Ordering::Acquire);";
    accepts(orderings::explained, "src/queue/fifo.rs", &format!("fn f() {{\n{order}\n{load}\n}}"));
    accepts(orderings::explained, "src/queue/fifo.rs", &format!("fn f() {{\n{load} {order}\n}}"));
    accepts(orderings::explained, "src/queue/tests/unit.rs", load);
    finds(orderings::explained, "src/queue/fifo.rs", load, 1, "near this `Acquire`");
    finds(orderings::explained, "src/queue/fifo.rs", &format!("// Not an order.\n{load}"), 2, "near this `Acquire`");
    let far = format!("{order}{}{load}", "\n".repeat(9));
    finds(orderings::explained, "src/queue/fifo.rs", &far, 10, "near this `Acquire`");
    let elsewhere = format!("fn f() {{\n{order}\n}}\nfn g() {{\n{load}\n}}");
    finds(orderings::explained, "src/queue/fifo.rs", &elsewhere, 5, "near this `Acquire`");
    finds(orderings::explained, "src/queue/fifo.rs", &format!("{load}\n{order}"), 1, "near this `Acquire`");
}

#[test]
fn unexplained_imported_ordering_is_found() {
    let import = "use crate::sync::atomic::Ordering::{self, AcqRel, SeqCst};\n";
    finds(orderings::explained, "src/queue/fifo.rs", &format!("{import}x.swap(1, AcqRel);"), 2, "near this `AcqRel`");
    finds(orderings::explained, "src/queue/fifo.rs", &format!("{import}fence(SeqCst);"), 2, "near this `SeqCst`");
    accepts(orderings::explained, "src/queue/fifo.rs", &format!("{import}let x = Step::Release;\nlet y = Release;"));
    finds(orderings::explained, "src/queue/fifo.rs", "use a::Ordering::*;\nx.load(Acquire);", 2, "near this `Acquire`");
}

#[test]
fn uncommented_relaxed_is_found() {
    let load = "x.load(Ordering::Relaxed);";
    accepts(orderings::explained, "src/pool/core.rs", &format!("// Relaxed: a hint.\n{load}"));
    accepts(orderings::explained, "src/pool/core.rs", &format!("{load} // a hint"));
    finds(orderings::explained, "src/pool/core.rs", load, 1, "near this `Relaxed`");
    finds(orderings::explained, "src/pool/core.rs", &format!("/// A hint.\n{load}"), 2, "near this `Relaxed`");
    let elsewhere = format!("// A hint.\nfn f() {{\n{load}\n}}");
    finds(orderings::explained, "src/pool/core.rs", &elsewhere, 3, "near this `Relaxed`");
    let zoo = format!("fn f() {{\nif zoo::has(\"Z4\") {{\n{load}\n}}\n}}");
    finds(orderings::explained, "src/pool/core.rs", &zoo, 3, "near this `Relaxed`");
}

#[test]
fn stray_fence_is_found() {
    accepts(orderings::fences, "src/pool/idle.rs", "fence(Ordering::SeqCst);");
    accepts(orderings::fences, "src/pool/core.rs", "fence(Ordering::Acquire);\nx.load(SeqCst);");
    finds(orderings::fences, "src/pool/core.rs", "\nfence(Ordering::SeqCst);", 2, "may not stand");
    finds(orderings::fences, "src/task/site.rs", "atomic::fence(SeqCst);", 1, "may not stand");
}

#[test]
fn leftover_is_found() {
    let note = concat!("// TO", "DO: later");
    finds(shape::leftovers, "src/a.rs", &format!("\n{note}"), 2, concat!("`TO", "DO`"));
    finds(shape::leftovers, "src/a.rs", "fn f() { todo!() }", 1, "`todo!`");
    finds(shape::leftovers, "examples/a.rs", "fn f() {\n    dbg!(1);\n}", 2, "`dbg!`");
    accepts(shape::leftovers, "src/a.rs", concat!("// TO", "DOS\nlet todo = !x; // todo!"));
}

#[test]
fn sleeping_test_is_found() {
    finds(shape::sleeps, "tests/it/order.rs", "\nstd::thread::sleep(d);", 2, "sleep");
    finds(shape::sleeps, "src/pool/tests/unit.rs", "sleep(d);", 1, "sleep");
    finds(shape::sleeps, "src/pool/core.rs", "sleep(a);\nmod tests {\n    sleep(d);\n}", 3, "sleep");
    accepts(shape::sleeps, "src/pool/core.rs", "fn sleep(x: u8) {}\nmod tests {\n    // sleep(d)\n}");
}

#[test]
fn missing_page_and_long_file_are_found() {
    accepts(shape::pages, "src/a.rs", "//! A page.");
    finds(shape::pages, "src/a.rs", "// A page.", 1, "page");
    finds(shape::pages, "src/a.rs", "", 1, "page");
    accepts(shape::lengths, "src/a.rs", &"\n".repeat(600));
    finds(shape::lengths, "src/a.rs", &"\n".repeat(601), 601, "601 lines");
}

#[test]
fn allowed_lint_is_found() {
    accepts(shape::allows, "src/a.rs", "#[expect(dead_code, reason = \"x\")]\n// #[allow(dead_code)]");
    finds(shape::allows, "src/a.rs", "\n#[allow(dead_code)]", 2, "expect");
    finds(shape::allows, "src/a.rs", "#![allow(dead_code)]", 1, "expect");
}

#[test]
fn empty_module_name_is_found() {
    accepts(shape::names, "src/a.rs", "mod idle;\nuse std::common;");
    finds(shape::names, "src/a.rs", "pub(crate) mod helpers;", 1, "`mod helpers`");
    finds(shape::names, "src/a.rs", "mod types {}", 1, "`mod types`");
}

#[test]
fn machine_path_is_found() {
    let text = |text: &str| shape::machine_paths(&[Text { path: "README.md".into(), text: text.into() }]);
    assert!(text("see src/work/mod.rs and frame/tmp/x").is_empty());
    assert_eq!(text(concat!("a\n`/wo", "rk/main`")).len(), 1);
    assert_eq!(text(concat!("cd /tm", "p/x")).len(), 1);
}
