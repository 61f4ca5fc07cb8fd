#![no_main]
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a finding is a panic"
)]

#[path = "../../../support/git_http.rs"]
mod git_http;
#[path = "../../trees.rs"]
mod trees;

use std::cell::RefCell;

/// Every input leaves three objects on the disk: after so many, a fresh place.
const INPUTS: usize = 5000;

thread_local! {
    static PLACE: RefCell<(usize, trees::Place)> = RefCell::new((0, trees::Place::new()));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| PLACE.with_borrow_mut(|(inputs, place)| {
    if *inputs == INPUTS {
        (*inputs, *place) = (0, trees::Place::new());
    }
    *inputs += 1;
    place.read(data);
}));
