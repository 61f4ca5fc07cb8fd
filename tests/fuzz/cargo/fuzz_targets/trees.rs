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

thread_local! {
    static PLACE: trees::Place = trees::Place::new();
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| PLACE.with(|place| place.read(data)));
