//! The erasure of lifetimes: closures that borrow, lent to other threads for as long as one call lasts.
//!
//! This is one of the two files of this room with unsafe code.
//!
//! # Words
//!
//! A [`Lender`] lives for one call of [`lend`]. A [`Loan`] is a closure given out by it: it may be sent anywhere, kept by anybody, called once or dropped, and it is
//! *back* when it has been called or dropped, with everything it captured.
//!
//! # Rules
//!
//! 1. The type of a loan says nothing of what it borrows; so it must be back before that ends.
//! 2. Every loan is counted before it exists, and counted back after its closure is gone.
//! 3. [`lend`] returns, or unwinds, only when all are back. It owns the lender; the body sees a reference, so nobody can forget it.
//! 4. `'scope` is the life of that reference, chosen by `lend` and shorter than `'env`, what may be borrowed; both are invariant, so a loan cannot borrow from
//!    inside the body.
//!
//! # The bad interleaving
//!
//! *Back too early*: the last loan is counted back, the caller returns, the closure's captures are dropped after. Excluded by rule 2: the closure is gone first. What
//! is touched after the count is the bell, which the loan shares.
//!
//! A wait that fails (a test environment ends one that nothing can end by a panic) cannot be answered by returning: the process is aborted then.
//!
//! Witnessed by `tests::loan::*`, which Miri runs too, and `tests::loom::loom_a_loan_is_back_before_lend_returns`.

use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::park::{Bell, Wait};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// How many loans are out.
struct Book {
    out: AtomicUsize,
    back: Bell,
}

impl Book {
    fn are_all_back(&self) -> bool {
        // ORDER loan.all: Acquire; what the closures did is visible to the borrower's owner; pairs with loan.back.
        self.out.load(Ordering::Acquire) == 0
    }
}

/// Lends closures that may borrow what lives for `'env`; `shared` is whatever the caller of [`lend`] wants beside it.
pub(crate) struct Lender<'scope, 'env: 'scope, S> {
    book: Arc<Book>,
    pub(crate) shared: S,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// A closure that may borrow, without saying what.
pub(crate) struct Loan {
    closure: Option<Box<dyn FnOnce() + Send>>,
    book: Arc<Book>,
}

impl<'scope, S> Lender<'scope, '_, S> {
    /// Gives a closure out.
    pub(crate) fn give(&'scope self, closure: Box<dyn FnOnce() + Send + 'scope>) -> Loan {
        // Relaxed: whoever waits for the loans made this one, or waits for a loan that made it.
        self.book.out.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the types differ in the lifetime alone. (rules 2, 3) The closure is called or dropped before `lend` returns, and `'scope` does not end before
        // that, since `self` is borrowed for it from the lender that `lend` owns.
        let closure = unsafe { mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send>>(closure) };
        Loan { closure: Some(closure), book: Arc::clone(&self.book) }
    }
}

impl Loan {
    /// Calls the closure.
    pub(crate) fn call(mut self) {
        if let Some(closure) = self.closure.take() {
            closure();
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let _back = Back(&self.book);
        drop(self.closure.take());
    }
}

/// Counts a loan back when dropped, be it while unwinding.
struct Back<'a>(&'a Book);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        // ORDER loan.back: Release; the closure is gone for who sees this; pairs with loan.all.
        if self.0.out.fetch_sub(1, Ordering::Release) == 1 {
            self.0.back.ring();
        }
    }
}

/// Waits for the loans when dropped.
struct Settles<'a, F: Fn()>(&'a Book, F);

impl<F: Fn()> Drop for Settles<'_, F> {
    fn drop(&mut self) {
        let settle = || {
            (self.1)();
            // WHY the fence-free look is enough: the ringer's lock comes after its count, the listener's lock before the look.
            let _ = self.0.back.wait_until(|| self.0.are_all_back().then_some(()), Wait::on("borrowing tasks"));
        };
        let settled = catch_unwind(AssertUnwindSafe(settle));
        if settled.is_err() && !self.0.are_all_back() {
            // Rule 3.
            std::process::abort();
        }
    }
}

/// Calls `body` with a lender, and returns when everything it lent is back; `settle` is called before that wait.
pub(crate) fn lend<'env, S, T>(
    shared: S,
    settle: impl Fn(&S),
    body: impl for<'scope> FnOnce(&'scope Lender<'scope, 'env, S>) -> T,
) -> T {
    let book = Arc::new(Book { out: AtomicUsize::new(0), back: Bell::new() });
    let lender = Lender { book: Arc::clone(&book), shared, scope: PhantomData, env: PhantomData };
    let _settles = Settles(&book, || settle(&lender.shared));
    body(&lender)
}
