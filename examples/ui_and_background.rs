//! The main thread shows what the background finds: a pump of one's own thread, and replies to it.
//!
//! ```text
//! cargo run --release --example ui_and_background
//! ```
//!
//! Prints:
//!
//! ```text
//! searching …
//! found 1229 primes below 10000
//! the main thread did all the printing
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use overstrand::{MainThreadTaskRunner, SequenceBound, TaskTraits, ThreadPool};

/// A widget: not `Send`, so it lives and dies on the main thread.
#[derive(Default)]
struct Label(Rc<RefCell<String>>);

impl Label {
    fn show(&self, text: &str) {
        text.clone_into(&mut self.0.borrow_mut());
        println!("{}", self.0.borrow());
    }
}

fn primes_below(limit: u32) -> usize {
    (2..limit).filter(|number| (2..).take_while(|d| d * d <= *number).all(|d| number % d != 0)).count()
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let main = MainThreadTaskRunner::new();
    let (ui, quit) = (main.runner(), main.quit_handle());
    let label = SequenceBound::with(&ui, Label::default);

    let here = std::thread::current().id();
    let background = pool.create_sequenced_task_runner(TaskTraits::best_effort());
    let shown = label.clone();
    ui.post_task(move || {
        let _ = shown.post(|label| label.show("searching …"));
        let found = move |count: usize| {
            assert_eq!(std::thread::current().id(), here, "the reply runs where the question was asked");
            let _ = shown.post(move |label| label.show(&format!("found {count} primes below 10000")));
            let _ = shown.post(move |label| {
                label.show("the main thread did all the printing");
                quit.quit();
            });
        };
        let _ = background.post_task_and_reply_with_result(|| primes_below(10_000), found);
    })?;
    main.run_until_quit();
    Ok(())
}
