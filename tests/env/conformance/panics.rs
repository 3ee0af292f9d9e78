//! POST-6: whatever panics, the next tasks run, the counters are right, and who should be told is.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, Close, JoinError, PanicReport, RejectionReport};

use super::kinds::Way;
use super::notes::{Log, OnDrop, SECOND};
use super::stage::Trial;

/// A value whose end panics.
fn bomb() -> OnDrop<impl FnMut()> {
    OnDrop(|| panic!("in a drop"))
}

/// POST-6: a body, with a text, with another payload and with one whose own end panics; a delayed body; a capture's end.
#[test]
fn panic_ends_its_task_and_nothing_else() {
    Trial::plain().with(|env| env.allow_panics()).run(|stage| {
        let log = Log::new();
        let post = |f: Box<dyn FnOnce() + Send>| {
            stage.runner.post(f).expect("open");
            stage.runner.post(log.noting(())).expect("open");
        };
        post(Box::new(|| panic!("text")));
        post(Box::new(|| panic_any(7_u32)));
        post(Box::new(|| panic_any(bomb())));
        let capture = bomb();
        post(Box::new(move || drop(capture)));
        let capture = bomb();
        post(Box::new(move || {
            let _dies_at_the_end = &capture;
        }));
        stage.runner.post_delayed(SECOND, || panic!("late")).expect("open");
        stage.runner.post_delayed(SECOND, log.noting(())).expect("open");
        stage.advance(SECOND);
        let stats = stage.stats();
        assert_eq!((log.len(), stats.ran, stats.panicked), (6, 12, 6), "{stats:?}");
        assert_eq!((stats.posted, stats.queued, stats.delayed, stats.running, stats.dropped), (12, 0, 0, 0, 0));
        let alive = stage.runner.spawn(|| 7);
        assert_eq!(stage.joined(alive), 7);
    });
}

/// POST-6, HND-2: the panic of a task with a handle is its result, counted and reported once, whether somebody asks for it or not.
#[test]
fn panic_of_a_task_with_a_handle_is_counted() {
    Trial::plain().own_type().with(|env| env.allow_panics()).run(|stage| {
        let asked = stage.runner.spawn(|| panic!("text"));
        let odd = stage.runner.spawn(|| panic_any(bomb()));
        drop(stage.runner.spawn(|| panic!("detached")));
        let next = stage.runner.spawn(|| 7);
        stage.settle();
        let Err(JoinError::Panicked(panicked)) = asked.join() else { panic!("it panicked") };
        assert_eq!(panicked.message(), Some("text"));
        let Err(JoinError::Panicked(panicked)) = odd.join() else { panic!("it panicked") };
        assert_eq!((panicked.message(), panicked.to_string()), (None, "<non-string payload>".into()));
        drop(panicked);
        assert_eq!(next.join().expect("it runs"), 7);
        assert_eq!((stage.stats().ran, stage.stats().panicked), (4, 3));
    });
}

/// POST-6, F4: a result whose end panics, when nobody asks for it, when it is cancelled, and when it is the asker's.
#[test]
fn panic_in_the_end_of_a_result_is_contained() {
    Trial::plain().with(|env| env.allow_panics()).run(|stage| {
        drop(stage.runner.spawn(bomb));
        let taken = stage.runner.spawn(bomb);
        let next = stage.runner.spawn(|| 7);
        stage.settle();
        let bomb = taken.join().expect("it is a result like any other");
        assert_eq!(crate::panic_text(move || drop(bomb)), "in a drop", "with the asker it is the asker's");
        assert_eq!(next.join().expect("it runs"), 7);
        let stats = stage.stats();
        assert_eq!((stats.ran, stats.queued, stats.running), (3, 0, 0), "{stats:?}");
    });
}

/// POST-6: captures whose end panics when they are discarded: by a cancel, by a close, by the shutdown. Who discards them goes on.
#[test]
fn panic_in_the_end_of_a_discarded_task_is_contained() {
    Trial::plain().with(|env| env.allow_panics()).run(|stage| {
        let task = || {
            let capture = bomb();
            move || drop(capture)
        };
        assert!(stage.runner.spawn(task()).cancel());
        assert!(stage.runner.post_delayed(SECOND, task()).expect("open").cancel());
        let token = CancelToken::new();
        on!(&stage.own, it => it.task().cancel_with(&token).post(task()).expect("open"));
        token.cancel();
        let log = Log::new();
        stage.runner.post(log.noting(())).expect("open");
        stage.settle();
        assert_eq!(log.len(), 1);
        stage.runner.post_delayed(SECOND, task()).expect("open");
        for _ in 0..3 {
            stage.runner.post(task()).expect("open");
        }
        if stage.kind.is_closable {
            stage.own.close(Close::Discard);
            stage.settle();
        }
        stage.shut_down();
        let stats = stage.stats();
        assert_eq!((stats.posted, stats.queued, stats.delayed, stats.running), (8, 0, 0, 0), "{stats:?}");
        assert_eq!(stats.ran + stats.dropped, 8, "{stats:?}");
    });
}

