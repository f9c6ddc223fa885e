//! A process that is there and does nothing.
//!
//! It must not know why somebody wants one.

use std::ffi::OsString;

use crate::options::options;
use crate::output::{Input, tell, wait_for_end_of_input};
use crate::raw::Instant;
use crate::{Failure, Load, Millis, truth};

options! {
    /// Sleeps until standard input ends or the time is up.
    pub struct Sleep as "sleep" {
        /// How long at most, in milliseconds.
        "for-ms" => deadline: Millis,
    }
}

impl Load for Sleep {
    type Truth = truth::Sleep;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl Sleep {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let start = Instant::now();
        let state = match wait_for_end_of_input(start.after(self.deadline))? {
            Input::Closed => truth::State::Over,
            Input::Open => truth::State::Overdue,
        };
        tell(&truth::Sleep { state, elapsed_ns: start.elapsed_ns() })
    }
}
