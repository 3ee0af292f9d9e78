//! The logic of the example `sessions`, over a virtual day.

#[path = "../../examples/sessions.rs"]
mod sessions;

use std::sync::mpsc;
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use sessions::{Event, Sessions};

const MINUTE: Duration = Duration::from_secs(60);

/// A session ends half an hour after the last sign of life: not a nanosecond before, and only once.
#[test]
fn sessions_end_after_half_an_hour_without_a_sign_of_life() {
    TestEnvironment::explore(0..50, |env| {
        let (events, happened) = mpsc::channel();
        let sessions = Sessions::new(env.pool(), MINUTE * 30, events);
        for _ in 0..10 {
            sessions.touch("ann");
            env.advance(MINUTE * 20);
        }
        let seen: Vec<_> = happened.try_iter().collect();
        assert_eq!(seen[0], Event::Came("ann".into()));
        assert_eq!(seen[1..], vec![Event::StillHere("ann".into()); 9]);
        env.advance(MINUTE * 10 - Duration::from_nanos(1));
        assert_eq!(happened.try_recv(), Err(mpsc::TryRecvError::Empty));
        env.advance(Duration::from_nanos(1));
        assert_eq!(happened.try_recv(), Ok(Event::Left("ann".into())));
        env.advance(MINUTE * 60 * 24);
        assert_eq!(happened.try_recv(), Err(mpsc::TryRecvError::Empty));
        assert!(env.next_delay().is_none());
    });
}

/// A day of many users: everybody who came has left in the end.
#[test]
fn everybody_who_comes_leaves_within_the_day() {
    TestEnvironment::explore(0..20, |env| {
        let (events, happened) = mpsc::channel();
        let sessions = Sessions::new(env.pool(), MINUTE * 30, events);
        for user in 0..200_u64 {
            let (sessions, at) = (sessions.clone(), MINUTE * ((user * 7919 + env.seed()) % 1_400) as u32);
            let touch = move || sessions.touch(&format!("user {}", user % 40));
            env.pool().post_delayed_task(at, touch).expect("open");
        }
        env.advance(MINUTE * 60 * 24);
        let (mut came, mut left) = (0, 0);
        for event in happened.try_iter() {
            match event {
                Event::Came(_) => came += 1,
                Event::StillHere(_) => {}
                Event::Left(_) => left += 1,
            }
        }
        assert!(came >= 40, "{came}");
        assert_eq!(came, left);
    });
}
