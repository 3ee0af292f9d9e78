//! Events of supervised tasks (SUP-12).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{Backoff, Event, EventKind, EventWriter, Supervisor, TaskSpec, TracingSubscriber};

use crate::supervise_runs::supervisor;
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);

type Heard = Arc<Mutex<Vec<Event>>>;

fn listen(supervisor: &Supervisor) -> (Heard, overstrand::Subscription) {
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    let subscription = supervisor.subscribe(move |event: &Event| noted.lock().expect("no panic").push(event.clone()));
    (heard, subscription)
}

fn lines(heard: &Heard) -> Vec<String> {
    heard.lock().expect("no panic").iter().map(ToString::to_string).collect()
}

/// I52, I53: the life of a task, in order, without a gap.
#[test]
fn life_of_a_task_is_told() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let (heard, _subscription) = listen(&supervisor);
    let mut tries = 0;
    let spec = TaskSpec::blocking("flaky", move |cx| {
        tries += 1;
        if tries == 1 {
            return Err("not yet".into());
        }
        cx.ready();
        Ok(())
    });
    supervisor.submit(spec.backoff(Backoff::constant(SECOND)))?.outcome().join()?;
    supervisor.shutdown()?;
    env.run_until_idle();
    let expected = [
        "flaky submitted",
        "flaky admitted",
        "flaky started",
        "flaky failed after 0ns: not yet",
        "flaky retry 1 in 1s",
        "flaky started",
        "flaky ready",
        "flaky succeeded after 0ns",
        "flaky finished: completed",
        "flaky removed",
        "supervisor shutdown requested",
        "supervisor all stopped",
    ];
    assert_eq!(lines(&heard), expected);
    let heard = heard.lock().expect("no panic");
    assert!(heard.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let runs: Vec<_> = heard.iter().map(|event| (event.generation, event.attempt)).collect();
    assert_eq!(runs[..6], [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1), (2, 2)]);
    assert_eq!((heard[3].at, heard[5].at, heard[5].id.to_string()), (Duration::ZERO, SECOND, "#1".into()));
    Ok(())
}

/// SUP-12: what is done by hand is told, once for each change.
#[test]
fn what_is_done_by_hand_is_told() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = supervisor(&env);
    let task = supervisor.submit(TaskSpec::blocking("one", |_| Ok(())).start_delay(SECOND))?;
    let (heard, _subscription) = listen(&supervisor);
    assert!(task.pause() && task.pause() && task.resume() && task.resume());
    assert!(task.set_priority(3) && task.set_priority(3) && task.restart());
    task.outcome().join()?;
    env.run_until_idle();
    assert!(!task.pause() && !task.set_priority(4));
    env.run_until_idle();
    let told = lines(&heard);
    assert_eq!(told[..3], ["one paused", "one resumed", "one has priority 3"]);
    assert_eq!((told.len(), told[3].as_str(), env.now()), (7, "one started", Duration::ZERO));
    Ok(())
}

/// SUP-12, I54, F70: a subscriber that is slow loses the oldest, exactly counted; one that panicks goes on; no task and no other waits for them.
#[test]
fn slow_and_panicking_subscribers_harm_nobody() {
    let (told, missed, waited) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    TestEnvironment::builder().workers(3).baton().explore(0..30, |env| {
        let supervisor = Supervisor::builder(env.pool()).event_capacity(8).build().expect("valid");
        let slow = Heard::default();
        let noted = Arc::clone(&slow);
        let slowly = supervisor.subscribe(move |event: &Event| {
            wait_until(SECOND * 10, || None::<()>);
            noted.lock().expect("no panic").push(event.clone());
        });
        let panics = supervisor.subscribe(|event: &Event| {
            assert!(!matches!(event.kind, EventKind::Started | EventKind::SubscriberPanicked { .. }), "no more");
        });
        for number in 0..10 {
            let task = supervisor.submit(TaskSpec::blocking(number.to_string(), |_| Ok(())));
            assert!(task.expect("there is room").outcome().join().expect("it ends").is_completed());
        }
        waited.fetch_add(usize::from(!env.now().is_zero()), Ordering::Relaxed);
        assert_eq!(env.now(), Duration::ZERO, "nobody waited");
        env.advance(SECOND * 1000);
        let slow = slow.lock().expect("no panic");
        let lost: u64 = slow
            .iter()
            .map(|event| match event.kind {
                EventKind::SubscriberOverflow { lost } => lost,
                _ => 0,
            })
            .sum();
        let delivered = slow.iter().filter(|event| !matches!(event.kind, EventKind::SubscriberOverflow { .. })).count();
        assert!(lost > 0 && slow.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let last = slow.last().map_or(0, |event| event.seq);
        assert_eq!(last - slow[0].seq + 1, delivered as u64 + lost, "no gap is unexplained");
        told.fetch_add(delivered, Ordering::Relaxed);
        missed.fetch_add(lost.try_into().expect("it fits"), Ordering::Relaxed);
        drop((slowly, panics));
    });
    figure(
        "I54",
        format_args!(
            "{told:?} events told to a slow subscriber, {missed:?} lost and counted, {waited:?} tasks delayed"
        ),
    );
}

/// SUP-12: after the end of a subscription nothing is heard; a detached one goes on. A subscriber may use the supervisor.
#[test]
fn subscriptions_end_or_stay() {
    TestEnvironment::explore(0..50, |env| {
        let supervisor = supervisor(env);
        let (heard, subscription) = listen(&supervisor);
        let (kept, other) = listen(&supervisor);
        other.detach();
        supervisor.subscribe(TracingSubscriber).detach();
        supervisor.subscribe(EventWriter::new(Vec::new())).detach();
        let own = supervisor.find("nobody").map(|task| task.id());
        assert_eq!(own, None);
        let weak = Mutex::new(Some(supervisor.clone()));
        let asks = supervisor.subscribe(move |event: &Event| {
            let mut slot = weak.lock().expect("no panic");
            if let Some(supervisor) = slot.as_ref() {
                assert!(supervisor.stats().submitted > 0);
            }
            if matches!(event.kind, EventKind::Removed) {
                *slot = None;
            }
        });
        supervisor.submit(TaskSpec::blocking("one", |_| Ok(()))).expect("there is room");
        env.run_until_idle();
        drop(subscription);
        let before = lines(&heard).len();
        supervisor.submit(TaskSpec::blocking("two", |_| Ok(()))).expect("there is room");
        env.run_until_idle();
        assert_eq!((lines(&heard).len(), lines(&kept).len()), (before, before * 2));
        drop(asks);
    });
}
