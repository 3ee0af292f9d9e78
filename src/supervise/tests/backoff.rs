//! SUP-6: delays against whole-number arithmetic, jitter within its interval, nonsense refused.

use std::time::Duration;

use proptest::prelude::*;

use super::{config, count, millis, secs};
use crate::supervise::backoff::{Backoff, Jitter};
use crate::sync::unmodelled::AtomicU64;

const JITTERS: [Jitter; 4] = [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated];

/// Dice that nobody may throw.
fn no_dice() -> f64 {
    unreachable!("there is nothing to throw for")
}

/// Dice of the simplest kind: the same throws for the same seed.
fn dice(mut seed: u64) -> impl FnMut() -> f64 {
    move || {
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The delays after the first failures of a streak.
fn delays(backoff: Backoff, failures: u32) -> Vec<Duration> {
    (0..failures).map(|n| backoff.delay(n, None, &mut no_dice)).collect()
}

/// The field and the value that are refused.
fn refused(backoff: Backoff) -> (&'static str, String) {
    let error = backoff.validate().expect_err("this makes no sense");
    (error.field(), error.value().to_owned())
}

// ---- growth ----------------------------------------------------------------------------------------------------------

#[test]
fn default_is_100_ms_again_and_again() {
    assert_eq!(delays(Backoff::default(), 3), [millis(100); 3]);
    assert_eq!(Backoff::default(), Backoff::constant(millis(100)).factor(1.0).max(secs(30)).jitter(Jitter::None));
}

#[test]
fn exponential_doubles_up_to_30_s() {
    assert_eq!(delays(Backoff::exponential(secs(4)), 5), [secs(4), secs(8), secs(16), secs(30), secs(30)]);
}

#[test]
fn factor_and_max_are_what_was_asked_for() {
    let tripling = Backoff::exponential(millis(100)).factor(3.0).max(secs(2));
    assert_eq!(delays(tripling, 4), [millis(100), millis(300), millis(900), secs(2)]);
    assert_eq!(delays(Backoff::default().factor(1.5), 3), [millis(100), millis(150), millis(225)]);
}

#[test]
fn long_first_delay_is_not_cut_unless_max_says_so() {
    for long in [Backoff::constant(secs(3600)), Backoff::exponential(secs(3600))] {
        assert!(long.validate().is_ok());
        assert_eq!(delays(long, 2), [secs(3600); 2]);
    }
    assert_eq!(delays(Backoff::exponential(secs(20)).max(secs(90)), 4), [secs(20), secs(40), secs(80), secs(90)]);
}

#[test]
fn what_does_not_grow_is_exact_however_long() {
    let odd = Duration::MAX - Duration::from_nanos(1);
    assert_eq!(delays(Backoff::constant(odd).max(Duration::MAX), 2), [odd, odd]);
    assert_eq!(delays(Backoff::exponential(odd).max(Duration::MAX), 2), [odd, Duration::MAX]);
}

#[test]
fn zero_is_no_pause_at_all() {
    assert!(Backoff::constant(Duration::ZERO).validate().is_ok());
    assert_eq!(Backoff::constant(Duration::ZERO).delay(u32::MAX, None, &mut no_dice), Duration::ZERO);
    assert!(Backoff::constant(Duration::ZERO).max(Duration::ZERO).validate().is_ok());
}

#[test]
fn huge_counts_saturate() {
    for n in [1_000, 1_000_000, u32::MAX - 1, u32::MAX] {
        assert_eq!(Backoff::exponential(millis(1)).delay(n, None, &mut no_dice), secs(30));
        let endless = Backoff::exponential(Duration::from_nanos(1)).factor(f64::MAX).max(Duration::MAX);
        assert_eq!(endless.delay(n, None, &mut no_dice), Duration::MAX);
    }
}

// ---- jitter ----------------------------------------------------------------------------------------------------------

#[test]
fn jitter_reaches_from_end_to_end_of_its_interval() {
    let ends = |jitter, previous| {
        let backoff = Backoff::exponential(millis(100)).jitter(jitter);
        [0.0, 0.5, 1.0].map(|share| backoff.delay(3, previous, &mut || share))
    };
    assert_eq!(ends(Jitter::Full, None), [millis(0), millis(400), millis(800)]);
    assert_eq!(ends(Jitter::Equal, None), [millis(400), millis(600), millis(800)]);
    assert_eq!(ends(Jitter::Decorrelated, Some(millis(500))), [millis(100), millis(800), millis(1_500)]);
    assert_eq!(ends(Jitter::Decorrelated, None), [millis(100), millis(200), millis(300)]);
}

#[test]
fn dice_that_show_nonsense_show_1() {
    for jitter in [Jitter::Full, Jitter::Equal] {
        let backoff = Backoff::constant(secs(1)).jitter(jitter);
        for share in [1.0, 1.5, f64::MAX, f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(backoff.delay(0, None, &mut || share), secs(1), "{share}");
        }
    }
    let decorrelated = Backoff::constant(secs(1)).jitter(Jitter::Decorrelated);
    assert_eq!(decorrelated.delay(0, None, &mut || 7.0), secs(3));
}

#[test]
fn decorrelated_delay_is_clamped_last() {
    let backoff = Backoff::constant(secs(1)).max(secs(2)).jitter(Jitter::Decorrelated);
    assert_eq!(backoff.delay(0, Some(secs(2)), &mut || 0.9), secs(2));
    assert_eq!(backoff.delay(0, Some(secs(2)), &mut || 0.1), millis(1_500));
    assert_eq!(backoff.delay(0, Some(Duration::MAX), &mut || 0.5), secs(2));
    assert_eq!(backoff.delay(0, Some(Duration::ZERO), &mut || 0.5), secs(1), "the interval is empty");
}

#[test]
fn dice_are_thrown_once() {
    for jitter in JITTERS {
        let mut throws = 0;
        Backoff::default().jitter(jitter).delay(7, None, &mut || {
            throws += 1;
            0.5
        });
        assert_eq!(throws, u32::from(jitter != Jitter::None), "{jitter:?}");
    }
}

#[test]
fn mean_of_many_delays_is_that_of_the_formula() {
    let throws = if cfg!(miri) { 100 } else { 100_000 };
    let tolerance = if cfg!(miri) { 0.2 } else { 0.01 };
    let backoff = Backoff::exponential(millis(500));
    let mut worst: f64 = 0.0;
    for (jitter, expected) in
        [(Jitter::None, 4.0), (Jitter::Full, 2.0), (Jitter::Equal, 3.0), (Jitter::Decorrelated, 3.25)]
    {
        let mut dice = dice(36);
        let one = |_| backoff.jitter(jitter).delay(3, Some(secs(2)), &mut dice).as_secs_f64();
        let mean = (0..throws).map(one).sum::<f64>() / f64::from(throws);
        assert!((mean / expected - 1.0).abs() < tolerance, "{jitter:?}: {mean} instead of {expected}");
        worst = worst.max((mean / expected - 1.0).abs());
    }
    println!("figure I36 {throws} samples for each jitter, worst mean {:.2} % beside the formula", worst * 100.0);
}

/// A thousand that fail together; no hundredth of the time sees more than three times its share.
#[test]
fn jitter_spreads_what_failed_together() {
    let backoff = Backoff::constant(secs(10)).jitter(Jitter::Full);
    let mut dice = dice(52);
    let mut back: Vec<_> = (0..1_000).map(|_| backoff.delay(0, None, &mut dice)).collect();
    back.sort();
    let crowd = |from: usize| back[from..].iter().take_while(|at| **at - back[from] < millis(100)).count();
    let most = (0..back.len()).map(crowd).max();
    assert!(most <= Some(30), "{most:?} come back at once");
    println!("figure I36 {} samples, max cluster {} in 1 % of the time", back.len(), most.unwrap_or_default());
}

// ---- nonsense --------------------------------------------------------------------------------------------------------

#[test]
fn factor_that_is_no_growth_is_refused() {
    for (factor, text) in
        [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (0.5, "0.5"), (-2.0, "-2"), (0.0, "0")]
    {
        assert_eq!(refused(Backoff::default().factor(factor)), ("factor", text.to_owned()));
    }
    assert_eq!(refused(Backoff::default().factor(1.0 - f64::EPSILON)).0, "factor");
    assert!(Backoff::default().factor(1.0).validate().is_ok());
    assert!(Backoff::default().factor(f64::MAX).validate().is_ok());
}

#[test]
fn max_below_first_is_refused() {
    assert_eq!(refused(Backoff::exponential(secs(2)).max(secs(1))), ("max", "1s".to_owned()));
    assert!(Backoff::exponential(secs(2)).max(secs(2)).validate().is_ok());
}

#[test]
fn zero_that_should_grow_or_spread_is_refused() {
    assert_eq!(refused(Backoff::exponential(Duration::ZERO)), ("first", "0ns".to_owned()));
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        assert_eq!(refused(Backoff::constant(Duration::ZERO).jitter(jitter)), ("first", "0ns".to_owned()));
    }
}

#[test]
fn refusal_names_the_field_and_the_value() {
    let error = Backoff::default().factor(0.5).validate().expect_err("below 1");
    assert_eq!(error.to_string(), "factor = 0.5: a backoff grows by a finite factor of at least 1");
}

// ---- properties ------------------------------------------------------------------------------------------------------

/// `min(first * factor^n, max)` in whole nanoseconds, for a whole factor.
fn grown_by_the_book(first: u64, factor: u32, n: u32, max: u64) -> u128 {
    let max = u128::from(max);
    let mut delay = u128::from(first).min(max);
    for _ in 0..n {
        let next = (delay * u128::from(factor)).min(max);
        if next == delay {
            break;
        }
        delay = next;
    }
    delay
}

/// Counts of failures: mostly few.
fn failures() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..64, 1 => any::<u32>()]
}

