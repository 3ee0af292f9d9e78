//! Atomics: ORDER tags and their peers, a comment for every ordering, fences in their homes.

use std::collections::HashMap;

use super::source::{Comment, Finding, Kind, Source, Token};
use super::{FENCE_HOMES, ORDER_REACH, RELAXED_REACH, is_listed};

/// Words that begin a comment of another form, which ends an ORDER comment.
const FORMS: &[&str] = &["ORDER", "SAFETY", "INVARIANT", "WHY", "Relaxed"];

const ORDERINGS: &[&str] = &["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// One ORDER comment: `ORDER fifo.publish: Release; …; pairs with fifo.claim.`
#[derive(Debug)]
struct Order {
    first_line: usize,
    last_line: usize,
    tag: Option<String>,
    peers: Vec<String>,
}

impl Order {
    fn parse(lines: &[&Comment]) -> Self {
        let text: Vec<_> = lines.iter().map(|comment| comment.text.as_str()).collect();
        let text = text.join(" ");
        let tag = text.strip_prefix("ORDER ").and_then(|rest| rest.split_once(':')).map(|(tag, _)| tag);
        Self {
            first_line: lines[0].line,
            last_line: lines[lines.len() - 1].line,
            tag: tag.filter(|tag| is_tag(tag)).map(Into::into),
            peers: peers(&text),
        }
    }
}

/// `file.noun`
fn is_tag(text: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    text.split_once('.').is_some_and(|(file, noun)| is_name(file) && is_name(noun))
}

/// The tags after each "pairs with".
fn peers(text: &str) -> Vec<String> {
    let mut peers = Vec::new();
    for list in text.split("pairs with ").skip(1) {
        for word in list.split_whitespace().filter(|word| *word != "and") {
            let name = word.trim_end_matches(['.', ',', ';', ')']);
            if !is_tag(name) {
                break;
            }
            peers.push(name.into());
            if word.ends_with(['.', ';', ')']) {
                break;
            }
        }
    }
    peers
}

/// The ORDER comments of the product code of a file.
fn orders(source: &Source) -> Vec<Order> {
    let comments: Vec<_> = source.comments.iter().filter(|comment| !source.is_test(comment.line)).collect();
    let mut orders = Vec::new();
    for (at, comment) in comments.iter().enumerate().filter(|(_, comment)| begins_form(comment, &["ORDER"])) {
        let mut length = 1;
        while let Some(next) = comments.get(at + length) {
            if next.line != comment.line + length || !next.alone || begins_form(next, FORMS) {
                break;
            }
            length += 1;
        }
        orders.push(Order::parse(&comments[at..at + length]));
    }
    orders
}

fn begins_form(comment: &Comment, forms: &[&str]) -> bool {
    let word = comment.text.split([' ', ':']).next();
    word.is_some_and(|word| forms.contains(&word))
}

pub(crate) fn tags(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut homes = HashMap::new();
    let all: Vec<_> =
        sources.iter().flat_map(|source| orders(source).into_iter().map(move |order| (source, order))).collect();
    for (source, order) in &all {
        let Some(tag) = &order.tag else {
            findings.push(source.finding(order.first_line, "ORDER: not of the form `ORDER file.noun: …`"));
            continue;
        };
        if let Some(home) = homes.insert(tag.clone(), format!("{}:{}", source.path, order.first_line)) {
            findings.push(source.finding(order.first_line, format!("ORDER: `{tag}` stands at {home} too")));
        }
    }
    for (source, order) in &all {
        if order.peers.is_empty() {
            findings.push(source.finding(order.first_line, "ORDER: names no peer (`pairs with file.noun`)"));
        }
        for peer in order.peers.iter().filter(|peer| !homes.contains_key(*peer)) {
            findings.push(source.finding(order.first_line, format!("ORDER: there is no peer `{peer}`")));
        }
    }
    findings
}

/// The memory orderings that the product code of a file uses.
fn uses(source: &Source) -> Vec<&Token> {
    let imported: Vec<_> = source.paths().into_iter().filter(|path| path.in_use).collect();
    let is_imported = |name: &str| {
        imported.iter().any(|path| {
            let mut pairs = path.segments.windows(2);
            pairs.any(|pair| pair[0] == "Ordering" && (pair[1] == name || pair[1] == "*"))
        })
    };
    let tokens = &source.tokens;
    let is_use = |at: usize| {
        let is_qualified = at > 0 && tokens[at - 1].text == "::";
        let is_ordering = at > 1 && is_qualified && tokens[at - 2].text == "Ordering";
        is_ordering || (!is_qualified && is_imported(&tokens[at].text))
    };
    let candidates = tokens.iter().enumerate().filter(|(_, token)| {
        token.kind == Kind::Word
            && !token.in_use
            && ORDERINGS.contains(&token.text.as_str())
            && !source.is_test(token.line)
    });
    candidates.filter(|(at, _)| is_use(*at)).map(|(_, token)| token).collect()
}

/// The lines from `line` upwards, at most `reach` of them above it, that belong to the same function.
fn lines_above(source: &Source, line: usize, reach: usize) -> std::ops::RangeInclusive<usize> {
    let begins_function = |pair: &[Token]| pair[0].text == "fn" && pair[1].kind == Kind::Word && pair[0].line <= line;
    let head = source.tokens.windows(2).filter(|pair| begins_function(pair)).map(|pair| pair[0].line).next_back();
    line.saturating_sub(reach).max(head.unwrap_or(1))..=line
}

pub(crate) fn explained(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let orders = orders(source);
        for token in uses(source) {
            if token.text == "Relaxed" {
                let near = lines_above(source, token.line, RELAXED_REACH);
                if !source.comments.iter().any(|comment| near.contains(&comment.line)) {
                    let rule = "ordering: no comment near this `Relaxed` says why nothing is published";
                    findings.push(source.finding(token.line, rule));
                }
            } else {
                let near = lines_above(source, token.line, ORDER_REACH);
                if !orders.iter().any(|order| order.first_line <= token.line && near.contains(&order.last_line)) {
                    let rule = format!("ordering: no ORDER comment near this `{}`", token.text);
                    findings.push(source.finding(token.line, rule));
                }
            }
        }
    }
    findings
}

pub(crate) fn fences(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_listed(FENCE_HOMES, &source.path)) {
        for (at, token) in source.tokens.iter().enumerate() {
            let opens = source.tokens.get(at + 1).is_some_and(|next| next.text == "(");
            if token.text != "fence" || !opens {
                continue;
            }
            let mut arguments = source.tokens[at + 2..].iter().take_while(|argument| argument.text != ")");
            if arguments.any(|argument| argument.text == "SeqCst") {
                findings.push(source.finding(token.line, "fence: `fence(SeqCst)` may not stand in this file"));
            }
        }
    }
    findings
}
