//! Loans: what they borrow is there while they run, and free when `lend` has returned.

use std::sync::Arc;

use crate::task::loan::lend;

#[test]
fn a_loan_borrows_and_is_back() {
    let mut numbers = vec![1, 2];
    let (text, sum) = (String::from("borrowed"), std::sync::atomic::AtomicUsize::new(0));
    let length = lend(
        (),
        |()| {},
        |lender| {
            let loan = lender.give(Box::new(|| numbers.push(3)));
            let other = lender.give(Box::new(|| _ = sum.fetch_add(text.len(), std::sync::atomic::Ordering::Relaxed)));
            let helper = std::thread::spawn(move || other.call());
            loan.call();
            helper.join().expect("no panic");
            text.len()
        },
    );
    numbers.push(4);
    assert_eq!((numbers, length, sum.into_inner()), (vec![1, 2, 3, 4], 8, 8));
}

#[test]
fn a_dropped_loan_drops_its_captures_before_the_end() {
    let held = Arc::new(());
    let kept = lend(
        Vec::new(),
        |_: &Vec<()>| {},
        |lender| {
            let mine = Arc::clone(&held);
            drop(lender.give(Box::new(move || drop(mine))));
            Arc::strong_count(&held)
        },
    );
    assert_eq!(kept, 1);
}

/// The body has returned, and unwound, while a loan is still out: the call waits for it.
#[test]
fn lend_waits_for_what_is_out() {
    for panics in [false, true] {
        let mut value = Box::new(0);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lend(
                go,
                |go| go.send(()).expect("it listens"),
                |lender| {
                    let loan = lender.give(Box::new(|| *value += 1));
                    drop(std::thread::spawn(move || {
                        gone.recv().expect("the body is over");
                        loan.call();
                    }));
                    assert!(!panics, "out of the body");
                },
            );
        }));
        assert_eq!((caught.is_err(), *value), (panics, 1));
    }
}

#[test]
fn a_panic_in_a_loan_counts_it_back() {
    lend(
        (),
        |()| {},
        |lender| {
            let loan = lender.give(Box::new(|| panic!("inside")));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loan.call())).is_err());
        },
    );
}
