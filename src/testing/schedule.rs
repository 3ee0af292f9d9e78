//! Who goes on next: the choices of one run, made by a strategy from a seed, and their trace.
//!
//! A *choice* is made whenever something can run: among the workers (and in baton mode threads) that can go on, and the timers that are due. The trace keeps
//! only the choices that deviate from the *plain rule*: stay with whoever ran last while it can go on, else take the lowest number. So a trace
//! is short, and dropping deviations from it makes a simpler schedule, which is how a failure is shrunk.
//!
//! Each domain has random numbers of its own, so that a fault more or less does not reshuffle the schedule.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

/// Decisions that are kept for the report of a failure.
const RECENT: usize = 200;

/// The last step at which a PCT schedule may change its mind. Short scenarios are over by then, long ones have had their changes early.
const PCT_STEPS: u64 = 400;

/// How a schedule chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// One of the others, by the seed: the default. No single strategy finds everything, and plain randomness misses classic races.
    Portfolio,
    /// Each choice by lot.
    Random,
    /// Priorities by lot, with `depth - 1` changes at random steps (probabilistic concurrency testing).
    Pct {
        /// How many ordered events it takes to meet the bug.
        depth: u32,
    },
    /// Everybody in turn.
    RoundRobin,
    /// The lowest number always: the same order for every seed.
    Strict,
    /// One, by lot, goes on only when nobody else can.
    StarveOne,
    /// The choices of a trace.
    Replay(Trace),
}

impl Strategy {
    /// What the portfolio has for a seed.
    fn resolve(self, seed: u64) -> Self {
        match self {
            Self::Portfolio => match seed % 7 {
                0 => Self::Random,
                1 => Self::Pct { depth: 2 },
                2 => Self::Pct { depth: 3 },
                3 => Self::StarveOne,
                4 => Self::Pct { depth: 5 },
                5 => Self::RoundRobin,
                _ => Self::Random,
            },
            chosen => chosen,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portfolio => f.write_str("portfolio"),
            Self::Random => f.write_str("random"),
            Self::Pct { depth } => write!(f, "pct{depth}"),
            Self::RoundRobin => f.write_str("round-robin"),
            Self::Strict => f.write_str("strict"),
            Self::StarveOne => f.write_str("starve-one"),
            Self::Replay(_) => f.write_str("replay"),
        }
    }
}

/// The choices of a run: at which steps it deviated from the plain rule, and to whom.
///
/// Its text, like `3=1,10=0`, is what a failure prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub(super) BTreeMap<u64, u32>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (step, actor)) in self.0.iter().enumerate() {
            write!(f, "{}{step}={actor}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A text that is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form step=actor")]
pub struct InvalidTrace(String);

impl FromStr for Trace {
    type Err = InvalidTrace;

