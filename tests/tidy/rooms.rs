//! Who may name what: layers, unsafe code, primitives, the clock.

use std::collections::HashMap;

use super::source::{Finding, Kind, Named, Source};
use super::{
    CLOCK_READERS, FORBID_EXEMPT, LAYERS, OPEN_ROOMS, PLAIN_SYNC, PLAIN_THREAD, PRIMITIVE_CRATES, PRIMITIVE_HOMES,
    UNSAFE_HOMES, is_listed,
};

/// The row of a room in the table.
fn layer_of(room: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&room))
}

/// What an open room may name; `None` for others.
fn open_room(room: &str) -> Option<&'static [&'static str]> {
    OPEN_ROOMS.iter().find(|(open, _)| *open == room).map(|(_, names)| *names)
}

fn is_room(name: &str) -> bool {
    layer_of(name).is_some() || open_room(name).is_some()
}

/// True when `room` may name `other`.
fn may_name(room: &str, other: &str) -> bool {
    match (open_room(room), open_room(other)) {
        _ if room == other => true,
        (Some(names), _) => names.contains(&other),
        (None, Some(_)) => true,
        (None, None) => layer_of(other) < layer_of(room),
    }
}

/// Which room the names come from that `lib.rs` shows at the crate's root.
fn front_door(sources: &[Source]) -> HashMap<String, String> {
    let mut rooms = HashMap::new();
    for lib in sources.iter().filter(|source| source.path == "src/lib.rs") {
        for path in lib.paths().into_iter().filter(|path| path.in_use && path.inline_depth == 0) {
            let segments: Vec<_> =
                path.segments.iter().skip_while(|name| *name == "crate" || *name == "self").collect();
            if let (Some(room), Some(name)) = (segments.first(), path.alias.as_ref().or(segments.last().copied())) {
                rooms.insert(name.clone(), (*room).clone());
            }
        }
    }
    rooms
}

/// The first name below the crate's root that a path leads to; `None` when it does not climb that far.
fn below_root<'a>(source: &Source, path: &'a Named) -> Option<&'a str> {
    let climbs = path.segments.iter().skip_while(|name| *name == "self").take_while(|name| *name == "super").count();
    let skipped = path.segments.iter().take_while(|name| *name == "self").count();
    let start = match path.segments[0].as_str() {
        "crate" => 1,
        _ if climbs > 0 && climbs == source.module().len() + path.inline_depth => skipped + climbs,
        _ => return None,
    };
    path.segments.get(start).map(String::as_str)
}

pub(crate) fn layers(sources: &[Source]) -> Vec<Finding> {
    let front_door = front_door(sources);
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "src/lib.rs") {
        let room = source.module()[0].to_owned();
        if !is_room(&room) {
            findings.push(source.finding(1, format!("layers: `{room}` has no row in the table of rooms")));
            continue;
        }
        for path in source.paths().iter().filter(|path| !source.is_test(path.line)) {
            let Some(name) = below_root(source, path) else { continue };
            let other = if is_room(name) { name } else { front_door.get(name).map_or(name, String::as_str) };
            if !is_room(other) {
                let rule = format!("layers: `{name}` is neither a room nor shown by lib.rs; name the room it is in");
                findings.push(source.finding(path.line, rule));
            } else if !may_name(&room, other) {
                findings.push(source.finding(path.line, format!("layers: `{room}` may not name `{other}`")));
            }
        }
    }
    findings
}

pub(crate) fn unsafe_code(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_listed(UNSAFE_HOMES, &source.path)) {
        for token in source.tokens.iter().filter(|token| token.kind == Kind::Word && token.text == "unsafe") {
            findings.push(source.finding(token.line, "unsafe: this file is not in the list of those that may"));
        }
    }
    findings
}

pub(crate) fn forbid(sources: &[Source]) -> Vec<Finding> {
    let bound = sources.iter().filter(|source| !source.is_test_file() && !is_listed(FORBID_EXEMPT, &source.path));
    let bare = bound.filter(|source| !forbids_unsafe_code(source));
    bare.map(|source| source.finding(1, "unsafe: `#![forbid(unsafe_code)]` is missing below the page")).collect()
}

/// True when `forbid(unsafe_code)` is among the inner attributes at the head of the file.
fn forbids_unsafe_code(source: &Source) -> bool {
    let words: Vec<_> = source.tokens.iter().map(|token| token.text.as_str()).collect();
    let mut rest = words.as_slice();
    while let ["#", "!", "[", attribute @ ..] = rest {
        if let ["forbid", "(", "unsafe_code", ")", "]", ..] = attribute {
            return true;
        }
        let end = attribute.iter().position(|word| *word == "]").map_or(attribute.len(), |end| end + 1);
        rest = &attribute[end..];
    }
    false
}

pub(crate) fn primitives(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_listed(PRIMITIVE_HOMES, &source.path)) {
        for path in source.paths().iter().filter(|path| !source.is_test(path.line) && is_primitive(path)) {
            let rule = format!("primitives: `{}` is reached through `crate::sync` only", path.segments.join("::"));
            findings.push(source.finding(path.line, rule));
        }
    }
    findings
}

fn is_primitive(path: &Named) -> bool {
    let is_plain = |plain: &[&str]| path.segments.get(2).is_some_and(|name| plain.contains(&name.as_str()));
    match path.segments[0].as_str() {
        "std" | "core" | "alloc" => match path.segments.get(1).map(String::as_str) {
            Some("sync") => !is_plain(PLAIN_SYNC),
            Some("thread") => !is_plain(PLAIN_THREAD),
            _ => false,
        },
        name => PRIMITIVE_CRATES.contains(&name) && (path.in_use || path.segments.len() > 1),
    }
}

pub(crate) fn clock(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_listed(CLOCK_READERS, &source.path)) {
        for path in source.paths().iter().filter(|path| !source.is_test(path.line)) {
            let mut pairs = path.segments.windows(2);
            if pairs.any(|pair| matches!(pair[0].as_str(), "Instant" | "SystemTime") && pair[1] == "now") {
                findings.push(
                    source.finding(path.line, "clock: this file may not read the clock; take the time as an argument"),
                );
            }
        }
    }
    findings
}
