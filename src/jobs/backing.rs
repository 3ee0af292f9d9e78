//! What a database is written to: a file, or in tests a disk that fails.
//!
//! The database gives up after an error of the system, and is opened anew; the file stays open and locked meanwhile. A database that was given up finds its *gate* shut: nothing of it is written any more, and it reads no page that the next one has written over.
//!
//! The bad case: a sync fails, and the system takes the pages for clean all the same. The next sync would succeed without having written them. So what was written since the last good sync is kept, and is written
//! again before the next one.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::store::{StoreError, StoreErrorKind};
use crate::sync::Mutex;

#[derive(Debug)]
pub(super) struct Backing {
    disk: Box<dyn StorageBackend>,
    file_max: u64,
    unsynced: Mutex<Unsynced>,
}

#[derive(Debug, Default)]
struct Unsynced {
    writes: Vec<(u64, Vec<u8>)>,
    /// A sync has failed since the last good one.
    is_suspect: bool,
    /// The number of the database that may read and write.
    gate: u64,
}

impl Backing {
    pub(super) fn new(disk: Box<dyn StorageBackend>, file_max: u64) -> Arc<Self> {
        Arc::new(Self { disk, file_max, unsynced: Mutex::default() })
    }

    /// For a new database; shuts out the one before.
    pub(super) fn gate(self: &Arc<Self>) -> Gate {
        let mut unsynced = self.unsynced.lock();
        unsynced.gate += 1;
        Gate { backing: Arc::clone(self), number: unsynced.gate }
    }

    fn sync(&self, unsynced: &mut Unsynced) -> io::Result<()> {
        if unsynced.is_suspect {
            for (offset, bytes) in &unsynced.writes {
                self.disk.write(*offset, bytes)?;
            }
        }
        unsynced.is_suspect = true;
        self.disk.sync_data(false)?;
        unsynced.is_suspect = false;
        unsynced.writes.clear();
        Ok(())
    }
}

/// The way of one database to the disk.
#[derive(Debug)]
pub(super) struct Gate {
    backing: Arc<Backing>,
    number: u64,
}

impl Gate {
    /// Does it, if the gate is open.
    fn pass<T>(&self, f: impl FnOnce(&Backing, &mut Unsynced) -> io::Result<T>) -> io::Result<T> {
        let mut unsynced = self.backing.unsynced.lock();
        if unsynced.gate != self.number {
            return Err(io::Error::other("the database was given up after an error"));
        }
        f(&self.backing, &mut unsynced)
    }
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        self.backing.disk.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.pass(|backing, _| backing.disk.read(offset, len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.backing.file_max {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the file would be larger than it may be"));
        }
        self.pass(|backing, unsynced| {
            backing.disk.set_len(len)?;
            unsynced.writes.retain(|(offset, bytes)| offset + bytes.len() as u64 <= len);
            Ok(())
        })
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.pass(Backing::sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pass(|backing, unsynced| {
            backing.disk.write(offset, data)?;
            unsynced.writes.push((offset, data.to_vec()));
            Ok(())
        })
    }
}

/// What is at that path.
pub(super) enum Found {
    /// A file, open and locked.
    Old(FileBackend),
    /// An empty one beside it, open and locked. When a store has been made in it, it is to be [put in place](put_in_place).
    New(FileBackend),
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn open_file(path: &Path, is_new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(is_new);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens and locks what is there.
///
/// A new file is made beside its place and moved there when it is complete, under its lock. So what is in its place has always been a whole store, wherever a crash came.
pub(super) fn find(path: &Path) -> Result<Found, StoreError> {
    loop {
        match open_file(path, false) {
            Ok(file) => {
                let file = locked(file)?;
                return match file.len() {
                    Ok(0) => Err(StoreError::of(StoreErrorKind::Truncated)),
                    _ => Ok(Found::Old(file)),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::new(error)),
        }
        let new = locked(open_file(&beside(path), true).map_err(StoreError::new)?)?;
        // Under the lock it is known whose file that is: one that has been moved to its place meanwhile is left alone.
        if !path.try_exists().map_err(StoreError::new)? {
            new.set_len(0).map_err(StoreError::new)?;
            return Ok(Found::New(new));
        }
    }
}

fn locked(file: File) -> Result<FileBackend, StoreError> {
    FileBackend::new(file).map_err(|error| StoreError::of_database(error.into()))
}

pub(super) fn put_in_place(path: &Path) -> io::Result<()> {
    std::fs::rename(beside(path), path)?;
    // The name is durable when its directory is.
    #[cfg(unix)]
    {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