/// POST-6, CTL-3: the hooks that are told of panics and refusals may panic, and may post to the very runner.
#[test]
fn hooks_that_panic_are_contained() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (on_panic, on_rejected) = (Arc::clone(&calls), Arc::clone(&calls));
    let told_of_a_panic = move |report: &PanicReport| {
        on_panic.fetch_add(1, Ordering::SeqCst);
        panic!("in the hook for {report}");
    };
    let told_of_a_refusal = move |report: &RejectionReport| {
        on_rejected.fetch_add(1, Ordering::SeqCst);
        panic!("in the hook for {report}");
    };
    let hooked = |env: overstrand::testing::TestEnvironmentBuilder| {
        env.allow_panics().pool(|pool| pool.on_panic(told_of_a_panic).on_rejected(told_of_a_refusal))
    };
    Trial::plain().of(|kind| !kind.is_pumped).with(hooked).run(|stage| {
        let (log, before) = (Log::new(), calls.load(Ordering::SeqCst));
        stage.runner.post(|| panic!("text")).expect("open");
        stage.runner.post(log.noting(())).expect("open");
        stage.settle();
        stage.shut_down();
        assert!(stage.runner.post(|| ()).is_err());
        assert_eq!((log.len(), calls.load(Ordering::SeqCst) - before), (1, 2));
        assert_eq!((stage.stats().panicked, stage.stats().rejected), (1, 1));
    });
}

/// POST-3, POST-6: the report of a panic names the task, its runner, its site and its ancestors.
#[test]
fn report_of_a_panic_names_task_runner_and_site() {
    let reports = Log::new();
    let told = reports.clone();
    let note = move |report: &PanicReport| told.push(report.clone());
    let hooked = |env: overstrand::testing::TestEnvironmentBuilder| env.allow_panics().pool(|pool| pool.on_panic(note));
    Trial::plain().of(|kind| !kind.is_pumped).with(hooked).run(|stage| {
        let before = reports.len();
        let own = stage.runner.clone();
        stage.runner.post(move || own.post_named("child", || panic!("text"))).expect("open");
        stage.settle();
        let report = reports.seen().into_iter().nth(before).expect("it was told");
        assert_eq!((report.name.as_deref(), report.message.as_deref()), (Some("child"), Some("text")));
        let runner = (!stage.kind.is_pool).then_some("subject");
        assert_eq!((report.runner.as_deref(), report.chain.len()), (runner, 2));
        assert_eq!((report.location.file(), report.chain[0]), (file!(), report.location));
    });
}

/// F6: a hook that waits for its own sequence is told that it would wait for itself.
#[test]
fn hook_that_waits_for_its_own_sequence_is_told() {
    let answers = Log::new();
    for is_baton in [false, true] {
        let told = answers.clone();
        let wait = move |_: &PanicReport| {
            if let Some(own) = overstrand::SequencedTaskRunner::current() {
                told.push((own.flush(), matches!(own.spawn(|| ()).join(), Err(JoinError::WouldDeadlock))));
            }
        };
        let builder = TestEnvironment::builder().allow_panics().pool(|pool| pool.on_panic(wait));
        let env = if is_baton { builder.baton().build() } else { builder.build() };
        let strand = env.pool().create_sequenced_task_runner(overstrand::TaskTraits::default());
        strand.post_task(|| panic!("text")).expect("open");
        env.run_until_idle();
        assert_eq!((strand.stats().panicked, strand.stats().ran), (1, 2));
    }
    assert_eq!(answers.seen(), vec![(Err(overstrand::WaitError::WouldDeadlock), true); 2]);
}

/// POST-6: a task that repeats panics as any other, and goes on; reached by its own type, which alone can repeat.
#[test]
fn panic_does_not_end_a_series() {
    Trial::plain().own_type().with(|env| env.allow_panics()).run(|stage| {
        assert_eq!(stage.way, Way::Own);
        let ticker = stage.own.repeat(SECOND, || panic!("each time")).expect("open");
        stage.advance(SECOND);
        stage.advance(SECOND);
        stage.advance(SECOND);
        assert_eq!((ticker.runs(), ticker.panics(), ticker.is_stopped()), (3, 3, false));
        assert_eq!(stage.stats().panicked, 3);
        ticker.stop();
    });
}
