//! Values whose end belongs to a runner, wherever their last owner is.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::pool::task_builder::{Spec, Target};
use crate::task::panic::drop_quietly;

/// Takes a value to its grave.
trait Grave<T>: Send + Sync {
    fn bury(&self, value: T);
}

struct At<R> {
    runner: R,
    spec: Spec,
}

impl<R: Target + Send + Sync, T: Send + 'static> Grave<T> for At<R> {
    fn bury(&self, value: T) {
        // A refusal has been reported; the value is dropped here then.
        let refused = self.runner.post(self.spec.clone(), move || drop(value)).err();
        drop_quietly(refused);
    }
}

/// A value that is dropped on its runner, by a task of its own; used like a `Box`. `Arc<DropOn<T>>` is the shared form.
///
/// # Guarantees
///
/// - The value is dropped in a task of the runner, after what was posted there before, also when the last owner is on that runner itself.
/// - If the runner refuses the task (closed, shut down), that is reported as a rejection, and the value is dropped where its owner is; if the runner drops the task, where it drops it.
///
/// # Examples
///
/// ```
/// use overstrand::{DropOn, SequencedTaskRunner, TaskTraits, ThreadPool};
///
/// struct Texture(u32);
///
/// impl Drop for Texture {
///     fn drop(&mut self) {
///         assert!(SequencedTaskRunner::current().is_some_and(|runner| runner.name() == Some("gl")));
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let gl = SequencedTaskRunner::builder(&pool).name("gl").build()?;
/// let texture = DropOn::new(&gl, Texture(7));
/// assert_eq!(texture.0, 7);
/// drop(texture);
/// gl.flush()?;
/// # Ok(())
/// # }
/// ```
pub struct DropOn<T: Send + 'static> {
    value: Option<T>,
    grave: Box<dyn Grave<T>>,
}

impl<T: Send + 'static> DropOn<T> {
    /// A value that will be dropped on that runner.
    #[must_use]
    #[track_caller]
    pub fn new<R: Target>(runner: &R, value: T) -> Self {
        let spec = Spec::here(runner.default_traits());
        Self { value: Some(value), grave: Box::new(At { runner: runner.anchor(), spec }) }
    }

    /// The value, to be dropped wherever.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        match self.value.take() {
            Some(value) => value,
            None => unreachable!("only this and the drop take it"),
        }
    }
}

impl<T: Send + 'static> Deref for DropOn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl<T: Send + 'static> DerefMut for DropOn<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl<T: Send + 'static> Drop for DropOn<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.grave.bury(value);
        }
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for DropOn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DropOn").field(&**self).finish()
    }
}
