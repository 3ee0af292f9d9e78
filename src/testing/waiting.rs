//! Waits of user code that an environment cannot see by itself.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::park::{Parker, Wait, driver, park};
use crate::sync::thread::yield_now;

/// Waits until `look` has an answer, for at most `limit`; a wait that a test environment knows of.
///
/// Inside an environment, on the test's thread or in a task, everything else goes on meanwhile, and the limit is virtual time. Outside of one it looks again and
/// again, giving way in between, and the limit is real time: good for tests, not for production code.
///
/// ```
/// use overstrand::testing::{TestEnvironment, wait_until};
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let env = TestEnvironment::builder().baton().build();
/// let (tell, told) = mpsc::channel();
/// let waiting = env.pool().spawn(move || wait_until(Duration::from_secs(5), || told.try_recv().ok()));
/// env.pool().post_delayed_task(Duration::from_secs(3), move || _ = tell.send("hello"))?;
/// assert_eq!(waiting.join()?, Some("hello"));
/// assert_eq!(env.now(), Duration::from_secs(3));
/// # Ok(())
/// # }
/// ```
pub fn wait_until<T>(limit: impl Into<Option<Duration>>, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let limit = limit.into();
    let wait = Wait::on("something that it looks for again and again").at_most(limit);
    let Some(driver) = driver::current() else { return wait_outside(limit, look) };
    let until = limit.map(|limit| driver.now().saturating_add(limit));
    let mut answer = None;
    let mut is_there = || {
        answer = look();
        answer.is_some()
    };
    driver.poll(&mut is_there, until, &wait);
    answer
}

fn wait_outside<T>(limit: Option<Duration>, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let nobody = Arc::new(Parker::new());
    let step = Duration::from_millis(1);
    let mut left = limit;
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if left == Some(Duration::ZERO) {
            return None;
        }
        yield_now();
        let pause = left.map_or(step, |left| left.min(step));
        park(&nobody, &Wait::on("the next look").at_most(Some(pause)));
        left = left.map(|left| left.saturating_sub(pause));
    }
}

/// A place where something else may go on first: in baton mode, at the rate of [`Faults::yields`](super::Faults::yields). Elsewhere it does nothing.
pub fn yield_point(name: &'static str) {
    if let Some(driver) = driver::current() {
        driver.yield_at(name);
    }
}
