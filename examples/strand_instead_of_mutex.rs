//! State with one owner: an account that many threads use, and no lock.
//!
//! ```text
//! cargo run --release --example strand_instead_of_mutex
//! ```
//!
//! Prints:
//!
//! ```text
//! 8 threads made 80000 deposits; the balance is 80000
//! ```

use std::sync::Arc;

use crossbeam_utils::atomic::AtomicCell;
use overstrand::{Rejected, SequencedTaskRunner, TaskHandle, TaskTraits, ThreadPool};

/// What the strand owns.
#[derive(Default)]
struct Books {
    balance: u64,
    deposits: u64,
}

/// A handle to the account: whoever has one may post to it.
#[derive(Clone)]
struct Account {
    strand: SequencedTaskRunner,
    /// The books rest here between two tasks of the strand. One word, without a lock, and never contended: tasks of a strand follow one another.
    books: Arc<AtomicCell<Option<Box<Books>>>>,
}

impl Account {
    fn open(pool: &ThreadPool) -> Self {
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        Self { strand, books: Arc::new(AtomicCell::new(Some(Box::default()))) }
    }

    /// Runs a closure on the strand with the books in hand.
    fn ask<T: Send + 'static>(&self, f: impl FnOnce(&mut Books) -> T + Send + 'static) -> TaskHandle<T> {
        let books = Arc::clone(&self.books);
        self.strand.spawn(move || with(&books, f))
    }

    /// As `ask`, when there is nothing to answer.
    fn tell(&self, f: impl FnOnce(&mut Books) + Send + 'static) -> Result<(), Rejected<()>> {
        let books = Arc::clone(&self.books);
        self.strand.post_task(move || with(&books, f)).map_err(|rejected| rejected.map(drop))
    }
}

fn with<T>(books: &AtomicCell<Option<Box<Books>>>, f: impl FnOnce(&mut Books) -> T) -> T {
    let mut mine = books.take().unwrap_or_default();
    let value = f(&mut mine);
    books.store(Some(mine));
    value
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let account = Account::open(&pool);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            let account = account.clone();
            threads.spawn(move || {
                for _ in 0..10_000 {
                    let deposited = account.tell(|books| {
                        books.balance += 1;
                        books.deposits += 1;
                    });
                    deposited.expect("the pool is up");
                }
            });
        }
    });
    let (balance, deposits) = account.ask(|books| (books.balance, books.deposits)).join()?;
    println!("8 threads made {deposits} deposits; the balance is {balance}");
    Ok(())
}
