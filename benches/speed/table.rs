//! The table at the end: one line per figure.

use std::any::Any;

use crate::samples::Spread;

/// Of what kept a figure from being measured.
const REASON_CHARS: usize = 120;

/// One figure as it was measured.
pub struct Figure {
    pub name: String,
    /// `None`: it could not be measured, which counts as missed.
    pub value: Option<f64>,
    pub unit: &'static str,
    /// At most this.
    pub bound: Option<f64>,
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
            bound: Some(bound),
            note: format!(
                "{:.2}-{:.2} in {} pairs; {}",
                ratios.least,
                ratios.most,
                ratios.count,
                note.into()
            ),
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
            (Some(value), Some(bound)) if value <= bound => "ok",
            _ => "MISS",
        }
    }
}

/// Name, value, unit, bound, verdict, and how it was found.
pub fn print(figures: &[Figure]) {
    let width = figures.iter().map(|f| f.name.len()).max().unwrap_or(0);
    println!();
    for figure in figures {
        let value = figure.value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        let bound = figure.bound.map_or("-".to_owned(), |b| format!("<= {b}"));
        println!(
            "{:width$}  {value:>7} {:<2} {bound:>8}  {:<4}  ({})",
            figure.name,
            figure.unit,
            figure.verdict(),
            figure.note
        );
    }
}
