//! A source file as the rules see it: tokens and comments apart, strings gone, paths flattened, test code marked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A broken rule, with its place.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// A file as plain text.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Text {
    pub(crate) fn finding(&self, line: usize, rule: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule: rule.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    /// One character, or `::`.
    Mark,
    /// A string, a character or a lifetime; its text is not kept.
    Opaque,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// How many inline modules are open here.
    pub(crate) inline_depth: usize,
    pub(crate) in_use: bool,
}

/// One line of a comment that is not documentation.
#[derive(Debug)]
pub(crate) struct Comment {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// No code stands before it on its line.
    pub(crate) alone: bool,
}

/// A path that the code names; a `use` group gives one for each of its leaves.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
    pub(crate) alias: Option<String>,
    pub(crate) inline_depth: usize,
    pub(crate) in_use: bool,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the project's folder, with slashes.
    pub(crate) path: String,
    pub(crate) lines: Vec<String>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<Comment>,
    /// First and last lines of inline test modules.
    test_regions: Vec<(usize, usize)>,
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let mut lexer = Lexer::new(text);
        lexer.run();
        let (mut tokens, comments) = (lexer.tokens, lexer.comments);
        let test_regions = mark_modules(&mut tokens);
        mark_uses(&mut tokens);
        Self { path: path.into(), lines: text.lines().map(Into::into).collect(), tokens, comments, test_regions }
    }

    pub(crate) fn finding(&self, line: usize, rule: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule: rule.into() }
    }

    /// True in files that hold nothing but tests.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.is_test_file() || self.test_regions.iter().any(|&(first, last)| (first..=last).contains(&line))
    }

    /// The module path of the file below the crate root: `src/pool/idle.rs` is `["pool", "idle"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        let inside = inside.strip_suffix("/mod").unwrap_or(inside);
        if inside == "lib" { Vec::new() } else { inside.split('/').collect() }
    }

    /// Every path that the code names, test code included.
    pub(crate) fn paths(&self) -> Vec<Named> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            at = if self.begins_path(at) { self.flatten(at, &[], &mut found) } else { at + 1 };
        }
        found
    }

    fn is_mark(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Mark && token.text == text)
    }

    fn begins_path(&self, at: usize) -> bool {
        if self.tokens[at].kind != Kind::Word {
            return false;
        }
        let follows_colons = at > 0 && self.is_mark(at - 1, "::");
        let continues = at > 1 && (self.tokens[at - 2].kind == Kind::Word || self.is_mark(at - 2, ">"));
        !(follows_colons && continues)
    }

    /// Reads the path (or the tree of a `use`) that begins here; gives the index after it.
    fn flatten(&self, mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
        let mut segments = before.to_vec();
        let start = at;
        while self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word) {
            segments.push(self.tokens[at].text.clone());
            at += 1;
            if !self.is_mark(at, "::") {
                break;
            }
            at += 1;
        }
        if self.is_mark(at, "{") && self.is_mark(at.wrapping_sub(1), "::") {
            return self.flatten_group(at + 1, &segments, found);
        }
        if self.is_mark(at, "*") && self.tokens[at].in_use {
            segments.push("*".into());
            at += 1;
        }
        let first = &self.tokens[start];
        let mut alias = None;
        if first.in_use && self.tokens.get(at).is_some_and(|token| token.text == "as") {
            alias = self.tokens.get(at + 1).map(|token| token.text.clone());
            at += 2;
        }
        let Token { line, inline_depth, in_use, .. } = *first;
        found.push(Named { line, segments, alias, inline_depth, in_use });
        at.max(start + 1)
    }

    fn flatten_group(&self, mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
        while at < self.tokens.len() && !self.is_mark(at, "}") {
            at = if self.is_mark(at, ",") { at + 1 } else { self.flatten(at, before, found) };
        }
        at + 1
    }
}

/// Splits a text into tokens and comments.
struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
    comments: Vec<Comment>,
}

