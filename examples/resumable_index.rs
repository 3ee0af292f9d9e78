//! An index of a directory tree, as a background job: it makes room for queries of the user, and a process that is killed goes on in the next one where the last save was.
//!
//! ```text
//! cargo run --release --features store-redb --example resumable_index -- PATH     # without PATH, the sources of this crate
//! ```
//!
//! It starts itself: the first process is killed in the middle, without a warning, the second one ends the work. Prints something like this:
//!
//! ```text
//! first process: begins with file 0 of 213
//!   7 queries answered, 8 saves; killed
//! second process: goes on with file 40 of 213
//!   34 queries answered, 34 saves, 173 files read
//!   213 files, 40759 lines, 172188 words
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use overstrand::{
    BoxError, CancelToken, Job, JobContext, JobExecutor, Priority, RedbStore, SavedState, StateStore, Step, StoreError,
    ThreadPool,
};

type AnyResult<T = ()> = Result<T, BoxError>;

const CHILD: &str = "OVERSTRAND_EXAMPLE_STORE";
/// However large the tree is.
const FILES_MAX: usize = 2_000;
/// The user asks something after so many files.
const FILES_PER_QUERY: u64 = 5;
/// The first process is killed after so many saves.
const SAVES: usize = 8;

/// How far the index is, and what it has found.
#[derive(Clone, Copy, Default)]
struct Index {
    file: u64,
    lines: u64,
    words: u64,
}

impl SavedState for Index {
    fn save(&self) -> Result<Vec<u8>, BoxError> {
        Ok([self.file, self.lines, self.words].into_iter().flat_map(u64::to_le_bytes).collect())
    }

    fn restore(bytes: &[u8]) -> Result<Self, BoxError> {
        let number = |at: usize| Ok(u64::from_le_bytes(bytes.get(at..at + 8).ok_or("too short")?.try_into()?));
        let numbers: Result<Vec<u64>, BoxError> = [0, 8, 16].into_iter().map(number).collect();
        let &[file, lines, words] = numbers?.as_slice() else { return Err("too short".into()) };
        Ok(Self { file, lines, words })
    }
}

/// The files below a directory, always in the same order.
fn files_below(root: &Path) -> AnyResult<Vec<PathBuf>> {
    let (mut directories, mut files) = (vec![root.to_owned()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files.truncate(FILES_MAX);
    Ok(files)
}

/// One line for the process that watches.
fn say(line: &str) {
    println!("{line}");
    // Nobody may be there to read it.
    drop(std::io::stdout().flush());
}

/// A store that says when something was saved.
struct Told(RedbStore);

impl StateStore for Told {
    fn save(&self, key: &str, state: &[u8]) -> Result<(), StoreError> {
        self.0.save(key, state)?;
        say("saved");
        Ok(())
    }

    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(key)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key)
    }
}

/// The process that does the work.
fn index(root: &Path, store: &Path) -> AnyResult {
    let store: Arc<dyn StateStore> = Arc::new(Told(RedbStore::open(store)?));
    let files = files_below(root)?;
    let all = files.len() as u64;
    let pool = ThreadPool::builder().workers(1).build()?;
    let jobs = JobExecutor::builder(&pool).ui_workers(1).build()?;
    let (user, never) = (jobs.clone(), CancelToken::new());
    let (mut start, token) = (None, never.clone());
    let step = move |index: &mut Index, cx: &mut JobContext| {
        if start.is_none() {
            say(&format!("begin {} {all}", index.file));
        }
        let first = *start.get_or_insert(index.file);
        let Some(file) = files.get(index.file as usize) else { return Ok(Step::Done((first, *index))) };
        let text = String::from_utf8_lossy(&std::fs::read(file)?).into_owned();
        index.file += 1;
        index.lines += text.lines().count() as u64;
        index.words += text.split_whitespace().count() as u64;
        if index.file % FILES_PER_QUERY == 0 {
            // The user asks how far it is. There is one worker, so this job is asked to make room.
            let (file, query) = (index.file, "query");
            let query = Job::stateful(query, (), move |(), _| {
                say(&format!("answer {file}"));
                Ok(Step::Done(()))
            });
            drop(user.submit(query.priority(Priority::UserBlocking), &token));
        }
        Ok(if cx.should_yield() { Step::Yield } else { Step::Again })
    };
    let job = Job::stateful("index", Index::default(), step).priority(Priority::BestEffort).saved_in(store, "index");
    let (first, done) = jobs.execute(job, &never)?;
    say(&format!("read {}", done.file - first));
    say(&format!("done {} files, {} lines, {} words", done.file, done.lines, done.words));
    jobs.shutdown()?;
    Ok(())
}

/// Starts the work in a process, watches it, and kills it after so many saves.
fn watch(which: &str, root: &Path, store: &Path, saves_max: usize) -> AnyResult<bool> {
    let mut child =
        Command::new(std::env::current_exe()?).arg(root).env(CHILD, store).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("it is piped")?;
    let (mut saves, mut answers, mut is_done) = (0, 0, false);
    for line in BufReader::new(out).lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("begin", from) => {
                let (file, all) = from.split_once(' ').ok_or("two numbers")?;
                let how = if file == "0" { "begins" } else { "goes on" };
                println!("{which} process: {how} with file {file} of {all}");
            }
            ("answer", _) => answers += 1,
            ("saved", _) => saves += 1,
            ("read", files) => println!("  {answers} queries answered, {saves} saves, {files} files read"),
            ("done", what) => {
                println!("  {what}");
                is_done = true;
            }
            _ => {}
        }
        if saves == saves_max {
            child.kill()?;
            println!("  {answers} queries answered, {saves} saves; killed");
            break;
        }
    }
    let status = child.wait()?;
    if saves < saves_max && !status.success() {
        return Err(format!("the {which} process ended with {status}").into());
    }
    Ok(is_done)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let root =
        std::env::args_os().nth(1).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), PathBuf::from);
    if let Some(store) = std::env::var_os(CHILD) {
        return index(&root, Path::new(&store));
    }
    let directory = std::env::temp_dir().join(format!("overstrand-index-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let store = directory.join("jobs.redb");
    let is_done = watch("first", &root, &store, SAVES)? || watch("second", &root, &store, usize::MAX)?;
    std::fs::remove_dir_all(&directory)?;
    if is_done { Ok(()) } else { Err("nobody ended the work".into()) }
}
