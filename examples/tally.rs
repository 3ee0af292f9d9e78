//! Counts files, lines, words and bytes per language in a directory tree: the main job, on real input.
//!
//! ```text
//! cargo run --release --example tally -- PATH          (without PATH: the sources of this crate)
//! ```
//!
//! Prints a table and, below it, the figures of all files as one stream. They equal those of
//!
//! ```text
//! find PATH -type f -print0 | LC_ALL=C xargs -0 cat | LC_ALL=C wc
//! ```
//!
//! Files are read in parallel by may-block tasks. One strand owns the totals, so there is no lock; a delayed task on that strand, which posts itself
//! again, draws the progress. Ctrl-C ends it in order: nothing new is read, what was counted is printed, and the exit code is 130.
//! Unreadable, binary, huge and non-UTF-8 files are reported, never fatal.
//!
//! A word is what `wc` of the GNU coreutils (to 9.4) takes for one in the C locale: it begins with a printable ASCII character and ends at white space.
//! `cat` joins the last word of a file that does not end in white space to the first word of the next; so the stream may have fewer words than the table.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::atomic::AtomicCell;
use indicatif::{ProgressBar, ProgressStyle};
use overstrand::{CancelToken, SequencedTaskRunner, TaskHandle, TaskTraits, ThreadPool};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

type AnyResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Files are read in pieces of this size, and the token is looked at between two of them.
const CHUNK_BYTES: usize = 128 * 1024;

/// Files per task, and tasks that may wait or run at once: the walk waits for the oldest beyond that.
const BATCH_FILES: usize = 32;
const BATCHES_MAX: usize = 32;

/// Files from this size on are reported as huge.
const HUGE_BYTES: u64 = 64 << 20;

/// Reports of each kind that are printed.
const REPORTS_MAX: usize = 5;

/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;

#[expect(clippy::disallowed_methods, reason = "a program may ask for the time")]
fn main() -> AnyResult<ExitCode> {
    let root = std::env::args_os().nth(1).map_or_else(default_root, PathBuf::from);
    let started = Instant::now();
    let pool = ThreadPool::builder().name("tally").build()?;
    let cancelled = CancelToken::new();
    let mut signals = Signals::new([SIGINT])?;
    let ending = signals.handle();
    let on_signal = cancelled.clone();
    let listener = std::thread::spawn(move || signals.forever().for_each(|_| on_signal.cancel()));

    let board = Board::new(&pool);
    board.draw_repeatedly(&cancelled.child())?;
    let walked = Walk::new(&pool, &board, &cancelled).run(&root);
    board.runner.flush()?;
    let was_cancelled = cancelled.is_cancelled();
    cancelled.cancel();
    let print = board.clone();
    board.runner.spawn(move || print.with(|totals| totals.print(started.elapsed()))).join()?;
    ending.close();
    let report = pool.shutdown_timeout(Duration::from_millis(400))?;
    drop(listener.join());
    if was_cancelled {
        println!("interrupted: {} tasks ran, {} were dropped", report.ran, report.dropped);
        return Ok(ExitCode::from(INTERRUPTED));
    }
    walked.map(|()| ExitCode::SUCCESS)
}

fn default_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

// ---- the strand and what it owns -------------------------------------------------------------------------------------

/// The totals and the strand that owns them. Only tasks of the strand call [`with`](Board::with), so the cell, which is one word and has no lock, is
/// never contended: the box is there whenever somebody asks for it.
#[derive(Clone)]
struct Board {
    runner: SequencedTaskRunner,
    totals: Arc<AtomicCell<Option<Box<Totals>>>>,
    progress: ProgressBar,
}

impl Board {
    fn new(pool: &ThreadPool) -> Self {
        let progress = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        progress.set_style(ProgressStyle::default_spinner());
        Self {
            runner: pool.create_sequenced_task_runner(TaskTraits::user_visible().block_shutdown()),
            totals: Arc::new(AtomicCell::new(Some(Box::default()))),
            progress,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Totals) -> T) -> T {
        debug_assert!(self.runner.is_current(), "the totals are used on their strand only");
        let mut totals = self.totals.take().unwrap_or_default();
        let value = f(&mut totals);
        self.totals.store(Some(totals));
        value
    }

    /// Draws now, and again in a while, until the token is cancelled.
    fn draw_repeatedly(&self, cancelled: &CancelToken) -> AnyResult {
        if cancelled.is_cancelled() {
            self.progress.finish_and_clear();
            return Ok(());
        }
        let is_drawn = !self.progress.is_hidden();
        let (board, token) = (self.clone(), cancelled.clone());
        let pause = Duration::from_millis(if is_drawn { 100 } else { 1000 });
        let tick = move || {
            let line = board.with(|totals| totals.line());
            if is_drawn {
                board.progress.set_message(line);
                board.progress.tick();
            } else {
                eprintln!("{line}");
            }
            if let Err(error) = board.draw_repeatedly(&token) {
                eprintln!("no more progress is shown: {error}");
            }
        };
        // A handle that is dropped detaches.
        let _detached = self.runner.post_delayed_task(pause, tick)?;
        Ok(())
    }
}