impl Lexer {
    fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new(), comments: Vec::new() }
    }

    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn step(&mut self) -> char {
        let char = self.peek(0);
        self.at += 1;
        self.line += usize::from(char == '\n');
        char
    }

    fn is_over(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn token(&mut self, line: usize, kind: Kind, text: String) {
        self.tokens.push(Token { line, kind, text, inline_depth: 0, in_use: false });
    }

    fn run(&mut self) {
        while !self.is_over() {
            let line = self.line;
            match (self.peek(0), self.peek(1)) {
                ('/', '/') => self.line_comment(),
                ('/', '*') => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                (':', ':') => {
                    self.at += 2;
                    self.token(line, Kind::Mark, "::".into());
                }
                (char, _) if char.is_alphanumeric() || char == '_' => self.word(),
                (char, _) => {
                    self.step();
                    if !char.is_whitespace() {
                        self.token(line, Kind::Mark, char.into());
                    }
                }
            }
        }
    }

    fn is_alone(&self) -> bool {
        self.tokens.last().is_none_or(|token| token.line != self.line)
    }

    fn line_comment(&mut self) {
        let (line, alone) = (self.line, self.is_alone());
        let mut text = String::new();
        while !self.is_over() && self.peek(0) != '\n' {
            text.push(self.step());
        }
        let is_doc = text.starts_with("//!") || (text.starts_with("///") && !text.starts_with("////"));
        if !is_doc {
            self.comments.push(Comment { line, text: text.trim_start_matches('/').trim().into(), alone });
        }
    }

    fn block_comment(&mut self) {
        let (mut line, mut alone) = (self.line, self.is_alone());
        let is_doc = matches!(self.peek(2), '!' | '*') && self.peek(3) != '/';
        let (mut depth, mut text) = (0, String::new());
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                (char, _) => {
                    text.push(char);
                    self.step();
                    if (char == '\n' || self.is_over()) && !is_doc {
                        self.comments.push(Comment { line, text: text.trim().into(), alone });
                        (line, alone) = (self.line, true);
                        text.clear();
                    }
                    if self.is_over() {
                        return;
                    }
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                break;
            }
        }
        if !is_doc {
            self.comments.push(Comment { line, text: text.trim().into(), alone });
        }
    }

    fn string(&mut self) {
        let line = self.line;
        self.step();
        while !self.is_over() {
            match self.step() {
                '\\' => _ = self.step(),
                '"' => break,
                _ => {}
            }
        }
        self.token(line, Kind::Opaque, String::new());
    }

    /// The rest of `r#"…"#`, from its first `#` or quote.
    fn raw_string(&mut self) {
        let line = self.line;
        let mut hashes = 0;
        while self.peek(0) == '#' {
            hashes += 1;
            self.step();
        }
        self.step();
        while !self.is_over() {
            if self.step() == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#') {
                self.at += hashes;
                break;
            }
        }
        self.token(line, Kind::Opaque, String::new());
    }

    /// A character or a lifetime.
    fn quote(&mut self) {
        let line = self.line;
        self.step();
        if self.peek(0) == '\\' {
            self.step();
            self.step();
            while !self.is_over() && self.step() != '\'' {}
        } else if self.peek(1) == '\'' {
            self.step();
            self.step();
        } else {
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.step();
            }
        }
        self.token(line, Kind::Opaque, String::new());
    }

    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            text.push(self.step());
        }
        let opens_raw = match self.peek(0) {
            '"' => true,
            '#' => matches!(self.peek(1), '"' | '#'),
            _ => false,
        };
        match text.as_str() {
            "r" | "br" | "cr" if opens_raw => self.raw_string(),
            "r" if self.peek(0) == '#' => _ = self.step(),
            "b" | "c" if self.peek(0) == '"' => self.string(),
            "b" if self.peek(0) == '\'' => self.quote(),
            _ => self.token(line, Kind::Word, text),
        }
    }
}

/// Fills in the inline depth of every token; gives the regions of test modules.
fn mark_modules(tokens: &mut [Token]) -> Vec<(usize, usize)> {
    /// A brace that is open: of a module or not, of a test module with its first line or not.
    struct Open {
        is_module: bool,
        test_from: Option<usize>,
    }
    let (mut open, mut regions) = (Vec::<Open>::new(), Vec::new());
    for at in 0..tokens.len() {
        tokens[at].inline_depth = open.iter().filter(|brace| brace.is_module).count();
        match (tokens[at].kind, tokens[at].text.as_str()) {
            (Kind::Mark, "{") => {
                let is_module = at >= 2 && tokens[at - 2].text == "mod" && tokens[at - 1].kind == Kind::Word;
                let is_test = is_module && (tokens[at - 1].text == "tests" || stands_under_cfg_test(tokens, at - 2));
                open.push(Open { is_module, test_from: is_test.then_some(tokens[at].line) });
            }
            (Kind::Mark, "}") => {
                if let Some(Open { test_from: Some(first), .. }) = open.pop() {
                    regions.push((first, tokens[at].line));
                }
            }
            _ => {}
        }
    }
    regions
}

/// True when an attribute before the item whose keyword is at `at` is a `cfg` that asks for `test`.
fn stands_under_cfg_test(tokens: &[Token], at: usize) -> bool {
    let mut end = at;
    while end > 0 && matches!(tokens[end - 1].text.as_str(), "pub" | "(" | ")" | "crate" | "super") {
        end -= 1;
    }
    while end > 0 && tokens[end - 1].text == "]" {
        let Some(start) = tokens[..end].iter().rposition(|token| token.text == "#") else { return false };
        let attribute = &tokens[start..end];
        let asks =
            attribute.iter().enumerate().any(|(i, token)| token.text == "test" && attribute[i - 2].text != "not");
        if attribute.get(2).is_some_and(|token| token.text == "cfg") && asks {
            return true;
        }
        end = start;
    }
    false
}

/// Marks the tokens of `use` statements.
fn mark_uses(tokens: &mut [Token]) {
    let mut inside = false;
    for at in 0..tokens.len() {
        let after_item = at == 0 || matches!(tokens[at - 1].text.as_str(), ";" | "}" | "{" | "]" | ")" | "pub");
        let token = &mut tokens[at];
        if token.kind == Kind::Word && token.text == "use" && after_item {
            inside = true;
        } else if token.kind == Kind::Mark && token.text == ";" {
            inside = false;
        } else {
            token.in_use = inside;
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under these folders of the project.
pub(crate) fn read_rust(folders: &[&str]) -> Vec<Source> {
    let texts = read_texts(folders).into_iter();
    texts.filter(|text| text.path.ends_with(".rs")).map(|text| Source::parse(&text.path, &text.text)).collect()
}

/// Every text file at or under these places of the project that exist; build folders are left out.
pub(crate) fn read_texts(places: &[&str]) -> Vec<Text> {
    let mut texts = Vec::new();
    for place in places {
        collect(&root().join(place), place, &mut texts);
    }
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
}

fn collect(place: &Path, path: &str, texts: &mut Vec<Text>) {
    if place.is_dir() {
        for entry in fs::read_dir(place).expect("a folder of the project can be read") {
            let entry = entry.expect("an entry of a folder can be read");
            let name = entry.file_name().into_string().expect("file names are Unicode");
            if name != "target" {
                collect(&entry.path(), &format!("{path}/{name}"), texts);
            }
        }
    } else if let Ok(text) = fs::read_to_string(place) {
        texts.push(Text { path: path.into(), text });
    }
}
