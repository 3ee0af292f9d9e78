//! The text itself: pages, lengths, names, leftovers, sleeps, machine paths.

use super::source::{Finding, Kind, Source, Text};
use super::{EMPTY_NAMES, FILE_LINES_MAX, SLEEPERS, is_listed};

// Joined, so that this file does not break its own rules.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const STUBS: &[&str] = &["todo", "unimplemented", "dbg"];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/tm", "p/")];

/// The places in `text` where `needle` begins and no letter or digit stands before it.
fn beginnings<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_start = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(needle).map(|(at, _)| at).filter(move |at| is_start(*at))
}

fn has_word(text: &str, word: &str) -> bool {
    let ends = |at: usize| !text[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    beginnings(text, word).any(ends)
}

pub(crate) fn leftovers(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            for note in NOTES.iter().filter(|note| has_word(line, note)) {
                findings.push(source.finding(at + 1, format!("leftover: `{note}` belongs into an issue")));
            }
        }
        for pair in source.tokens.windows(2) {
            if STUBS.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
                findings.push(source.finding(pair[0].line, format!("leftover: `{}!`", pair[0].text)));
            }
        }
    }
    findings
}

pub(crate) fn sleeps(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_listed(SLEEPERS, &source.path)) {
        for pair in source.tokens.windows(2) {
            if pair[0].text == "sleep" && pair[1].text == "(" && source.is_test(pair[0].line) {
                let rule = "sleep: a test waits for a state, a gate or virtual time";
                findings.push(source.finding(pair[0].line, rule));
            }
        }
    }
    findings
}

pub(crate) fn pages(sources: &[Source]) -> Vec<Finding> {
    let bare = sources.iter().filter(|source| !source.lines.first().is_some_and(|line| line.starts_with("//! ")));
    bare.map(|source| source.finding(1, "page: a file begins with a `//!` page")).collect()
}

pub(crate) fn lengths(sources: &[Source]) -> Vec<Finding> {
    let long = sources.iter().filter(|source| source.lines.len() > FILE_LINES_MAX);
    long.map(|source| {
        source.finding(FILE_LINES_MAX + 1, format!("length: {} lines, at most {FILE_LINES_MAX}", source.lines.len()))
    })
    .collect()
}

pub(crate) fn allows(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let words: Vec<_> = source.tokens.iter().map(|token| token.text.as_str()).collect();
        for at in 0..words.len() {
            if let ["#", "[", "allow", "(", ..] | ["#", "!", "[", "allow", "(", ..] = words[at..] {
                let rule = "allow: `#[expect(…, reason = \"…\")]` notices when it is no longer needed";
                findings.push(source.finding(source.tokens[at].line, rule));
            }
        }
    }
    findings
}

pub(crate) fn names(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for pair in source.tokens.windows(2) {
            let is_module = pair[0].text == "mod" && pair[1].kind == Kind::Word;
            if is_module && EMPTY_NAMES.contains(&pair[1].text.as_str()) {
                findings.push(source.finding(pair[1].line, format!("name: `mod {}` says nothing", pair[1].text)));
            }
        }
    }
    findings
}

pub(crate) fn machine_paths(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts {
        for (at, line) in text.text.lines().enumerate() {
            for path in MACHINE_PATHS.iter().filter(|path| beginnings(line, path).next().is_some()) {
                findings.push(text.finding(at + 1, format!("prose: `{path}` is a path of one machine")));
            }
        }
    }
    findings
}
