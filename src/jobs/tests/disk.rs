//! A disk in memory: what is written is there for who reads, and survives a power cut only when it was synced since. It fails by plan.
//!
//! A sync that fails takes what was written for clean, as systems do: no later sync brings it to the disk.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use crate::sync::Mutex;

/// When operations that change something fail. They are numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Plan {
    #[default]
    Never,
    /// From this one on: the power is gone.
    CrashAt(u64),
    /// From this one on, so many.
    FailAt(u64, u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => image.resize(*len as usize, 0),
            Self::Write(offset, bytes) => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[start..end].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    made: u64,
    plan: Plan,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

/// A number from a seed, by splitmix64.
pub(super) fn throw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

impl Disk {
    pub(super) fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { now: image.clone(), durable: image, ..State::default() })))
    }

    pub(super) fn image(&self) -> Vec<u8> {
        self.0.lock().now.clone()
    }

    /// How many operations there were.
    pub(super) fn made(&self) -> u64 {
        self.0.lock().made
    }

    pub(super) fn plan(&self, plan: Plan) {
        self.0.lock().plan = plan;
    }

    /// What may be there after a power cut: what was synced, and any part of the rest, torn at a sector or not.
    pub(super) fn after_power_cut(&self, mut seed: u64) -> Self {
        let state = self.0.lock();
        let mut image = state.durable.clone();
        for change in &state.unsynced {
            match (throw(&mut seed) % 4, change) {
                (0, _) => {}
                (1, Change::Write(offset, bytes)) => {
                    let sectors = bytes.len().div_ceil(512) as u64;
                    let torn = (throw(&mut seed) % sectors) as usize * 512;
                    Change::Write(*offset, bytes[..torn].to_vec()).apply(&mut image);
                }
                (_, change) => change.apply(&mut image),
            }
        }
        Self::of(image)
    }

    fn make(&self, change: Option<Change>) -> io::Result<()> {
        let mut state = self.0.lock();
        state.made += 1;
        let made = state.made;
        match (state.plan, change) {
            (Plan::CrashAt(first), change) if made >= first => {
                // The one that it comes in may be half done; there is none after it.
                state.unsynced.extend(change.filter(|_| made == first));
                Err(io::Error::other("the power is gone"))
            }
            (Plan::FailAt(first, count), None) if (first..first.saturating_add(count)).contains(&made) => {
                state.unsynced.clear();
                Err(io::Error::other("the sync failed"))
            }
            (Plan::FailAt(first, count), Some(_)) if (first..first.saturating_add(count)).contains(&made) => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            (_, Some(change)) => {
                change.apply(&mut state.now);
                state.unsynced.push(change);
                Ok(())
            }
            (_, None) => {
                let changes = std::mem::take(&mut state.unsynced);
                changes.iter().for_each(|change| change.apply(&mut state.durable));
                Ok(())
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let state = self.0.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(len);
        state.now.get(start..end).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.make(Some(Change::SetLen(len)))
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.make(None)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.make(Some(Change::Write(offset, data.to_vec())))
    }
}
