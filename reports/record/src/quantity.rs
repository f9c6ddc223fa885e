//! What a check observes and compares: a number or a word, with a unit.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number or a word that the kernel showed or a workload counted.
///
/// In JSON it is a plain number or string, so that scripts need not unwrap it.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// A whole number.
    Integer(i64),
    /// A number that is not whole. Never NaN or infinite.
    Real(f64),
    /// A state, an errno's name, a list.
    Text(String),
}

impl Quantity {
    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "for plots and bounds; exact comparison is `same`"
            )]
            Self::Integer(it) => Some(*it as f64),
            Self::Real(it) => Some(*it),
            Self::Text(_) => None,
        }
    }

    /// Whether both are the same number or the same word.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (a, b) => matches!((a.number(), b.number()), (Some(a), Some(b)) if a == b),
        }
    }

    /// Whether this is a number no smaller than the number `other`.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a >= b,
            (a, b) => matches!((a.number(), b.number()), (Some(a), Some(b)) if a >= b),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(it) => it.fmt(f),
            Self::Real(it) => it.fmt(f),
            Self::Text(it) => write!(f, "{it:?}"),
        }
    }
}

macro_rules! from_integer {
    ($($type:ty),*) => {$(
        impl From<$type> for Quantity {
            /// A number beyond `i64` becomes the nearest one within.
            fn from(it: $type) -> Self {
                #[allow(clippy::unnecessary_fallible_conversions, clippy::useless_conversion)]
                Self::Integer(i64::try_from(it).unwrap_or(i64::MAX))
            }
        }
    )*};
}
from_integer!(i32, i64, u16, u32, u64, usize);

impl From<f64> for Quantity {
    fn from(it: f64) -> Self {
        if it.is_finite() { Self::Real(it) } else { Self::Text(it.to_string()) }
    }
}

impl From<&str> for Quantity {
    fn from(it: &str) -> Self {
        Self::Text(it.to_owned())
    }
}

impl From<String> for Quantity {
    fn from(it: String) -> Self {
        Self::Text(it)
    }
}

impl From<&String> for Quantity {
    fn from(it: &String) -> Self {
        Self::Text(it.clone())
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(it) => serializer.serialize_i64(*it),
            Self::Real(it) => serializer.serialize_f64(*it),
            Self::Text(it) => serializer.serialize_str(it),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl Visitor<'_> for AnyScalar {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number or a string")
            }
            fn visit_i64<E: de::Error>(self, it: i64) -> Result<Quantity, E> {
                Ok(Quantity::Integer(it))
            }
            fn visit_u64<E: de::Error>(self, it: u64) -> Result<Quantity, E> {
                Ok(it.into())
            }
            fn visit_f64<E: de::Error>(self, it: f64) -> Result<Quantity, E> {
                Ok(it.into())
            }
            fn visit_str<E: de::Error>(self, it: &str) -> Result<Quantity, E> {
                Ok(it.into())
            }
        }
        deserializer.deserialize_any(AnyScalar)
    }
}

/// The unit of a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Bytes.
    #[serde(rename = "bytes")]
    Bytes,
    /// Bytes in a second.
    #[serde(rename = "bytes/s")]
    BytesPerSecond,
    /// Pages of memory.
    #[serde(rename = "pages")]
    Pages,
    /// Processes and threads, as `pids.current` counts them.
    #[serde(rename = "processes")]
    Processes,
    /// Groups.
    #[serde(rename = "groups")]
    Groups,
    /// Times that something happened.
    #[serde(rename = "events")]
    Events,
    /// Times in a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// One number over another of the same unit.
    #[serde(rename = "ratio")]
    Ratio,
    /// Things counted that no other unit here names.
    #[serde(rename = "count")]
    Count,
    /// An errno's name, or `ok`.
    #[serde(rename = "errno")]
    Errno,
    /// The text of an interface file or a word of it.
    #[serde(rename = "text")]
    Text,
    /// A unit that a later version of the schema has.
    #[serde(other, rename = "other")]
    Other,
}

impl Unit {
    /// The unit as records and people write it.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::Pages => "pages",
            Self::Processes => "processes",
            Self::Groups => "groups",
            Self::Events => "events",
            Self::PerSecond => "1/s",
            Self::Ratio => "ratio",
            Self::Count => "count",
            Self::Errno => "errno",
            Self::Text => "text",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.symbol())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_a_plain_json_scalar() {
        for (text, quantity) in [
            ("7", Quantity::Integer(7)),
            ("-1", Quantity::Integer(-1)),
            ("2.5", Quantity::Real(2.5)),
            ("\"max\"", Quantity::Text("max".into())),
        ] {
            assert_eq!(serde_json::from_str::<Quantity>(text).unwrap(), quantity);
            assert_eq!(serde_json::to_string(&quantity).unwrap(), text);
        }
        assert!(serde_json::from_str::<Quantity>("[1]").is_err());
    }

    #[test]
    fn words_are_never_within_numeric_bounds() {
        assert!(!Quantity::from("9").reaches(&Quantity::from(1)));
        assert!(!Quantity::from("9").same(&Quantity::from(9)));
        assert!(Quantity::from(9).reaches(&Quantity::from(9.0)));
    }

    #[test]
    fn what_is_no_number_does_not_pass_for_one() {
        assert_eq!(Quantity::from(f64::NAN), Quantity::Text("NaN".into()));
    }

    #[test]
    fn symbols_are_what_records_hold() {
        for unit in [Unit::Nanoseconds, Unit::BytesPerSecond, Unit::PerSecond, Unit::Text] {
            assert_eq!(serde_json::to_string(&unit).unwrap(), format!("{:?}", unit.symbol()));
        }
        assert_eq!(serde_json::from_str::<Unit>("\"furlongs\"").unwrap(), Unit::Other);
    }
}
