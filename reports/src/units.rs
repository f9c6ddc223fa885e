//! Numbers for people: exact where a verdict hangs on them, rounded and with a
//! larger unit on axes and in tables. It must not know what is measured.

use cgauge_record::{Quantity, Unit};

/// The exact number with its unit, and the readable one where it differs:
/// `1500000 ns (1.5 ms)`.
pub(crate) fn exact(quantity: &Quantity, unit: Unit) -> String {
    let plain = match quantity.number() {
        Some(number) if !counted(unit, number).is_empty() => {
            format!("{quantity} {}", counted(unit, number))
        }
        _ => quantity.to_string(),
    };
    match quantity.number() {
        Some(number) if scale(unit, number).factor != 1.0 => {
            format!("{plain} ({})", readable(number, unit))
        }
        _ => plain,
    }
}

/// A quantity with three significant digits in the unit that reads best.
pub(crate) fn rounded(quantity: &Quantity, unit: Unit) -> String {
    quantity.number().map_or_else(|| quantity.to_string(), |it| readable(it, unit))
}

/// A number with three significant digits in the unit that reads best: `1.5 ms`.
pub(crate) fn readable(number: f64, unit: Unit) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let scale = scale(unit, number);
    let digits = significant(number / scale.factor);
    let symbol =
        if scale.factor == 1.0 && number == 1.0 { counted(unit, number) } else { scale.symbol };
    if symbol.is_empty() { digits } else { format!("{digits} {symbol}") }
}

/// A unit that numbers of a certain size are shown in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// How many of the record's unit make one of this.
    pub(crate) factor: f64,
    /// What is written behind the number; empty for a bare count.
    pub(crate) symbol: &'static str,
}

const TIME: [Scale; 4] = [
    Scale { factor: 1e9, symbol: "s" },
    Scale { factor: 1e6, symbol: "ms" },
    Scale { factor: 1e3, symbol: "µs" },
    Scale { factor: 1.0, symbol: "ns" },
];
const SIZE: [Scale; 5] = [
    Scale { factor: 1_099_511_627_776.0, symbol: "TiB" },
    Scale { factor: 1_073_741_824.0, symbol: "GiB" },
    Scale { factor: 1_048_576.0, symbol: "MiB" },
    Scale { factor: 1024.0, symbol: "KiB" },
    Scale { factor: 1.0, symbol: "bytes" },
];
const RATE: [Scale; 5] = [
    Scale { factor: 1_099_511_627_776.0, symbol: "TiB/s" },
    Scale { factor: 1_073_741_824.0, symbol: "GiB/s" },
    Scale { factor: 1_048_576.0, symbol: "MiB/s" },
    Scale { factor: 1024.0, symbol: "KiB/s" },
    Scale { factor: 1.0, symbol: "bytes/s" },
];

/// The unit in which `number` reads best. An axis asks with its greatest number.
pub(crate) fn scale(unit: Unit, number: f64) -> Scale {
    let fitting = |scales: &'static [Scale]| {
        let size = number.abs();
        scales.iter().find(|it| size >= it.factor).or(scales.last()).copied()
    };
    let found = match unit {
        Unit::Nanoseconds => fitting(&TIME),
        Unit::Microseconds => {
            let in_nanoseconds = scale(Unit::Nanoseconds, (number * 1e3).abs().max(1e3));
            Some(Scale { factor: in_nanoseconds.factor / 1e3, ..in_nanoseconds })
        }
        Unit::Bytes => fitting(&SIZE),
        Unit::BytesPerSecond => fitting(&RATE),
        _ => None,
    };
    found.unwrap_or(Scale { factor: 1.0, symbol: plural(unit) })
}

/// The unit's own symbol; nothing for a bare count.
fn plural(unit: Unit) -> &'static str {
    match unit {
        Unit::Count | Unit::Ratio | Unit::Text | Unit::Errno | Unit::Other => "",
        other => other.symbol(),
    }
}

/// `1 process`, but `2 processes`.
fn counted(unit: Unit, number: f64) -> &'static str {
    match unit {
        Unit::Processes if number == 1.0 => "process",
        Unit::Groups if number == 1.0 => "group",
        Unit::Events if number == 1.0 => "event",
        Unit::Pages if number == 1.0 => "page",
        Unit::Bytes if number == 1.0 => "byte",
        other => plural(other),
    }
}

/// Three significant digits, no needless zeros; powers of ten where it is huge.
pub(crate) fn significant(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e9).contains(&size) {
        return format!("{number:.2e}");
    }
    let decimals = match size {
        it if it == 0.0 || it >= 100.0 => 0,
        it if it >= 10.0 => 1,
        it if it >= 1.0 => 2,
        it if it >= 0.1 => 3,
        it if it >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A duration for people, from nanoseconds.
pub(crate) fn duration(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    readable(nanoseconds as f64, Unit::Nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_grow_with_the_number() {
        for (number, unit, text) in [
            (0.0, Unit::Nanoseconds, "0 ns"),
            (999.0, Unit::Nanoseconds, "999 ns"),
            (1500.0, Unit::Nanoseconds, "1.5 µs"),
            (15_998_000.0, Unit::Nanoseconds, "16 ms"),
            (2e9, Unit::Nanoseconds, "2 s"),
            (999.0, Unit::Microseconds, "999 µs"),
            (2500.0, Unit::Microseconds, "2.5 ms"),
            (7e6, Unit::Microseconds, "7 s"),
            (512.0, Unit::Bytes, "512 bytes"),
            (471_859_200.0, Unit::Bytes, "450 MiB"),
            (1_048_576.0, Unit::BytesPerSecond, "1 MiB/s"),
            (1024.0, Unit::Processes, "1024 processes"),
            (1.0, Unit::Processes, "1 process"),
            (1.0, Unit::Nanoseconds, "1 ns"),
            (0.98765, Unit::Ratio, "0.988"),
            (-3.0, Unit::Count, "-3"),
            (1e300, Unit::Count, "1.00e300"),
            (f64::NAN, Unit::Bytes, "NaN"),
        ] {
            assert_eq!(readable(number, unit), text);
        }
    }

    #[test]
    fn what_a_verdict_hangs_on_is_exact() {
        assert_eq!(exact(&Quantity::from(1_500_001), Unit::Nanoseconds), "1500001 ns (1.5 ms)");
        assert_eq!(exact(&Quantity::from(9), Unit::Processes), "9 processes");
        assert_eq!(exact(&Quantity::from(1), Unit::Processes), "1 process");
        assert_eq!(exact(&Quantity::from("EAGAIN"), Unit::Errno), "\"EAGAIN\"");
        assert_eq!(exact(&Quantity::from("max"), Unit::Processes), "\"max\"");
        assert_eq!(exact(&Quantity::from(4096), Unit::Bytes), "4096 bytes (4 KiB)");
    }
}