/// What was counted in one file, and how it fits to its neighbours in the stream.
#[derive(Clone, Copy, Default)]
struct Counts {
    lines: u64,
    words: u64,
    bytes: u64,
    /// The first character that begins a word or is white space begins a word.
    begins_in_word: bool,
    ends_in_word: bool,
    /// There is such a character at all.
    has_edge: bool,
}

#[derive(Default)]
struct Language {
    files: u64,
    counts: Counts,
}

/// Owned by the strand.
#[derive(Default)]
struct Totals {
    languages: BTreeMap<&'static str, Language>,
    reports: BTreeMap<&'static str, (usize, Vec<PathBuf>)>,
    /// Files whose turn in the stream has not come, because an earlier one is still being read.
    early: BTreeMap<u64, Counts>,
    next: u64,
    files: u64,
    stream: Counts,
}

impl Totals {
    fn add(&mut self, number: u64, path: &Path, counts: Counts, reports: &[&'static str]) {
        for report in reports {
            let (count, examples) = self.reports.entry(report).or_default();
            *count += 1;
            if examples.len() < REPORTS_MAX {
                examples.push(path.to_owned());
            }
        }
        let language = self.languages.entry(language_of(path)).or_default();
        language.files += 1;
        self.files += 1;
        language.counts.lines += counts.lines;
        language.counts.words += counts.words;
        language.counts.bytes += counts.bytes;
        self.early.insert(number, counts);
        while let Some(counts) = self.early.remove(&self.next) {
            self.stream.append(counts);
            self.next += 1;
        }
    }

    fn line(&self) -> String {
        format!("{} files, {} MB", self.files, self.stream.bytes >> 20)
    }

    fn print(&self, elapsed: Duration) {
        println!("{:<16} {:>9} {:>12} {:>12} {:>15}", "language", "files", "lines", "words", "bytes");
        let mut words = 0;
        for (name, Language { files, counts }) in &self.languages {
            println!("{name:<16} {files:>9} {:>12} {:>12} {:>15}", counts.lines, counts.words, counts.bytes);
            words += counts.words;
        }
        let mut stream = self.stream;
        self.early.values().for_each(|counts| stream.append(*counts));
        println!("{:<16} {:>9} {:>12} {words:>12} {:>15}", "total", self.files, stream.lines, stream.bytes);
        println!("as one stream: {} lines, {} words, {} bytes", stream.lines, stream.words, stream.bytes);
        for (report, (count, examples)) in &self.reports {
            let names: Vec<_> = examples.iter().map(|path| path.display().to_string()).collect();
            let more = if *count > names.len() { ", …" } else { "" };
            println!("{count} {report}: {}{more}", names.join(", "));
        }
        println!("in {:.2} s", elapsed.as_secs_f64());
    }
}

impl Counts {
    /// What `cat` would make of both.
    fn append(&mut self, next: Self) {
        let is_joined = self.ends_in_word && next.has_edge && next.begins_in_word;
        self.lines += next.lines;
        self.words += next.words - u64::from(is_joined);
        self.bytes += next.bytes;
        if next.has_edge {
            self.ends_in_word = next.ends_in_word;
        }
    }

    fn count(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.lines += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        if !self.has_edge {
            let Some(edge) = chunk.iter().find(|byte| KINDS[**byte as usize] != OTHER) else { return };
            self.has_edge = true;
            self.begins_in_word = KINDS[*edge as usize] == PRINTED;
        }
        let mut in_word = self.ends_in_word;
        let mut words = 0;
        for byte in chunk {
            let kind = KINDS[*byte as usize];
            let begins = kind == PRINTED;
            words += u64::from(begins & !in_word);
            in_word = begins | (in_word & (kind == OTHER));
        }
        self.words += words;
        self.ends_in_word = in_word;
    }
}

const OTHER: u8 = 0;
const SPACE: u8 = 1;
const PRINTED: u8 = 2;

/// What each byte is to `wc` in the C locale.
const KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => SPACE,
            0x21..=0x7e => PRINTED,
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
};

// ---- walking and reading ---------------------------------------------------------------------------------------------

/// Walks the tree in the order of `find` and posts the files in batches.
struct Walk<'a> {
    pool: &'a ThreadPool,
    board: &'a Board,
    cancelled: &'a CancelToken,
    batch: Vec<(u64, PathBuf)>,
    files: u64,
    posted: VecDeque<TaskHandle<()>>,
}

impl<'a> Walk<'a> {
    fn new(pool: &'a ThreadPool, board: &'a Board, cancelled: &'a CancelToken) -> Self {
        Self { pool, board, cancelled, batch: Vec::new(), files: 0, posted: VecDeque::new() }
    }

