//! Sentences about clocks and the wheel.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::super::entries::PAGE;
use super::super::near::SLACK;
use super::super::slot::{CHUNK, SPARE_MAX};
use super::super::wheel::{CROWD, LEVELS};
use super::super::{Clock, ManualClock, Moment, SystemClock, TimerKey, Wheel};
use super::{at, ripe_at};

const TICK: u64 = 1 << 20;
const DAY: u64 = 86_400_000_000_000;

/// Large enough for several pages and crowds.
const MANY: u64 = if cfg!(miri) { 3 * PAGE as u64 } else { 40_000 };

fn wheel<T>() -> Wheel<T> {
    Wheel::new(Moment::ORIGIN)
}

#[test]
fn any_duration_is_legal() {
    let table = [
        (0, Duration::ZERO, at(0)),
        (7, Duration::ZERO, at(7)),
        (7, Duration::from_nanos(1), at(8)),
        (7, Duration::MAX, Moment::NEVER),
        (0, Duration::from_nanos(u64::MAX - 1), at(u64::MAX - 1)),
        (0, Duration::from_nanos(u64::MAX), Moment::NEVER),
        (1, Duration::from_nanos(u64::MAX - 1), Moment::NEVER),
        (0, Duration::from_secs(1 << 34), at((1 << 34) * 1_000_000_000)),
        (0, Duration::from_secs(1 << 35), Moment::NEVER),
        (u64::MAX - 1, Duration::ZERO, at(u64::MAX - 1)),
        (u64::MAX, Duration::ZERO, Moment::NEVER),
        (u64::MAX, Duration::MAX, Moment::NEVER),
    ];
    for (from, duration, expected) in table {
        assert_eq!(at(from).saturating_add(duration), expected, "{from} + {duration:?}");
    }
}

#[test]
fn waiting_for_never_has_no_end_and_for_the_past_no_beginning() {
    assert_eq!(at(3).until(at(10)), Duration::from_nanos(7));
    assert_eq!(at(10).until(at(10)), Duration::ZERO);
    assert_eq!(at(10).until(at(3)), Duration::ZERO);
    assert_eq!(at(10).until(Moment::NEVER), Duration::MAX);
    assert_eq!(Moment::NEVER.until(at(10)), Duration::ZERO);
}

#[test]
fn manual_clock_never_goes_back() {
    let clock = ManualClock::new(at(5));
    clock.advance_by(Duration::from_nanos(3));
    assert_eq!(clock.now(), at(8));
    clock.advance_to(at(6));
    assert_eq!(clock.now(), at(8));
    clock.advance_by(Duration::MAX);
    assert_eq!(clock.now(), Moment::NEVER);
}

#[test]
fn system_clock_never_goes_back() {
    let clock = SystemClock::new();
    let mut last = clock.now();
    for _ in 0..if cfg!(miri) { 10 } else { 10_000 } {
        let now = clock.now();
        assert!(now >= last);
        last = now;
    }
}

#[test]
fn nothing_is_ripe_a_nanosecond_early() {
    for deadline in [1, TICK - 1, TICK, TICK + 1, 64 * TICK, (1 << 31) + 5, 1 << 32, (1 << 63) + 1, u64::MAX - 1] {
        let mut wheel = wheel();
        wheel.insert(at(deadline), ());
        assert!(ripe_at(&mut wheel, at(deadline - 1)).is_empty(), "{deadline}");
        assert_eq!(wheel.next_wake(), Some(at(deadline)));
        assert_eq!(ripe_at(&mut wheel, at(deadline)).len(), 1, "{deadline}");
        assert!(wheel.is_empty());
    }
}

#[test]
fn entries_of_a_tick_that_are_not_due_yet_stay() {
    let mut wheel = wheel();
    for deadline in [30, 10, 20] {
        wheel.insert(at(TICK + deadline), deadline);
    }
    assert_eq!(ripe_at(&mut wheel, at(TICK + 10)), [10]);
    wheel.insert(at(TICK + 15), 15);
    assert_eq!(wheel.next_wake(), Some(at(TICK + 15)));
    assert_eq!(ripe_at(&mut wheel, at(TICK + 29)), [15, 20]);
    assert_eq!(ripe_at(&mut wheel, at(TICK + 30)), [30]);
}

#[test]
fn ties_keep_their_order_across_levels() {
    let deadline = at((1 << 32) + 3 * TICK + 9);
    let mut wheel = wheel();
    let mut expected = Vec::new();
    for (turn, now) in [0, 1 << 31, 1 << 32, (1 << 32) + TICK, (1 << 32) + 3 * TICK].into_iter().enumerate() {
        assert!(ripe_at(&mut wheel, at(now)).is_empty());
        let numbers = 10 * turn..10 * turn + 3;
        expected.extend(numbers.clone());
        let keys: Vec<_> = numbers.map(|number| wheel.insert(deadline, number)).collect();
        expected.retain(|&number| number != 10 * turn + 1);
        assert!(wheel.remove(keys[1]).is_some());
    }
    assert_eq!(ripe_at(&mut wheel, deadline), expected);
}