    fn from_str(text: &str) -> Result<Self, InvalidTrace> {
        let invalid = |part: &str| InvalidTrace(part.to_owned());
        let pair = |part: &str| {
            let (step, actor) = part.split_once('=').ok_or_else(|| invalid(part))?;
            let step = step.trim().parse().map_err(|_| invalid(part))?;
            Ok((step, actor.trim().parse().map_err(|_| invalid(part))?))
        };
        text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// One step, for the report of a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) step: u64,
    pub(super) actor: u32,
    pub(super) nanos: u64,
    pub(super) ran: Option<&'static std::panic::Location<'static>>,
}

/// The choices of one run.
#[derive(Debug)]
pub(super) struct Schedule {
    strategy: Strategy,
    rng: Rng,
    /// What is varied beside the choices.
    lots: Rng,
    /// PCT: who goes first; changes take them down.
    ranks: BTreeMap<u32, u64>,
    changes: Vec<u64>,
    lowest_rank: u64,
    victim: Option<u32>,
    last: Option<u32>,
    steps: u64,
    last_task: u64,
    hash: u64,
    deviations: Trace,
    recent: VecDeque<Decision>,
}

impl Schedule {
    pub(super) fn new(strategy: Strategy, seed: u64) -> Self {
        let strategy = strategy.resolve(seed);
        let mut rng = Rng::with_seed(seed);
        let changes = match strategy {
            Strategy::Pct { depth } => (1..depth).map(|_| change_step(&mut rng)).collect(),
            _ => Vec::new(),
        };
        Self {
            strategy,
            rng,
            lots: Rng::with_seed(seed ^ 0x1075_1075_1075_1075),
            ranks: BTreeMap::new(),
            changes,
            lowest_rank: u64::from(u32::MAX),
            victim: None,
            last: None,
            steps: 0,
            last_task: 0,
            hash: 0xCBF2_9CE4_8422_2325,
            deviations: Trace::default(),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn strategy(&self) -> &Strategy {
        &self.strategy
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn steps_since_a_task(&self) -> u64 {
        self.steps - self.last_task
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.deviations
    }

    pub(super) fn recent(&self) -> impl Iterator<Item = &Decision> {
        self.recent.iter()
    }

    /// Chooses one of the actors, which are given in ascending order.
    pub(super) fn choose(&mut self, actors: &[u32], nanos: u64) -> u32 {
        let plain = self.last.filter(|last| actors.contains(last)).unwrap_or(actors[0]);
        let chosen = if actors.len() == 1 { plain } else { self.decide(actors, plain) };
        if chosen != plain {
            self.deviations.0.insert(self.steps, chosen);
        }
        self.note(u64::from(chosen) ^ nanos.rotate_left(32));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Decision { step: self.steps, actor: chosen, nanos, ran: None });
        self.last = Some(chosen);
        self.steps += 1;
        chosen
    }

    /// A random number beside the choices.
    pub(super) fn draw(&mut self) -> u32 {
        self.lots.u32(..)
    }

    fn decide(&mut self, actors: &[u32], plain: u32) -> u32 {
        match &self.strategy {
            Strategy::Portfolio | Strategy::Random => actors[self.rng.usize(..actors.len())],
            Strategy::Pct { .. } => self.highest_rank(actors),
            Strategy::RoundRobin => {
                let last = self.last.unwrap_or(u32::MAX);
                actors.iter().copied().find(|actor| *actor > last).unwrap_or(actors[0])
            }
            Strategy::Strict => actors[0],
            Strategy::StarveOne => self.anybody_but_the_victim(actors),
            Strategy::Replay(trace) => {
                let wanted = trace.0.get(&self.steps).copied();
                wanted.filter(|actor| actors.contains(actor)).unwrap_or(plain)
            }
        }
    }

    fn highest_rank(&mut self, actors: &[u32]) -> u32 {
        if self.changes.contains(&self.steps) {
            if let Some(last) = self.last {
                self.lowest_rank -= 1;
                self.ranks.insert(last, self.lowest_rank);
            }
        }
        let rng = &mut self.rng;
        for actor in actors {
            self.ranks.entry(*actor).or_insert_with(|| rng.u64(u64::from(u32::MAX)..));
        }
        let ranks = &self.ranks;
        actors.iter().copied().max_by_key(|actor| ranks.get(actor)).unwrap_or(actors[0])
    }

    fn anybody_but_the_victim(&mut self, actors: &[u32]) -> u32 {
        let rng = &mut self.rng;
        let victim = *self.victim.get_or_insert_with(|| actors[rng.usize(..actors.len())]);
        let others: Vec<u32> = actors.iter().copied().filter(|actor| *actor != victim).collect();
        others[self.rng.usize(..others.len())]
    }

    /// Adds an event to the hash.
    pub(super) fn note(&mut self, event: u64) {
        for byte in event.to_le_bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// What the last decision led to.
    pub(super) fn note_run(&mut self, location: &'static std::panic::Location<'static>) {
        for byte in location.file().bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.note(u64::from(location.line()) << 32 | u64::from(location.column()));
        self.last_task = self.steps;
        if let Some(decision) = self.recent.back_mut() {
            decision.ran = Some(location);
        }
    }
}

/// A step at which PCT changes its mind: early ones more likely, since most scenarios are short.
fn change_step(rng: &mut Rng) -> u64 {
    let magnitude = rng.u32(1..=PCT_STEPS.ilog2());
    rng.u64(1..=1 << magnitude)
}
