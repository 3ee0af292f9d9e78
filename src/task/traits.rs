//! What a poster says about a task: how urgent it is, what shutdown means for it, whether it blocks.
#![forbid(unsafe_code)]

/// How urgent a task is. `UserBlocking > UserVisible > BestEffort`.
///
/// A free worker takes the highest waiting class first (PRI-1), except for one pick in every 61, which takes the lowest
/// non-empty class first, so that nothing starves (PRI-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Nobody waits for it: clean-up, prefetching, statistics. At most `max_best_effort` workers run it at once (PRI-3).
    ///
    /// Pitfall: a lock that is also taken by urgent tasks is held for as long as this task is not scheduled.
    BestEffort = 0,
    /// Somebody sees the result, but goes on meanwhile: loading a page, saving a document. The default.
    #[default]
    UserVisible = 1,
    /// Somebody waits for the result and can do nothing else: reacting to a key, answering a request.
    ///
    /// Pitfall: if everything is urgent, nothing is.
    UserBlocking = 2,
}

impl Priority {
    /// All classes, the least urgent one first.
    pub(crate) const ASCENDING: [Self; 3] = [Self::BestEffort, Self::UserVisible, Self::UserBlocking];

    /// All classes, the most urgent one first.
    pub(crate) const DESCENDING: [Self; 3] = [Self::UserBlocking, Self::UserVisible, Self::BestEffort];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        // WHY a table: it is asked several times for each task, and a `match` is branches.
        const OF: [Priority; 4] =
            [Priority::BestEffort, Priority::UserVisible, Priority::UserBlocking, Priority::UserBlocking];
        OF[(bits & 0b11) as usize]
    }
}

/// What shutdown means for a task (SHUT-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ShutdownBehavior {
    /// Nobody waits for it: queued ones are dropped, a running one may outlive the pool and is named in the report.
    ///
    /// Pitfall: it may run while the program tears down what it uses.
    ContinueOnShutdown,
    /// Queued ones are dropped, a running one is waited for. The default.
    #[default]
    SkipOnShutdown,
    /// Queued and running ones finish first; one that is posted during shutdown still runs (SHUT-2).
    ///
    /// Pitfall: it keeps the program from ending. For what must not be lost, not for what would be nice.
    BlockShutdown,
}

impl ShutdownBehavior {
    const fn from_bits(bits: u32) -> Self {
        const OF: [ShutdownBehavior; 4] = [
            ShutdownBehavior::ContinueOnShutdown,
            ShutdownBehavior::SkipOnShutdown,
            ShutdownBehavior::BlockShutdown,
            ShutdownBehavior::BlockShutdown,
        ];
        OF[(bits & 0b11) as usize]
    }

    const fn bits(self) -> u32 {
        match self {
            Self::ContinueOnShutdown => 0,
            Self::SkipOnShutdown => 1,
            Self::BlockShutdown => 2,
        }
    }
}

/// The traits of a task or of a runner: plain data, built in constants.
///
/// ```
/// use overstrand::{Priority, ShutdownBehavior, TaskTraits};
///
/// const DATABASE: TaskTraits = TaskTraits::user_blocking().may_block().block_shutdown();
/// assert_eq!(DATABASE.priority(), Priority::UserBlocking);
/// assert_eq!(DATABASE.shutdown_behavior(), ShutdownBehavior::BlockShutdown);
/// assert_eq!(TaskTraits::default().priority(), Priority::UserVisible);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TaskTraits {
    priority: Priority,
    shutdown: ShutdownBehavior,
    may_block: bool,
    long_running: bool,
}

impl TaskTraits {
    const fn of(priority: Priority) -> Self {
        Self { priority, shutdown: ShutdownBehavior::SkipOnShutdown, may_block: false, long_running: false }
    }

    /// Traits of class [`Priority::BestEffort`].
    #[must_use]
    pub const fn best_effort() -> Self {
        Self::of(Priority::BestEffort)
    }

    /// Traits of class [`Priority::UserVisible`], the default.
    #[must_use]
    pub const fn user_visible() -> Self {
        Self::of(Priority::UserVisible)
    }

    /// Traits of class [`Priority::UserBlocking`].
    #[must_use]
    pub const fn user_blocking() -> Self {
        Self::of(Priority::UserBlocking)
    }