#[test]
fn passed_deadline_is_ripe_at_the_next_advance() {
    let mut wheel = Wheel::new(at(DAY));
    wheel.insert(at(DAY), "present");
    wheel.insert(at(0), "past");
    let removed = wheel.insert(at(5), "removed");
    assert_eq!(wheel.next_wake(), Some(at(0)));
    assert_eq!(wheel.remove(removed), Some("removed"));
    assert_eq!(ripe_at(&mut wheel, at(DAY)), ["past", "present"]);
}

#[test]
fn time_that_goes_back_counts_as_standing_still() {
    let mut wheel = Wheel::new(at(DAY));
    wheel.insert(at(DAY + 1), 'a');
    wheel.insert(at(DAY - 1), 'b');
    assert_eq!(ripe_at(&mut wheel, at(0)), ['b']);
    assert_eq!(ripe_at(&mut wheel, at(DAY)), []);
    assert_eq!(ripe_at(&mut wheel, at(DAY + 1)), ['a']);
}

#[test]
fn never_wakes_nobody() {
    let mut wheel = wheel();
    let first = wheel.insert(Moment::NEVER, 1);
    wheel.insert(Moment::NEVER, 2);
    wheel.insert(at(u64::MAX - 1), 3);
    assert_eq!(wheel.next_wake(), Some(at(u64::MAX - 1)));
    assert_eq!(ripe_at(&mut wheel, Moment::NEVER), [3]);
    assert_eq!((wheel.next_wake(), wheel.next_deadline(), wheel.len()), (None, None, 2));
    assert!(ripe_at(&mut wheel, Moment::NEVER).is_empty());
    assert_eq!(wheel.remove(first), Some(1));
    assert_eq!(wheel.drain(), [2]);
}

#[test]
fn jump_of_centuries_takes_everything_in_order() {
    let mut wheel = wheel();
    let mut expected = Vec::new();
    for bit in 0..64 {
        for deadline in [1 << bit, (1 << bit) - 1] {
            expected.push(deadline);
            wheel.insert(at(deadline), deadline);
        }
    }
    expected.sort_unstable();
    assert_eq!(ripe_at(&mut wheel, at(u64::MAX - 1)), expected);
    assert!(wheel.is_empty());
}

#[test]
fn stale_key_is_refused() {
    let mut wheel = wheel();
    let removed = wheel.insert(at(TICK), 1);
    assert_eq!(wheel.remove(removed), Some(1));
    let fired = wheel.insert(at(TICK), 2);
    assert_eq!(ripe_at(&mut wheel, at(TICK)), [2]);
    let drained = wheel.insert(at(DAY), 3);
    assert_eq!(wheel.drain(), [3]);
    let live = wheel.insert(at(DAY), 4);
    for key in [removed, fired, drained] {
        assert_eq!(wheel.remove(key), None);
    }
    assert_eq!(wheel.remove(live), Some(4));
    assert_eq!(Wheel::<u8>::new(at(0)).remove(live), None, "a key of another wheel");
}

#[test]
fn pages_are_searched_one_by_one() {
    let mut wheel = wheel();
    let never = wheel.insert(at(u64::MAX), 1);
    for value in 2..3_000_u64 {
        wheel.insert(at(value % 7 * DAY + value), value);
    }
    let (mut removed, mut pages) = (Vec::new(), 0);
    while wheel.remove_of_page(pages, |value| value % 2 == 1, &mut removed) {
        pages += 1;
    }
    removed.sort_unstable();
    assert_eq!((removed, pages), ((0..1_500).map(|half| half * 2 + 1).collect(), 3));
    assert_eq!((wheel.len(), wheel.remove(never)), (1_499, None));
    let mut left = ripe_at(&mut wheel, at(u64::MAX - 1));
    left.sort_unstable();
    assert_eq!(left, (1..1_500).map(|half| half * 2).collect::<Vec<_>>());
}

#[test]
fn drained_wheel_gives_all_in_order_and_works_on() {
    let mut wheel = wheel();
    for (deadline, value) in [(DAY, 3), (u64::MAX, 5), (0, 1), (DAY, 4), (TICK, 2)] {
        wheel.insert(at(deadline), value);
    }
    assert_eq!(wheel.drain(), [1, 2, 3, 4, 5]);
    assert_eq!((wheel.len(), wheel.next_wake()), (0, None));
    wheel.insert(at(TICK), 6);
    assert_eq!(ripe_at(&mut wheel, at(TICK)), [6]);
}

