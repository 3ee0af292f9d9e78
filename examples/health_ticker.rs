//! A health check that looks more often while something is wrong, beside a service that is stopped by a function.
//!
//! `cargo run --example health_ticker`

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use overstrand::{Service, ThreadPool, Ticker};

const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let (orders, inbox) = mpsc::channel::<Option<u32>>();
    let close = orders.clone();
    let kitchen = Service::new(
        move |_| {
            // It blocks in `recv`, and does not hear of its token: the stop function ends it.
            while let Ok(Some(order)) = inbox.recv() {
                println!("order {order} is served");
            }
            Ok(())
        },
        move |_| Ok(close.send(None)?),
    )
    .on(&pool);
    kitchen.start()?;

    let (done, five_looks) = mpsc::channel();
    let watched = kitchen.clone();
    let health = Ticker::new(Duration::from_millis(50), move |cx| {
        let healthy = watched.is_running() && cx.tick() != 2;
        cx.set_interval(Duration::from_millis(if healthy { 50 } else { 5 }))?;
        if cx.tick() == 5 {
            done.send(())?;
        }
        if healthy { Ok(()) } else { Err("the oven is cold".into()) }
    })
    .immediate()
    .on(&pool);
    health.start()?;

    orders.send(Some(1))?;
    orders.send(Some(2))?;
    five_looks.recv_timeout(PATIENCE)?;
    println!("{} looks, last error: {}", health.ticks(), health.last_error().map_or("none".into(), |e| e.to_string()));
    health.stop(PATIENCE)?;
    kitchen.stop(PATIENCE)?;
    println!("closed, after {} errors of the kitchen", kitchen.errors().len());
    Ok(())
}