    /// The same with another priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The task may wait for something outside the process: files, the network, another program.
    ///
    /// It is a note for readers and changes nothing: what blocks is told to the pool by [`blocking`](crate::blocking()), or by [`long_running`](Self::long_running).
    #[must_use]
    pub const fn may_block(mut self) -> Self {
        self.may_block = true;
        self
    }

    /// The task is expected to run for long, perhaps as long as the program.
    ///
    /// While it runs, another thread takes its worker's place, up to [`max_threads`](crate::ThreadPoolBuilder::max_threads) (BLK-2). It is never reported as a stall.
    #[must_use]
    pub const fn long_running(mut self) -> Self {
        self.long_running = true;
        self
    }

    /// [`ShutdownBehavior::SkipOnShutdown`], the default.
    #[must_use]
    pub const fn skip_on_shutdown(mut self) -> Self {
        self.shutdown = ShutdownBehavior::SkipOnShutdown;
        self
    }

    /// [`ShutdownBehavior::ContinueOnShutdown`].
    #[must_use]
    pub const fn continue_on_shutdown(mut self) -> Self {
        self.shutdown = ShutdownBehavior::ContinueOnShutdown;
        self
    }

    /// [`ShutdownBehavior::BlockShutdown`].
    #[must_use]
    pub const fn block_shutdown(mut self) -> Self {
        self.shutdown = ShutdownBehavior::BlockShutdown;
        self
    }

    /// How urgent the task is.
    #[must_use]
    pub const fn priority(self) -> Priority {
        self.priority
    }

    /// What shutdown means for the task.
    #[must_use]
    pub const fn shutdown_behavior(self) -> ShutdownBehavior {
        self.shutdown
    }

    /// Whether [`may_block`](Self::may_block) was said.
    #[must_use]
    pub const fn is_may_block(self) -> bool {
        self.may_block
    }

    /// Whether [`long_running`](Self::long_running) was said.
    #[must_use]
    pub const fn is_long_running(self) -> bool {
        self.long_running
    }
}

impl From<Priority> for TaskTraits {
    fn from(priority: Priority) -> Self {
        Self::of(priority)
    }
}

/// The traits of one task, packed into the word that travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta(u32);

impl Meta {
    const SHUTDOWN_SHIFT: u32 = 2;
    const MAY_BLOCK: u32 = 1 << 4;
    const LONG_RUNNING: u32 = 1 << 5;
    const EXTENDED: u32 = 1 << 6;
    const LIFTED: u32 = 1 << 7;

    pub(crate) const fn new(traits: TaskTraits) -> Self {
        let mut bits = traits.priority as u32 | traits.shutdown.bits() << Self::SHUTDOWN_SHIFT;
        if traits.may_block {
            bits |= Self::MAY_BLOCK;
        }
        if traits.long_running {
            bits |= Self::LONG_RUNNING;
        }
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn priority(self) -> Priority {
        Priority::from_bits(self.0)
    }

    pub(crate) const fn shutdown_behavior(self) -> ShutdownBehavior {
        ShutdownBehavior::from_bits(self.0 >> Self::SHUTDOWN_SHIFT)
    }

    pub(crate) fn blocks_shutdown(self) -> bool {
        self.shutdown_behavior() == ShutdownBehavior::BlockShutdown
    }

    pub(crate) fn continues_on_shutdown(self) -> bool {
        self.shutdown_behavior() == ShutdownBehavior::ContinueOnShutdown
    }

    pub(crate) const fn is_long_running(self) -> bool {
        self.0 & Self::LONG_RUNNING != 0
    }

    /// The task has a name, a span or a time stamp.
    pub(crate) const fn is_extended(self) -> bool {
        self.0 & Self::EXTENDED != 0
    }

    pub(crate) const fn extended(self) -> Self {
        Self(self.0 | Self::EXTENDED)
    }

    /// The task counts towards the effective priority of the sequence it is queued in (PRI-4).
    pub(crate) const fn is_lifted(self) -> bool {
        self.0 & Self::LIFTED != 0
    }

    pub(crate) const fn lifted(self) -> Self {
        Self(self.0 | Self::LIFTED)
    }
}
