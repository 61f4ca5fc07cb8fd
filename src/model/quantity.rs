//! Amounts: cpu, memory, counts or percents, durations, as operators write them.
//!
//! Grammar of quantities: Kubernetes' (`250m`, `1.5`, `128Mi`, `1G`); of
//! durations: a number with one of `ms`, `s`, `m`, `h`. All arithmetic is
//! checked: a text that overflows is an error, never a wrapped number.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not an amount; says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {want}")]
pub struct QuantityError {
    pub text: String,
    pub want: &'static str,
}

fn bad(text: &str, want: &'static str) -> QuantityError {
    QuantityError {
        text: text.to_owned(),
        want,
    }
}

/// Longest duration a spec may carry: 366 days.
pub const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// Splits `12.5Ki` into the number in thousandths and the unit.
fn number_and_unit(text: &str) -> Option<(u128, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 18 || fraction.len() > 3 || number.ends_with('.') {
        return None;
    }
    let thousandths: u128 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole.parse::<u128>().ok()? * 1000 + thousandths, unit))
}

/// Cpu in thousandths of a core: `250m`, `1`, `0.5`.
pub fn parse_cpu(text: &str) -> Result<u64, QuantityError> {
    let want = "a cpu quantity such as 250m, 0.5 or 2";
    let (thousandths, unit) = number_and_unit(text).ok_or_else(|| bad(text, want))?;
    let millis = match unit {
        "" => thousandths,
        "m" if thousandths.is_multiple_of(1000) => thousandths / 1000,
        _ => return Err(bad(text, want)),
    };
    u64::try_from(millis)
        .ok()
        .filter(|&m| m <= 1_000_000_000)
        .ok_or_else(|| bad(text, want))
}

/// Memory in bytes: `128Mi`, `1.5Gi`, `500M`, `1048576`.
pub fn parse_memory(text: &str) -> Result<u64, QuantityError> {
    let want = "a memory quantity such as 128Mi, 1.5Gi or 500M";
    let (thousandths, unit) = number_and_unit(text).ok_or_else(|| bad(text, want))?;
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1000u128.pow(2),
        "G" => 1000u128.pow(3),
        "T" => 1000u128.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(bad(text, want)),
    };
    thousandths
        .checked_mul(factor)
        .map(|bytes| bytes / 1000)
        .and_then(|bytes| u64::try_from(bytes).ok())
        .filter(|&bytes| bytes <= 1 << 50)
        .ok_or_else(|| bad(text, want))
}

/// A duration: `500ms`, `10s`, `2m`, `1.5h`; at most [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let want = "a duration such as 500ms, 10s, 2m or 1h (at most 366 days)";
    let (thousandths, unit) = number_and_unit(text).ok_or_else(|| bad(text, want))?;
    let millis = match unit {
        "ms" => thousandths / 1000,
        "s" => thousandths,
        "m" => thousandths * 60,
        "h" => thousandths * 3600,
        _ => return Err(bad(text, want)),
    };
    u64::try_from(millis)
        .ok()
        .map(Duration::from_millis)
        .filter(|&d| d <= MAX_DURATION)
        .ok_or_else(|| bad(text, want))
}

/// Shortest exact form that [`parse_duration`] reads back.
pub fn format_duration(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

/// `250m`, `2`.
pub fn format_cpu(millis: u64) -> String {
    if millis.is_multiple_of(1000) {
        (millis / 1000).to_string()
    } else {
        format!("{millis}m")
    }
}

/// Largest binary unit that divides the amount: `128Mi`; plain bytes otherwise.
pub fn format_memory(bytes: u64) -> String {
    for (shift, unit) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Cpu and memory together: a request, a capacity, or what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl Resources {
    pub fn plus(self, other: Resources) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }
    pub fn minus(self, other: Resources) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
        }
    }
    /// Whether `self` is inside `room` in every dimension.
    pub fn fits(self, room: Resources) -> bool {
        self.cpu_millis <= room.cpu_millis && self.memory_bytes <= room.memory_bytes
    }
}

/// A number of instances, or a share of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CountOrPercent {
    Count(u32),
    Percent(u32),
}

impl CountOrPercent {
    /// Kubernetes' rounding: surge rounds up, unavailability rounds down.
    pub fn of_rounding_up(self, replicas: u32) -> u32 {
        match self {
            CountOrPercent::Count(n) => n,
            CountOrPercent::Percent(p) => {
                u32::try_from((u64::from(replicas) * u64::from(p)).div_ceil(100))
                    .unwrap_or(u32::MAX)
            }
        }
    }
    pub fn of_rounding_down(self, replicas: u32) -> u32 {
        match self {
            CountOrPercent::Count(n) => n,
            CountOrPercent::Percent(p) => {
                u32::try_from(u64::from(replicas) * u64::from(p) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

impl fmt::Display for CountOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CountOrPercent::Count(n) => write!(f, "{n}"),
            CountOrPercent::Percent(p) => write!(f, "{p}%"),
        }
    }
}

/// Durations as the text operators write, for `#[serde(with = "…")]`.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::format_duration(*d))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}
