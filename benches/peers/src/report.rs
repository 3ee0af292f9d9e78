//! The Markdown tables.

use std::fmt;

use crate::contenders::OURS;
use crate::machine;
use crate::options::Plan;
use crate::runner::{Run, Summary};
use crate::sample::Metric;

/// A median that differs by more than this share between the rounds cannot tell 1.00 from 1.05.
const NOISY: f64 = 0.10;

/// A finished run as text.
pub(crate) struct Report<'a> {
    plan: &'a Plan,
    run: &'a Run,
    header: String,
}

/// One line of a table: a cell and what was read in it.
#[derive(Clone, Copy)]
struct Row {
    cell: usize,
    metric: Metric,
}

/// Ours against the best peer in one row.
struct Match {
    ours: Summary,
    peer: Summary,
}

impl<'a> Report<'a> {
    /// The report of this run. Asks the machine for its name and the time now.
    pub(crate) fn new(plan: &'a Plan, run: &'a Run) -> Self {
        Self { plan, run, header: machine::header(plan, run) }
    }

    /// All rows, in the order of the plan.
    fn rows(&self) -> impl Iterator<Item = Row> {
        (0..self.plan.cells.len())
            .flat_map(|cell| self.run.metrics(cell).into_iter().map(move |metric| Row { cell, metric }))
    }

    /// The row's name.
    fn label(&self, row: Row) -> String {
        format!("{} {}", self.plan.cells[row.cell], row.metric.unit())
    }

    /// What our crate did in the row.
    fn ours(&self, row: Row) -> Option<Summary> {
        let ours = self.plan.contenders.iter().position(|entry| entry.name == OURS)?;
        self.run.summary(row.cell, ours, row.metric)
    }

    /// The peer with the smallest median in the row, and its name.
    fn best_peer(&self, row: Row) -> Option<(&'static str, Summary)> {
        let peers = self.plan.contenders.iter().enumerate().filter(|(_, entry)| entry.name != OURS);
        let results = peers.filter_map(|(at, entry)| Some((entry.name, self.run.summary(row.cell, at, row.metric)?)));
        results.min_by(|left, right| left.1.median.total_cmp(&right.1.median))
    }

    /// Ours beside the best peer, with the verdict.
    fn write_verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Ours against the best Rust peer\n")?;
        writeln!(f, "| cell | ours | best peer | | ours / best | spread ours | spread best | goal | verdict |")?;
        writeln!(f, "|---|--:|--:|---|--:|--:|--:|--:|---|")?;
        let (mut won, mut judged) = (0, 0);
        for row in self.rows().filter(|row| row.metric.is_judged()) {
            let (ours, best) = (self.ours(row), self.best_peer(row));
            write!(f, "| {} | {} | ", self.label(row), median(ours))?;
            write!(f, "{} | {} | ", median(best.map(|best| best.1)), best.map_or("–", |best| best.0))?;
            let Some(game) = ours.zip(best).map(|(ours, (_, peer))| Match { ours, peer }) else {
                writeln!(f, "– | – | – | – | – |")?;
                continue;
            };
            writeln!(f, "{game}")?;
            judged += 1;
            won += u32::from(game.is_won());
        }
        writeln!(f, "\nWon: {won} of {judged} rows.\n")
    }

    /// Every contender in every row.
    fn write_all(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## All contenders: median (min–max)\n")?;
        write!(f, "| cell | operations |")?;
        self.plan.contenders.iter().try_for_each(|entry| write!(f, " {} |", entry.name))?;
        writeln!(f, "\n|---|--:|{}", "--:|".repeat(self.plan.contenders.len()))?;
        for row in self.rows() {
            write!(f, "| {} | {} |", self.label(row), self.plan.cells[row.cell].ops(self.plan.scale))?;
            for at in 0..self.plan.contenders.len() {
                write!(f, " {} |", with_range(self.run.summary(row.cell, at, row.metric)))?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }

    /// Who the contenders are, and who did not finish what.
    fn write_legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "`–`: the contender does not run that cell, or did not finish it. `CPU ns`: processor time per operation"
        )?;
        writeln!(f, "of all threads, the posting and waiting ones among them; shown, not judged.\n")?;
        for entry in &self.plan.contenders {
            writeln!(f, "- {}: {}", entry.name, entry.about)?;
        }
        for (cell, contender) in self.run.failures() {
            writeln!(f, "- **not finished**: {} in {}", self.plan.contenders[contender].name, self.plan.cells[cell])?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# overstrand and its Rust peers\n\n{}", self.header)?;
        self.write_verdicts(f)?;
        self.write_all(f)?;
        self.write_legend(f)
    }
}

impl Match {
    /// Ours as a share of the peer's median; below 1 is ahead. A peer at zero is met by zero alone.
    fn ratio(&self) -> f64 {
        if self.ours.median <= 0.0 && self.peer.median <= 0.0 { 1.0 } else { self.ours.median / self.peer.median }
    }

    /// The ratio to keep: 1.05 where the samples lie too far apart to tell.
    fn goal(&self) -> f64 {
        if self.ours.spread().max(self.peer.spread()) > NOISY { 1.05 } else { 1.00 }
    }

    fn is_won(&self) -> bool {
        self.ratio() <= self.goal()
    }
}

/// The cells of the verdict table from the ratio on.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_won() { "won" } else { "**lost**" };
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let (ours, peer) = (percent(self.ours.spread()), percent(self.peer.spread()));
        write!(f, "{:.3} | {ours} | {peer} | {:.2} | {verdict} |", self.ratio(), self.goal())
    }
}

fn median(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".into(), |summary| figure(summary.median))
}

fn with_range(summary: Option<Summary>) -> String {
    let text = |s: Summary| format!("{} ({}–{})", figure(s.median), figure(s.min), figure(s.max));
    summary.map_or_else(|| "–".into(), text)
}

/// Three digits or more.
fn figure(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        middle if middle < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Match, Summary, figure};

    fn steady(median: f64) -> Summary {
        Summary { median, min: median * 0.99, max: median * 1.01 }
    }

    #[test]
    fn noise_of_either_side_widens_the_goal() {
        assert!(!Match { ours: steady(102.0), peer: steady(100.0) }.is_won());
        let noisy = Summary { max: 130.0, ..steady(100.0) };
        assert!(Match { ours: steady(102.0), peer: noisy }.is_won());
        assert!(!Match { ours: steady(106.0), peer: noisy }.is_won());
        assert!(Match { ours: steady(100.0), peer: steady(100.0) }.is_won());
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(figure(5.678), "5.68");
        assert_eq!(figure(9.999), "10.0");
        assert_eq!(figure(99.96), "100");
        assert_eq!(figure(1234.5), "1234");
    }
}