    fn run(mut self, root: &Path) -> AnyResult {
        if fs::metadata(root)?.is_file() {
            self.add(root.to_owned())?;
        } else {
            self.descend(root)?;
        }
        self.post_batch()?;
        while let Some(oldest) = self.posted.pop_front() {
            oldest.join()?;
        }
        Ok(())
    }

    /// Depth first, a stack of open directories instead of recursion: trees may be deep.
    fn descend(&mut self, root: &Path) -> AnyResult {
        let mut open = vec![fs::read_dir(root)?];
        while let Some(entries) = open.last_mut() {
            if self.cancelled.is_cancelled() {
                return Ok(());
            }
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let Ok(entry) = entry else { continue };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => match fs::read_dir(entry.path()) {
                    Ok(entries) => open.push(entries),
                    Err(error) => eprintln!("{}: {error}", entry.path().display()),
                },
                Ok(kind) if kind.is_file() => self.add(entry.path())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> AnyResult {
        self.batch.push((self.files, path));
        self.files += 1;
        if self.batch.len() == BATCH_FILES { self.post_batch() } else { Ok(()) }
    }

    fn post_batch(&mut self) -> AnyResult {
        if self.posted.len() == BATCHES_MAX {
            if let Some(oldest) = self.posted.pop_front() {
                oldest.join()?;
            }
        }
        let batch = std::mem::take(&mut self.batch);
        let (board, cancelled) = (self.board.clone(), self.cancelled.clone());
        let read = move || read_batch(batch, &board, &cancelled);
        self.posted.push_back(self.pool.task().name("read").traits(TaskTraits::user_visible().may_block()).spawn(read));
        Ok(())
    }
}

/// Reads the files of a batch and posts what was counted to the strand.
fn read_batch(batch: Vec<(u64, PathBuf)>, board: &Board, cancelled: &CancelToken) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut counted = Vec::with_capacity(batch.len());
    for (number, path) in batch {
        let mut reports = Vec::new();
        match read_file(&path, &mut buffer, &mut reports, cancelled) {
            Some(counts) => counted.push((number, path, counts, reports)),
            None => break,
        }
    }
    let owner = board.clone();
    let add = move || {
        owner.with(|totals| {
            counted.iter().for_each(|(number, path, counts, reports)| totals.add(*number, path, *counts, reports));
        });
    };
    if let Err(rejected) = board.runner.post_task(add) {
        eprintln!("{rejected}");
    }
}

/// `None` when cancelled meanwhile: a file counts whole or not at all.
fn read_file(
    path: &Path,
    buffer: &mut [u8],
    reports: &mut Vec<&'static str>,
    cancelled: &CancelToken,
) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut text = Utf8::default();
    let mut is_binary = false;
    let Ok(mut file) = File::open(path) else {
        reports.push("unreadable");
        return Some(counts);
    };
    loop {
        if cancelled.is_cancelled() {
            return None;
        }
        match file.read(buffer) {
            Ok(0) => break,
            Ok(length) => {
                let chunk = &buffer[..length];
                counts.count(chunk);
                is_binary |= chunk.contains(&0);
                text.check(chunk);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                reports.push("unreadable");
                break;
            }
        }
    }
    if counts.bytes >= HUGE_BYTES {
        reports.push("huge");
    }
    if is_binary {
        reports.push("binary");
    } else if !text.is_valid() {
        reports.push("not UTF-8");
    }
    Some(counts)
}

/// Checks text that comes in pieces: a character may be cut by the end of one.
#[derive(Default)]
struct Utf8 {
    is_broken: bool,
    cut: Vec<u8>,
}

impl Utf8 {
    fn check(&mut self, mut chunk: &[u8]) {
        while !self.is_broken && !self.cut.is_empty() && !chunk.is_empty() {
            self.cut.push(chunk[0]);
            chunk = &chunk[1..];
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) => self.is_broken = error.error_len().is_some(),
            }
        }
        if self.is_broken || chunk.is_empty() {
            return;
        }
        if let Err(error) = std::str::from_utf8(chunk) {
            self.is_broken = error.error_len().is_some();
            self.cut = chunk[error.valid_up_to()..].to_vec();
        }
    }

    fn is_valid(&self) -> bool {
        !self.is_broken && self.cut.is_empty()
    }
}

fn language_of(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "rs" => "Rust",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hpp" | "hh" => "C++",
        "s" | "S" | "asm" => "Assembly",
        "go" => "Go",
        "py" => "Python",
        "js" | "mjs" | "ts" => "JavaScript",
        "java" => "Java",
        "sh" | "bash" => "Shell",
        "md" => "Markdown",
        "toml" => "TOML",
        "json" => "JSON",
        "yml" | "yaml" => "YAML",
        "html" | "css" => "HTML, CSS",
        "txt" => "Text",
        _ => "other",
    }
}
