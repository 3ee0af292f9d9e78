//! The store in a file: what a record is, and what is left of a store after crashes and faults at every step.
#![forbid(unsafe_code)]

mod disk;
mod files;
mod record;
mod redb;
