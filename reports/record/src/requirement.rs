//! The names of the kernel's promises: R001 to R185 and S01 to S29.
//!
//! What each says stands in `suites/requirements.csv`; here they are only ids,
//! so that a check in the guest can name one without carrying the texts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One promise of the kernel's documents (`R132`) or of the seed list (`S13`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement(Series, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Series {
    /// The kernel's documents.
    R,
    /// The seed list.
    S,
}

/// How many requirements there are.
pub const ALL: usize = 185 + 29;

impl Requirement {
    /// Every requirement, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_documents = (1..=185).map(|it| Self(Series::R, it));
        of_documents.chain((1..=29).map(|it| Self(Series::S, it)))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Series::R => write!(f, "R{:03}", self.1),
            Series::S => write!(f, "S{:02}", self.1),
        }
    }
}

/// The text is no requirement's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRequirementError(String);

impl fmt::Display for ParseRequirementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no requirement: they are R001 to R185 and S01 to S29", self.0)
    }
}

impl std::error::Error for ParseRequirementError {}

impl FromStr for Requirement {
    type Err = ParseRequirementError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (series, digits) = text.split_at_checked(1)?;
            let (series, width, last) = match series {
                "R" => (Series::R, 3, 185),
                "S" => (Series::S, 2, 29),
                _ => return None,
            };
            let all_digits = digits.len() == width && digits.bytes().all(|it| it.is_ascii_digit());
            let number = digits.parse().ok().filter(|it| (1..=last).contains(it))?;
            all_digits.then_some(Self(series, number))
        };
        parsed().ok_or_else(|| ParseRequirementError(text.chars().take(40).collect()))
    }
}

impl Serialize for Requirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Requirement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A constant for each requirement, for checks to name: `ids::R132`.
#[rustfmt::skip]
pub mod ids {
    use super::{Requirement, Series};

    macro_rules! constants {
        ($series:ident: $($name:ident $number:literal)*) => {$(
            #[doc = concat!("Promise ", stringify!($name), " of `suites/requirements.csv`.")]
            pub const $name: Requirement = Requirement(Series::$series, $number);
        )*};
    }
    constants!(R:
        R001 1  R002 2  R003 3  R004 4  R005 5  R006 6  R007 7  R008 8
        R009 9  R010 10  R011 11  R012 12  R013 13  R014 14  R015 15  R016 16
        R017 17  R018 18  R019 19  R020 20  R021 21  R022 22  R023 23  R024 24
        R025 25  R026 26  R027 27  R028 28  R029 29  R030 30  R031 31  R032 32
        R033 33  R034 34  R035 35  R036 36  R037 37  R038 38  R039 39  R040 40
        R041 41  R042 42  R043 43  R044 44  R045 45  R046 46  R047 47  R048 48
        R049 49  R050 50  R051 51  R052 52  R053 53  R054 54  R055 55  R056 56
        R057 57  R058 58  R059 59  R060 60  R061 61  R062 62  R063 63  R064 64
        R065 65  R066 66  R067 67  R068 68  R069 69  R070 70  R071 71  R072 72
        R073 73  R074 74  R075 75  R076 76  R077 77  R078 78  R079 79  R080 80
        R081 81  R082 82  R083 83  R084 84  R085 85  R086 86  R087 87  R088 88
        R089 89  R090 90  R091 91  R092 92  R093 93  R094 94  R095 95  R096 96
        R097 97  R098 98  R099 99  R100 100  R101 101  R102 102  R103 103  R104 104
        R105 105  R106 106  R107 107  R108 108  R109 109  R110 110  R111 111  R112 112
        R113 113  R114 114  R115 115  R116 116  R117 117  R118 118  R119 119  R120 120
        R121 121  R122 122  R123 123  R124 124  R125 125  R126 126  R127 127  R128 128
        R129 129  R130 130  R131 131  R132 132  R133 133  R134 134  R135 135  R136 136
        R137 137  R138 138  R139 139  R140 140  R141 141  R142 142  R143 143  R144 144
        R145 145  R146 146  R147 147  R148 148  R149 149  R150 150  R151 151  R152 152
        R153 153  R154 154  R155 155  R156 156  R157 157  R158 158  R159 159  R160 160
        R161 161  R162 162  R163 163  R164 164  R165 165  R166 166  R167 167  R168 168
        R169 169  R170 170  R171 171  R172 172  R173 173  R174 174  R175 175  R176 176
        R177 177  R178 178  R179 179  R180 180  R181 181  R182 182  R183 183  R184 184
        R185 185
    );
    constants!(S:
        S01 1  S02 2  S03 3  S04 4  S05 5  S06 6  S07 7  S08 8
        S09 9  S10 10  S11 11  S12 12  S13 13  S14 14  S15 15  S16 16
        S17 17  S18 18  S19 19  S20 20  S21 21  S22 22  S23 23  S24 24
        S25 25  S26 26  S27 27  S28 28  S29 29
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back() {
        assert_eq!(Requirement::all().count(), ALL);
        for it in Requirement::all() {
            assert_eq!(it.to_string().parse(), Ok(it));
        }
        for text in ["", "R0", "R000", "R186", "S00", "S30", "R1320", "r132", "R+13", "é01"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
        assert_eq!(ids::R132.to_string(), "R132");
        assert_eq!(ids::S05.to_string(), "S05");
    }
}