fn jitter() -> impl Strategy<Value = Jitter> {
    proptest::sample::select(&JITTERS[..])
}

/// Any duration at all, the longest ones too.
fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (0_u64..1_000_000_000_000).prop_map(Duration::from_nanos),
        1 => (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        1 => Just(Duration::MAX),
    ]
}

/// Any bits that a float can have.
fn any_float() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

/// A backoff that makes sense.
fn sensible() -> impl Strategy<Value = Backoff> {
    (1_u64..100_000_000_000, 1.001_f64..20.0, any_duration(), jitter()).prop_map(|(first, factor, room, jitter)| {
        let first = Duration::from_nanos(first);
        Backoff::exponential(first).factor(factor).max(first.saturating_add(room)).jitter(jitter)
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn growth_agrees_with_whole_numbers(
        first in 1_u64..100_000_000_000, factor in 1_u32..12, n in failures(), room in 0_u64..1 << 62,
    ) {
        let max = first + room;
        let backoff = Backoff::exponential(Duration::from_nanos(first)).factor(f64::from(factor));
        let delay = backoff.max(Duration::from_nanos(max)).delay(n, None, &mut no_dice).as_nanos();
        let expected = grown_by_the_book(first, factor, n, max);
        prop_assert!(delay.abs_diff(expected) <= 1 + (expected >> 48), "{delay} instead of {expected}");
    }

    #[test]
    fn delay_lies_in_the_interval_of_its_jitter(
        backoff in sensible(), n in failures(), previous in proptest::option::of(any_duration()), share in 0.0_f64..1.0,
    ) {
        static CASES: AtomicU64 = AtomicU64::new(0);
        count(&CASES, "I36");
        prop_assert!(backoff.validate().is_ok());
        let first = backoff.jitter(Jitter::None).delay(0, None, &mut no_dice);
        let grown = backoff.jitter(Jitter::None).delay(n, None, &mut no_dice);
        let delay = backoff.delay(n, previous, &mut || share);
        let (least, most) = match backoff {
            b if b == b.jitter(Jitter::None) => (grown, grown),
            b if b == b.jitter(Jitter::Full) => (Duration::ZERO, grown),
            b if b == b.jitter(Jitter::Equal) => (grown / 2, grown),
            _ => (first, previous.unwrap_or(first).saturating_mul(3).max(first)),
        };
        prop_assert!(least <= delay && delay <= most, "{delay:?} not in [{least:?}, {most:?}]");
        prop_assert!(delay <= backoff.max(Duration::MAX).delay(n, previous, &mut || share), "max shortens only");
    }

    #[test]
    fn delay_never_shrinks_while_the_streak_grows(backoff in sensible(), n in failures(), share in 0.0_f64..1.0) {
        let previous = Some(secs(1));
        let longer = backoff.delay(n.saturating_add(1), previous, &mut || share);
        prop_assert!(backoff.delay(n, previous, &mut || share) <= longer);
    }

    #[test]
    fn no_value_whatever_makes_it_panic_or_pass_max(
        first in any_duration(), factor in any_float(), max in any_duration(), jitter in jitter(),
        n in failures(), previous in proptest::option::of(any_duration()), share in any_float(),
    ) {
        let backoff = Backoff::constant(first).factor(factor).max(max).jitter(jitter);
        prop_assert!(backoff.delay(n, previous, &mut || share) <= max);
        let sensible = factor >= 1.0 && factor.is_finite() && max >= first
            && !(first.is_zero() && (factor > 1.0 || jitter != Jitter::None));
        prop_assert_eq!(backoff.validate().is_ok(), sensible);
    }
}
