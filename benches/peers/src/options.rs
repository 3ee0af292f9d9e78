//! The command line, of the parent and of the children that it starts.

use crate::cell::{self, Cell};
use crate::contender::Entry;
use crate::contenders;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Compares overstrand with its Rust peers; prints Markdown tables.

  --rounds N     samples per cell and contender (7)
  --cells A,B    only these cells: ids, or whole leading parts of ids, as W1 or W4-1000
  --only A,B     only these contenders
  --scale X      this share of the operations of each cell (1.0)
  --quick        short for --rounds 3 --scale 0.2
  --help         this text";

/// What this process is to do.
pub(crate) enum Mode {
    /// Print the help.
    Help,
    /// Start the children and print the tables.
    Parent(Plan),
    /// Run one sample and print its readings.
    Child {
        /// The cell.
        cell: Cell,
        /// Who runs it.
        contender: &'static Entry,
        /// Share of the operations.
        scale: f64,
    },
}

/// What the parent is to measure.
pub(crate) struct Plan {
    /// Samples per cell and contender.
    pub(crate) rounds: usize,
    /// Share of the operations of each cell.
    pub(crate) scale: f64,
    /// The cells, in the order of the tables.
    pub(crate) cells: Vec<Cell>,
    /// The contenders, in the order of the tables.
    pub(crate) contenders: Vec<&'static Entry>,
}

/// The arguments that make a child of this program run one sample; `parse` knows them.
pub(crate) fn child_arguments(cell: &Cell, contender: &Entry, scale: f64) -> [String; 4] {
    ["--child".into(), cell.to_string(), contender.name.into(), scale.to_string()]
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Mode, String> {
    let mut arguments = arguments;
    let mut plan = Plan { rounds: 7, scale: 1.0, cells: cell::all(), contenders: contenders::all() };
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--help" => return Ok(Mode::Help),
            "--child" => return child(&value()?, &value()?, &value()?),
            "--rounds" => plan.rounds = number(&value()?)?,
            "--scale" => plan.scale = number(&value()?)?,
            "--quick" => (plan.rounds, plan.scale) = (3, 0.2),
            "--cells" => plan.cells = cells_named(&value()?)?,
            "--only" => plan.contenders = contenders_named(&value()?)?,
            _ => return Err(format!("unknown option {option}")),
        }
    }
    if plan.rounds == 0 || !(plan.scale > 0.0 && plan.scale <= 10.0) {
        return Err("--rounds starts at 1, --scale is above 0 and at most 10".into());
    }
    Ok(Mode::Parent(plan))
}

/// The sample of a child.
fn child(cell: &str, contender: &str, scale: &str) -> Result<Mode, String> {
    let cells = cells_named(cell)?;
    let contenders = contenders_named(contender)?;
    Ok(Mode::Child { cell: cells[0], contender: contenders[0], scale: number(scale)? })
}

/// The cells that any of the filters names, in the order of the tables.
fn cells_named(filters: &str) -> Result<Vec<Cell>, String> {
    let mut cells = cell::all();
    if let Some(unknown) = filters.split(',').find(|filter| !cells.iter().any(|cell| cell.matches(filter))) {
        let ids: Vec<String> = cells.iter().map(ToString::to_string).collect();
        return Err(format!("no cell {unknown:?}; there are {}", ids.join(", ")));
    }
    cells.retain(|cell| filters.split(',').any(|filter| cell.matches(filter)));
    Ok(cells)
}

/// The contenders of these names, in the order of the tables.
fn contenders_named(names: &str) -> Result<Vec<&'static Entry>, String> {
    let mut entries = contenders::all();
    if let Some(unknown) = names.split(',').find(|name| !entries.iter().any(|entry| entry.name == *name)) {
        let known: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        return Err(format!("no contender {unknown:?}; there are {}", known.join(", ")));
    }
    entries.retain(|entry| names.split(',').any(|name| name == entry.name));
    Ok(entries)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number here: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::{Mode, Plan, child_arguments, parse};

    fn plan(arguments: &str) -> Result<Plan, String> {
        match parse(arguments.split_whitespace().map(String::from))? {
            Mode::Parent(plan) => Ok(plan),
            Mode::Help | Mode::Child { .. } => Err("not a plan".into()),
        }
    }

    #[test]
    fn filters_keep_the_order_of_the_tables() {
        let plan = plan("--only tokio,rayon --cells W3,W2 --rounds 2").unwrap();
        let names: Vec<&str> = plan.contenders.iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["rayon", "tokio"]);
        assert_eq!(plan.cells.len(), 6);
        assert_eq!(plan.cells[0].to_string(), "W2-1w");
        assert_eq!(plan.rounds, 2);
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_there_is() {
        assert!(plan("--cells W77").err().is_some_and(|message| message.contains("W1-1w1p")));
        assert!(plan("--only goroutine").err().is_some_and(|message| message.contains("rayon")));
        assert!(plan("--rounds").is_err());
        assert!(plan("--rounds 0").is_err());
        assert!(plan("--scale NaN").is_err());
        assert!(plan("--fast").is_err());
    }

    #[test]
    fn child_gets_the_sample_that_the_parent_means() {
        let all = plan("").unwrap();
        for meant in &all.cells {
            let arguments = child_arguments(meant, all.contenders[0], 0.5);
            let Ok(Mode::Child { cell, contender, scale }) = parse(arguments.into_iter()) else {
                panic!("not a child")
            };
            assert_eq!(cell.to_string(), meant.to_string());
            assert_eq!(contender.name, all.contenders[0].name);
            assert!((scale - 0.5).abs() < f64::EPSILON);
        }
    }
}
