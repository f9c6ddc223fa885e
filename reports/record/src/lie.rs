//! The lying kernel: what a stage can be told to make a case see, to prove that
//! its checks can fail.
//!
//! Only names are here. The lies are told by the layer of the lab through which
//! every request passes.

use serde::{Deserialize, Serialize};

/// What stands between a case and the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Nothing: every request reaches the kernel, every answer the case.
    #[default]
    Honest,
    /// Nothing, but each lie that would have changed anything is written down.
    Trace,
    /// These lies, of which no two are about the same requests.
    Lies(Vec<Lie>),
    /// Nothing, but each operation that is timed is made so many thousandths
    /// slower: the proof that a gate finds it.
    Slow(u32),
}

impl Layer {
    /// Whether nothing stands between.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        *self == Self::Honest
    }
}

/// A kind of request, and what it is about: an interface file's name, a file of
/// `/proc` with `PID` for the process, a system call; nothing where it is about a
/// group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Touch {
    /// What is asked of the kernel.
    pub request: Asked,
    /// The file or system call; empty for a group.
    pub file: String,
}

/// What can be asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// To show a file.
    Read,
    /// To take a value.
    Write,
    /// To tell of a change.
    Watch,
    /// To make a group.
    Make,
    /// To remove a group.
    Remove,
    /// To start a process in a group.
    Start,
    /// To list a group's files or children.
    List,
    /// To do what a system call asks for.
    Call,
}

/// A lie about every request of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lie {
    /// About which requests.
    pub about: Touch,
    /// What is made of them.
    pub told: Told,
}

/// What a lie makes of a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Each number shown is 7/8 of the true one.
    Scaled,
    /// Each number shown is one more.
    OffByOne,
    /// The file shows for ever what it showed first.
    Frozen,
    /// A state is shown as another, a flag as its opposite, a list without its last.
    Swapped,
    /// A list is shown with what the groups next to this one have.
    More,
    /// Nothing is shown.
    Empty,
    /// Told as done, and not done; a process starts where its parent is.
    Ignored,
    /// Each number is applied twice as large.
    Doubled,
    /// Each number is applied half as large.
    Halved,
    /// Applied, and doubled a moment later.
    Forgotten,
    /// Taken, and not applied where something was before.
    Stuck,
    /// Applied to the parent in place of the group; shown of the parent.
    OnParent,
    /// Refused, and not done.
    Refused,
    /// A refusal is told as success.
    Accepted,
    /// A refusal is told with another errno.
    OtherErrno,
    /// The change is never told.
    Swallowed,
    /// The change is told ten seconds late.
    Late,
    /// A change is told that there was not, each second time that none comes.
    Unfounded,
}

impl Asked {
    /// The lies that can be told about such a request, those that most checks
    /// see first.
    #[must_use]
    pub fn lies(self) -> &'static [Told] {
        use Told::*;
        match self {
            Self::Read => {
                &[Scaled, Swapped, Frozen, OffByOne, OnParent, Empty, Accepted, OtherErrno, Refused]
            }
            Self::Write => &[
                Ignored, Refused, Accepted, OtherErrno, Doubled, Halved, Forgotten, Stuck, OnParent,
            ],
            Self::Watch => &[Swallowed, Late, Unfounded],
            Self::Make => &[Refused, OtherErrno],
            Self::Remove | Self::Call => &[Ignored, Refused, Accepted, OtherErrno],
            Self::Start => &[Ignored, OnParent, Refused, OtherErrno],
            Self::List => &[Swapped, More, Empty],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_survives_its_json() {
        for layer in [
            Layer::Honest,
            Layer::Trace,
            Layer::Lies(vec![Lie {
                about: Touch { request: Asked::Read, file: "pids.current".into() },
                told: Told::Scaled,
            }]),
        ] {
            let text = serde_json::to_string(&layer).unwrap();
            assert_eq!(serde_json::from_str::<Layer>(&text).unwrap(), layer, "{text}");
        }
    }

    #[test]
    fn every_request_can_be_lied_about() {
        use Asked::*;
        for asked in [Read, Write, Watch, Make, Remove, Start, List, Call] {
            assert!(!asked.lies().is_empty());
        }
    }
}
