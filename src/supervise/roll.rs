//! All tasks of a supervisor, by number.
//!
//! Every step of a task looks it up several times, so it is found by a hash, and what is held is a box, so that no task is moved when the roll grows. The hash is the number, spread over
//! the word: numbers are given by the supervisor itself, and the order is the same in every run.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::house::Entry;
use super::spec::TaskId;

/// The tasks, in no order that means anything.
pub(super) type Roll = HashMap<TaskId, Box<Entry>, ByNumber>;

/// Of what is looked up by the number of a task.
pub(crate) type ByNumber = BuildHasherDefault<Spread>;

/// One number, times 2^64 by the golden ratio: near numbers lie far apart, in the low bits as in the high ones.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
