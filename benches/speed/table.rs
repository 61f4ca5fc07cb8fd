//! The table at the end: one line per figure.

use std::any::Any;

use crate::samples::Spread;

/// Of what kept a figure from being measured.
const REASON_CHARS: usize = 120;

/// What a figure must keep.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// It is told, and nothing is asked of it.
    Told,
}

/// One figure as it was measured.
pub struct Figure {
    pub name: String,
    /// `None`: it could not be measured, which counts as missed.
    pub value: Option<f64>,
    pub unit: &'static str,
    pub bound: Option<Bound>,
    /// What the value came from.
    pub note: String,
}

impl Figure {
    /// The median of ratios, product to baseline.
    pub fn ratio(name: &str, ratios: &Spread, bound: f64, note: impl Into<String>) -> Figure {
        Figure {
            name: name.to_owned(),
            value: Some(ratios.median),
            unit: "x",
            bound: Some(Bound::AtMost(bound)),
            note: format!(
                "{:.2}-{:.2} in {} pairs; {}",
                ratios.least,
                ratios.most,
                ratios.count,
                note.into()
            ),
        }
    }

    /// Things done in a second.
    pub fn rate(name: &str, value: f64, least: f64, note: impl Into<String>) -> Figure {
        Figure {
            name: name.to_owned(),
            value: Some(value),
            unit: "/s",
            bound: Some(Bound::AtLeast(least)),
            note: note.into(),
        }
    }

    /// How much larger a cost is where there is more: what a cost model says of growth.
    pub fn growth(name: &str, value: f64, most: f64, note: impl Into<String>) -> Figure {
        Figure {
            name: name.to_owned(),
            value: Some(value),
            unit: "x",
            bound: Some(Bound::AtMost(most)),
            note: note.into(),
        }
    }

    pub fn told(name: &str, value: f64, unit: &'static str, note: impl Into<String>) -> Figure {
        Figure {
            name: name.to_owned(),
            value: Some(value),
            unit,
            bound: Some(Bound::Told),
            note: note.into(),
        }
    }

    /// What it panicked with stands above the table in full.
    pub fn failed(name: &str, panic: Box<dyn Any + Send>) -> Figure {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let first = text.unwrap_or("").lines().next().unwrap_or("");
        let why: String = first.chars().take(REASON_CHARS).collect();
        Figure {
            name: name.to_owned(),
            value: None,
            unit: "-",
            bound: None,
            note: format!("not measured: {why}"),
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.value, self.bound) {
            (Some(value), Some(Bound::AtMost(most))) if value <= most => "ok",
            (Some(value), Some(Bound::AtLeast(least))) if value >= least => "ok",
            (Some(_), Some(Bound::Told)) => "-",
            _ => "MISS",
        }
    }
}

/// Where it was measured: figures of two machines do not compare.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key));
        let value = line.and_then(|l| l.split_once(':')).map(|(_, v)| v.trim());
        value.unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = line(&read("/proc/meminfo"), "MemTotal");
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    format!(
        "{cores} cores of {}, {} GiB, Linux {}; load {}",
        line(&read("/proc/cpuinfo"), "model name"),
        kib.div_ceil(1 << 20),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or("unknown"),
    )
}

/// Name, value, unit, bound, verdict, and how it was found.
pub fn print(figures: &[Figure], machine: &str) {
    let width = figures.iter().map(|f| f.name.len()).max().unwrap_or(0);
    println!("\n{machine} at the start");
    for figure in figures {
        let value = figure.value.map_or("-".to_owned(), |v| match v {
            v if v >= 1000.0 => format!("{v:.0}"),
            v => format!("{v:.2}"),
        });
        let bound = match figure.bound {
            Some(Bound::AtMost(most)) => format!("<= {most}"),
            Some(Bound::AtLeast(least)) => format!(">= {least}"),
            Some(Bound::Told) | None => "-".to_owned(),
        };
        println!(
            "{:width$}  {value:>7} {:<4} {bound:>9}  {:<4}  ({})",
            figure.name,
            figure.unit,
            figure.verdict(),
            figure.note
        );
    }
}
