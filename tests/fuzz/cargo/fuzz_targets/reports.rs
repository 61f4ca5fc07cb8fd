#![no_main]
#![allow(dead_code, clippy::unwrap_used, reason = "a finding is a panic")]

#[path = "../../reports.rs"]
mod reports;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reports::reports(data));
