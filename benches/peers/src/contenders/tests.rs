//! Each contender does what the workloads take for granted.

use std::sync::mpsc::channel;

use crate::cell;
use crate::contender::Contender;

/// One check for every contender.
macro_rules! for_each_contender {
    ($($module:ident :: $contender:ident),+ $(,)?) => {
        $(mod $module {
            use crate::contenders::$module::$contender;

            #[test]
            fn strand_keeps_the_order_of_posting() {
                super::strand_keeps_the_order_of_posting::<$contender>();
            }

            #[test]
            fn each_supported_timed_cell_completes() {
                super::each_supported_timed_cell_completes::<$contender>();
            }
        })+
    };
}

for_each_contender! {
    rayon::Rayon, tokio::Tokio, async_executor::AsyncExecutor, executors::WorkStealing,
    crossbeam_channel::ChannelPool, mutex_pool::MutexPool, std_thread::StdThread,
}

#[cfg(feature = "ours")]
for_each_contender!(ours::Overstrand);

fn strand_keeps_the_order_of_posting<C: Contender>() {
    const TASKS: u32 = 10_000;
    let pool: &'static C = Box::leak(Box::new(C::build(2)));
    let Some(strand) = pool.strand() else { return };
    let (sender, receiver) = channel();
    for n in 0..TASKS {
        let sender = sender.clone();
        C::post_strand(&strand, move || sender.send(n).expect("the test listens"));
    }
    drop(sender);
    // The receiver ends when all tasks ran and gave back their senders.
    assert!(receiver.iter().eq(0..TASKS));
}

/// The memory cells leave a worker standing and count a global: they need a process each.
fn each_supported_timed_cell_completes<C: Contender>() {
    for cell in cell::all().into_iter().filter(|cell| !cell.is_memory() && C::supports(cell)) {
        let readings = crate::workload::measure::<C>(cell, 0.001);
        assert!(readings.iter().all(|reading| reading.value >= 0.0), "{} in {cell}", C::NAME);
    }
}
