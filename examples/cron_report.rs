//! A report at times of the wall clock in Berlin, and what a change of clocks does to such times.
//!
//! `cargo run --example cron_report --features cron`

use std::error::Error;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use overstrand::{Schedule, ThreadPool, Ticker};

const PATIENCE: Duration = Duration::from_secs(20);
const ZONE: &str = "Europe/Berlin";

fn show(schedule: &Schedule, after: SystemTime, count: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
    for time in schedule.upcoming(after).take(count) {
        println!("  {}", Timestamp::try_from(time)?.in_tz(ZONE)?);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // On working days at half past eight, and in the night of the first.
    let working_days = Schedule::cron("30 8 * * MON-FRI")?;
    let month = Schedule::cron("30 2 1 * *")?;
    let reports = Schedule::any([working_days, month]).in_time_zone(ZONE)?;
    println!("reports come");
    show(&reports, Timestamp::now().into(), 4)?;

    let nightly = Schedule::cron("30 2 * * *")?.in_time_zone(ZONE)?;
    for (night, change) in [("2027-03-27T12:00:00Z", "forward"), ("2027-10-30T12:00:00Z", "back")] {
        println!("02:30, when clocks are put {change}");
        show(&nightly, night.parse::<Timestamp>()?.into(), 2)?;
    }

    let pool = ThreadPool::builder().workers(1).build()?;
    let (done, reported) = mpsc::channel();
    // So that there is something to see: each second, as it begins.
    let each_second = Schedule::cron("* * * * * *")?.in_time_zone(ZONE)?;
    let report = Ticker::new(each_second, move |cx| {
        println!("report {} at {}", cx.tick(), Timestamp::now().in_tz(ZONE)?.strftime("%H:%M:%S"));
        Ok(done.send(cx.tick())?)
    })
    .on(&pool);
    report.start()?;
    while reported.recv_timeout(PATIENCE)? < 3 {}
    report.stop(PATIENCE)?;
    println!("{} reports, {} errors", report.ticks(), report.errors().len());
    Ok(())
}
