//! State with one owner: a counter of words that lives on its strand; everybody may ask it, and no lock exists.
//!
//! ```text
//! cargo run --release --example single_owner_state
//! ```
//!
//! Prints:
//!
//! ```text
//! the: 3
//! 7 different words
//! the report came back: 9 words in all
//! ```

use std::collections::HashMap;
use std::sync::mpsc;

use overstrand::{SequenceBound, TaskTraits, ThreadPool};

#[derive(Default)]
struct Words(HashMap<String, u64>);

impl Words {
    fn add(&mut self, word: &str) {
        *self.0.entry(word.to_owned()).or_default() += 1;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());

    // Built on its strand, called there, dropped there.
    let words = SequenceBound::with(&strand, Words::default);
    for line in ["the quick brown fox", "the lazy dog", "the end"] {
        let words = words.clone();
        pool.post_task(move || {
            for word in line.split(' ') {
                words.post(move |words| words.add(word)).expect("the strand is open");
            }
        })?;
    }
    pool.flush()?;
    println!("the: {}", words.call(|words| words.0["the"]).join()?);
    println!("{} different words", words.call(|words| words.0.len()).join()?);

    // Work on the pool, and go on where the question came from.
    let (tell, told) = mpsc::channel();
    let (pool, home) = (pool.clone(), strand.clone());
    words.post(move |words| {
        let counts: Vec<u64> = words.0.values().copied().collect();
        let sum = move || counts.iter().sum::<u64>();
        let posted = pool.post_task_and_reply_with_result(sum, move |total| {
            assert!(home.is_current(), "the reply runs where the question was asked");
            let _ = tell.send(total);
        });
        posted.expect("the pool is open");
    })?;
    println!("the report came back: {} words in all", told.recv()?);
    Ok(())
}