#[test]
fn lone_timer_wakes_once_however_far_away() {
    for deadline in [TICK, 1 << 32, DAY, 365 * DAY, 1 << 63] {
        let mut wheel = wheel();
        wheel.insert(at(deadline), ());
        assert_eq!(wheel.next_wake(), Some(at(deadline)));
    }
}

#[test]
fn crowd_costs_one_early_wake_per_level() {
    let deadline = at((1 << 62) + DAY + 5);
    let mut wheel = wheel();
    for number in 0..=CROWD {
        wheel.insert(deadline, number);
    }
    assert!(wheel.next_wake() < Some(deadline), "a crowd is not searched");
    for _ in 0..LEVELS {
        let wake = wheel.next_wake().expect("something waits");
        assert!(wake <= deadline);
        assert_eq!(wheel.next_deadline(), Some(deadline));
        if wake == deadline {
            break;
        }
        assert!(ripe_at(&mut wheel, wake).is_empty());
    }
    assert_eq!(wheel.next_wake(), Some(deadline));
    assert!(ripe_at(&mut wheel, deadline).into_iter().eq(0..=CROWD));
}

/// Keys of entries that are due from `first` on, one `step` after the other.
fn insert_many(wheel: &mut Wheel<u64>, first: u64, step: u64) -> Vec<TimerKey> {
    (0..MANY).map(|number| wheel.insert(at(first + number * step), number)).collect()
}

#[test]
fn memory_of_removed_entries_is_used_again() {
    let mut wheel = wheel();
    let mut keys = insert_many(&mut wheel, DAY, TICK);
    let (entries, notes) = (wheel.entries_capacity(), wheel.notes_capacity());
    for turn in 0..MANY {
        let at_random = (turn * 7919 % MANY) as usize;
        assert!(wheel.remove(keys[at_random]).is_some());
        keys[at_random] = wheel.insert(at(DAY + turn), turn);
        assert!(wheel.entries_capacity() <= entries + PAGE);
    }
    assert!(wheel.notes_capacity() <= notes + (SPARE_MAX + LEVELS * 64) * CHUNK);
}

#[test]
fn empty_pages_are_given_back() {
    let mut wheel = wheel();
    let keys = insert_many(&mut wheel, DAY, 1);
    assert!(wheel.entries_capacity() >= MANY as usize);
    for &key in &keys[1..] {
        assert!(wheel.remove(key).is_some());
    }
    assert!(wheel.entries_capacity() <= 2 * PAGE, "the page of the one that is left, and a spare one");
    insert_many(&mut wheel, DAY, 1);
    assert_eq!(ripe_at(&mut wheel, at(2 * DAY)).len() as u64, MANY + 1);
    assert!(wheel.entries_capacity() <= PAGE);
}

#[test]
fn slots_give_memory_back() {
    let mut wheel = wheel();
    let keys = insert_many(&mut wheel, DAY, 1);
    assert!(wheel.notes_capacity() >= MANY as usize);
    for key in keys {
        assert!(wheel.remove(key).is_some());
    }
    assert!(wheel.notes_capacity() <= SPARE_MAX * CHUNK);
    insert_many(&mut wheel, DAY, TICK);
    assert_eq!(ripe_at(&mut wheel, at(u64::MAX - 1)).len() as u64, MANY);
    assert!(wheel.notes_capacity() <= SPARE_MAX * CHUNK + 1024);
}

#[test]
fn present_tick_gives_memory_back() {
    let mut wheel = wheel();
    insert_many(&mut wheel, 100, 1);
    assert!(wheel.notes_capacity() >= MANY as usize);
    assert_eq!(ripe_at(&mut wheel, at(TICK - 1)).len() as u64, MANY);
    assert!(wheel.notes_capacity() <= SLACK + 1024);
}

#[test]
fn stale_notes_of_the_present_tick_are_swept() {
    let mut wheel = wheel();
    let keys = insert_many(&mut wheel, 100, 1);
    for &key in keys.iter().skip(1).rev() {
        assert!(wheel.remove(key).is_some());
        assert!(wheel.near_notes() <= 2 * wheel.len() + SLACK);
    }
    assert_eq!(wheel.next_wake(), Some(at(100)));
    assert!(wheel.notes_capacity() <= 4 * SLACK);
    assert_eq!(ripe_at(&mut wheel, at(TICK)), [0]);
}

#[test]
fn small_wheel_is_small() {
    let mut wheel = wheel();
    wheel.insert(at(DAY), ());
    assert!(wheel.notes_capacity() <= 4 && wheel.entries_capacity() <= 4);
    assert!(format!("{wheel:?}").contains("len: 1"));
}
