//! A process that is killed while its job saves, again and again: the next one goes on from the last acknowledged save, or from a newer complete one (I48, F63).
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use overstrand::{
    BoxError, CancelToken, Job, JobExecutor, RedbStore, SavedState, StateStore, Step, StoreError, StoreErrorKind,
    ThreadPool,
};

const ROLE: &str = "OVERSTRAND_TEST_SAVES";
const RUNS: u32 = 200;
/// Kills between the call of a save and its acknowledgement.
const BETWEEN_MIN: u32 = 50;
const FILLER: usize = 30_000;

/// A row, and so many bytes of it that a save that is half done would be seen.
struct Row(u64);

impl SavedState for Row {
    fn save(&self) -> Result<Vec<u8>, BoxError> {
        Ok([self.0.to_le_bytes().to_vec(), vec![self.0 as u8; FILLER]].concat())
    }

    fn restore(bytes: &[u8]) -> Result<Self, BoxError> {
        let (row, filler) = bytes.split_at_checked(8).ok_or("too short")?;
        let row = u64::from_le_bytes(row.try_into()?);
        if filler != vec![row as u8; FILLER] {
            return Err("a mixture".into());
        }
        Ok(Self(row))
    }
}

/// One whole line, at once.
fn say(word: &str, row: u64) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{word} {row}\n").as_bytes()).and_then(|()| out.flush()).expect("somebody reads");
}

/// Says what is about to be saved, and what was.
struct Told(RedbStore);

impl StateStore for Told {
    fn save(&self, key: &str, state: &[u8]) -> Result<(), StoreError> {
        let Row(row) = Row::restore(state).map_err(StoreError::new)?;
        say("calling", row);
        self.0.save(key, state)?;
        say("acknowledged", row);
        Ok(())
    }

    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.load(key)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key)
    }
}

/// The process that is killed: its job saves after each step, for ever.
fn save_until_killed(path: &Path) {
    say("opening", 0);
    let store: Arc<dyn StateStore> = Arc::new(Told(RedbStore::open(path).expect("the store opens")));
    let pool = ThreadPool::builder().workers(1).build().expect("threads can be started");
    let jobs = JobExecutor::builder(&pool).ui_workers(1).build().expect("valid");
    let mut has_begun = false;
    let step = move |row: &mut Row, _: &mut _| {
        if !std::mem::replace(&mut has_begun, true) {
            say("from", row.0);
        }
        row.0 += 1;
        Ok(Step::<()>::Yield)
    };
    let job = Job::stateful("rows", Row(0), step).saved_in(store, "rows");
    let ended = jobs.execute(job, &CancelToken::new());
    panic!("it has no end: {ended:?}");
}

/// What a process has said.
#[derive(Debug, Default)]
struct Said {
    from: Option<u64>,
    called: u64,
    acknowledged: u64,
    /// Saves that it called.
    calls: u32,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((word, row)) = line.split_once(' ') else { return };
        let Ok(row) = row.parse() else { return };
        match word {
            "from" => self.from = Some(row),
            "calling" => (self.called, self.calls) = (row, self.calls + 1),
            "acknowledged" => self.acknowledged = row,
            _ => {}
        }
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().expect("it has a name"))
        .args(["--exact", "killed_job_goes_on_from_its_last_acknowledged_save", "--nocapture"])
        .env(ROLE, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started")
}

/// One life of the process: killed when it opens the store, when it calls a save, or when one is acknowledged.
fn kill_at(run: u32, path: &Path) -> Said {
    let mut child = start(path);
    let mut said = Said::default();
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    for line in lines.by_ref() {
        said.hear(&line);
        let is_time = match run % 8 {
            0 => line.starts_with("opening"),
            1 | 2 => line.starts_with("acknowledged") && said.calls > run % 5,
            _ => line.starts_with("calling") && said.calls > run % 5,
        };
        if is_time {
            break;
        }
    }
    if run == 1 {
        let second = RedbStore::open(path).expect_err("the other process has it");
        assert_eq!(second.kind(), StoreErrorKind::Locked);
    }
    child.kill().expect("it is a child");
    lines.for_each(|line| said.hear(&line));
    let status = child.wait().expect("it ends");
    assert!(status.code().is_none(), "run {run} ended by itself: {status}");
    said
}

#[test]
fn killed_job_goes_on_from_its_last_acknowledged_save() {
    if let Some(path) = std::env::var_os(ROLE) {
        return save_until_killed(Path::new(&path));
    }
    let directory = std::env::temp_dir().join(format!("overstrand-kill-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("there is room");
    let path = directory.join("jobs.redb");
    // What the store may have: at least what was acknowledged, at most what was called.
    let (mut least, mut most) = (0, 0);
    let (mut between, mut saves) = (0, 0);
    for run in 0..RUNS {
        let said = kill_at(run, &path);
        if let Some(from) = said.from {
            assert!((least..=most).contains(&from), "run {run} goes on from {from}, of {least} to {most}");
            (least, most) = (from, from);
        }
        least = least.max(said.acknowledged);
        most = most.max(said.called);
        between += u32::from(said.called > said.acknowledged);
        saves += said.calls;
    }
    let left = RedbStore::open(&path).and_then(|store| store.load("rows")).expect("it loads").expect("it is there");
    let Row(row) = Row::restore(&left).expect("it is whole");
    assert!((least..=most).contains(&row));
    println!("{RUNS} kills, {between} of them between call and acknowledgement, {saves} saves, row {row}");
    assert!(between >= BETWEEN_MIN, "only {between} of {RUNS} kills came between call and acknowledgement");
    std::fs::remove_dir_all(&directory).expect("it is ours");
}
