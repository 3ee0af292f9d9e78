//! The pump of a thread that somebody owns: what wakes it, what it tells, where its calls end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use overstrand::{CancelToken, JoinError, MainThreadTaskRunner, RejectReason};

use crate::pool;

const SOON: Duration = Duration::from_millis(5);

/// A pump that waits hears of a delay that somebody else posts, though nothing else wakes it.
#[test]
fn delayed_post_from_elsewhere_wakes_the_pump() {
    let main = MainThreadTaskRunner::new();
    let (ui, quit, (tell, told)) = (main.runner(), main.quit_handle(), mpsc::channel());
    main.runner().post_task(move || tell.send(()).expect("it listens")).expect("open");
    let poster = thread::spawn(move || {
        told.recv().expect("it tells");
        // The pump waits, or is about to.
        (0..1000).for_each(|_| thread::yield_now());
        ui.post_delayed_task(SOON, move || quit.quit()).is_ok()
    });
    main.run_until_quit();
    assert!(poster.join().expect("no panic"));
}

/// A foreign loop that pumps only when it is told to runs everything: posts from other threads, delays, and what a pump leaves behind.
#[test]
fn foreign_loop_is_told_of_all_work() {
    const POSTERS: usize = 4;
    const POSTS: usize = 2000;
    let (wake, events) = mpsc::channel();
    let main = MainThreadTaskRunner::builder().on_work(move || _ = wake.send(())).build().expect("a thread");
    let ran = Arc::new(AtomicUsize::new(0));
    let posters: Vec<_> = (0..POSTERS)
        .map(|_| (main.runner(), Arc::clone(&ran)))
        .map(|(ui, ran)| {
            thread::spawn(move || {
                for number in 0..POSTS {
                    let ran = Arc::clone(&ran);
                    let count = move || _ = ran.fetch_add(1, Ordering::SeqCst);
                    if number % 100 == 0 {
                        ui.post_delayed_task(SOON, count).expect("open");
                    } else {
                        ui.post_task(count).expect("open");
                    }
                }
            })
        })
        .collect();
    let mut turn = 0;
    while ran.load(Ordering::SeqCst) < POSTERS * POSTS {
        events.recv().expect("the hook lives");
        turn += 1;
        if turn % 2 == 0 { main.run_until_idle() } else { main.run_for(Duration::ZERO) }
    }
    posters.into_iter().for_each(|poster| poster.join().expect("no panic"));
}

/// While the pump runs nobody is told, and a hook that panics spoils nothing.
#[test]
fn hook_is_called_only_while_nobody_pumps() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let on_work = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("the hook's own");
    };
    let main = MainThreadTaskRunner::builder().on_work(on_work).build().expect("a thread");
    let inner = main.runner();
    main.runner().post_task(move || inner.post_task(|| ()).expect("open")).expect("open");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    main.run_until_idle();
    assert_eq!((calls.load(Ordering::SeqCst), main.runner().stats().ran), (1, 2));
}

/// The hooks of a pool, and a picture of what waits.
#[test]
fn hooks_names_and_dumps_are_those_of_a_pool() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let (panics, rejections) = (Arc::clone(&reports), Arc::clone(&reports));
    let main = MainThreadTaskRunner::builder()
        .name("ui")
        .on_panic(move |report| panics.lock().expect("no panic").push(report.to_string()))
        .on_rejected(move |report| rejections.lock().expect("no panic").push(report.to_string()))
        .build()
        .expect("valid");
    let ui = main.runner();
    ui.post_task(|| panic!("as it should")).expect("open");
    let dump = main.dump();
    assert_eq!((&*dump.pool, dump.at_threads, dump.stats.queued), ("ui", 1, 1));
    main.run_until_idle();
    drop(main);
    assert_eq!(ui.post_task(|| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::ShutDown));
    let reports = reports.lock().expect("no panic");
    assert_eq!(reports.len(), 2);
    for (report, says) in reports.iter().zip(["panicked: as it should", "was refused"]) {
        assert!(report.contains("on \"ui\"") && report.contains(file!()) && report.contains(says), "{report}");
    }
    for name in ["", "a\0b"] {
        let refused = MainThreadTaskRunner::builder().name(name).build();
        assert_eq!(refused.map(|_| ()).map_err(|error| error.field()), Err("name"));
    }
}

/// `run_until` ends with the result, of whoever's task, and is an error where it could only wait for itself.
#[test]
fn pump_runs_until_a_result_is_there() {
    let (pool, main) = (pool(1), MainThreadTaskRunner::new());
    let ui = main.runner();
    let mut own = ui.spawn(|| 1);
    let ends = (main.run_until(&mut own), main.run_until(&mut own));
    assert!(matches!(ends, (Ok(1), Err(JoinError::Taken))));
    let inner = main.runner();
    let mut foreign = pool.spawn(move || inner.run_sync(|| 2));
    assert_eq!(main.run_until(&mut foreign).expect("it runs").expect("it runs"), 2);
    let token = CancelToken::new();
    let signal = token.clone();
    pool.post_delayed_task(SOON, move || signal.cancel()).expect("open");
    let mut late = pool.spawn(move || {
        token.wait();
        3
    });
    assert_eq!(main.run_until(&mut late).expect("it runs"), 3);
    let mut panics = ui.spawn(|| panic!("as it should"));
    assert!(matches!(main.run_until(&mut panics), Err(JoinError::Panicked(_))));
    thread_local! {
        static MAIN: std::cell::RefCell<Option<MainThreadTaskRunner>> = const { std::cell::RefCell::new(None) };
    }
    MAIN.set(Some(main));
    let inner = ui.clone();
    let inside = ui.spawn(move || {
        let mut behind = inner.spawn(|| ());
        MAIN.with_borrow(|main| {
            let main = main.as_ref().expect("it is there");
            main.run_until_idle();
            matches!(main.run_until(&mut behind), Err(JoinError::WouldDeadlock))
        })
    });
    MAIN.with_borrow(|main| main.iter().for_each(MainThreadTaskRunner::run_until_idle));
    assert!(inside.join().expect("it runs"));
    MAIN.set(None);
}

/// `run_for` is over when its time is, also while tasks follow one another without end; delays end meanwhile.
#[test]
fn pump_runs_for_a_time() {
    fn go_on(ui: &overstrand::SingleThreadTaskRunner) {
        let again = ui.clone();
        let _ = ui.post_task(move || go_on(&again));
    }
    let main = MainThreadTaskRunner::new();
    let busy = main.create_runner("busy", overstrand::TaskTraits::user_blocking());
    go_on(&busy);
    let quit = main.quit_handle();
    main.runner().post_delayed_task(SOON, move || quit.quit()).expect("open");
    main.run_until_quit();
    let began = Instant::now();
    main.run_for(SOON);
    assert!(began.elapsed() >= SOON);
    assert!(busy.stats().ran > 1);
}
