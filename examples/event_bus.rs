//! Parts of a program that hear of each other without knowing each other.
//!
//! ```text
//! cargo run --release --example event_bus
//! ```
//!
//! Prints:
//!
//! ```text
//! stock: 2 of "tea" reserved
//! mail: order 1 confirmed
//! stock: 1 of "ink" reserved
//! mail: order 2 confirmed
//! ledger: 2 orders
//! ```

use std::time::Duration;

use overstrand::{EventBus, SequenceBound, TaskTraits, ThreadPool};

struct OrderPlaced {
    number: u32,
    what: &'static str,
    count: u32,
}

struct Reserved {
    number: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let (bus, ledger) = (EventBus::new(&strand), SequenceBound::new(&strand, 0_u32));

    let again = bus.clone();
    let stock = bus.subscribe(move |order: &OrderPlaced| {
        println!("stock: {} of {:?} reserved", order.count, order.what);
        let _ = again.publish(Reserved { number: order.number });
    });
    let mail = bus.subscribe(|reserved: &Reserved| println!("mail: order {} confirmed", reserved.number));
    let booked = ledger.clone();
    bus.subscribe(move |_: &OrderPlaced| _ = booked.post(|count| *count += 1)).detach();

    for (number, what, count) in [(1, "tea", 2), (2, "ink", 1)] {
        bus.publish(OrderPlaced { number, what, count })?;
        bus.wait_idle(Duration::from_secs(10))?;
        bus.wait_idle(Duration::from_secs(10))?;
    }
    println!("ledger: {} orders", ledger.call(|count| *count).join()?);
    drop((stock, mail));
    Ok(())
}
